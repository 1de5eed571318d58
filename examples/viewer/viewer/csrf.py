"""A token in every form, compared before any POST is handled."""

import hmac
import secrets

from flask import abort, request, session


def init_app(app):
    app.jinja_env.globals["csrf_token"] = csrf_token
    app.before_request(require_token)


def csrf_token():
    """The token of this session, made on first use."""
    if "csrf_token" not in session:
        session["csrf_token"] = secrets.token_urlsafe(32)
    return session["csrf_token"]


def is_valid(expected, given):
    """True only when both are there and equal."""
    return bool(expected) and hmac.compare_digest(expected.encode(), (given or "").encode())


def require_token():
    if request.method == "POST" and not is_valid(session.get("csrf_token"), request.form.get("csrf_token")):
        abort(400, "The form has expired. Go back, reload the page and send it again.")
