"""A small viewer for drafts under discussion: read them, log in, comment."""

import os
from pathlib import Path

from flask import Flask, render_template
from werkzeug.exceptions import HTTPException

from viewer import account, auth, csrf, db, documents, health, text

ROOT = Path(__file__).resolve().parent.parent


def create_app(settings=None):
    """Build the app from the environment; `settings` overrides it, for tests."""
    app = Flask(__name__)
    app.config.update(
        DATABASE_PATH=os.environ.get("DATABASE_PATH") or str(ROOT / "instance" / "app.db"),
        SECRET_KEY=os.environ.get("SECRET_KEY"),
        ENVIRONMENT=os.environ.get("ENVIRONMENT", ""),
        REVISION=os.environ.get("REVISION", ""),
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=64 * 1024,
    )
    app.config.update(settings or {})
    # Each worker would invent its own key, and a reader would be logged out at every other click.
    if not app.config["SECRET_KEY"]:
        raise RuntimeError("SECRET_KEY is not set: put one into the environment file")

    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    for part in (db, csrf, auth, text):
        part.init_app(app)
    for pages in (documents.pages, auth.pages, account.pages, health.pages):
        app.register_blueprint(pages)
    app.register_error_handler(HTTPException, show_error)
    return app


def show_error(error):
    """Answer an error with a page in the words of HTTP."""
    name = "Page not found" if error.code == 404 else error.name
    return render_template("error.html", code=error.code, name=name, detail=error.description), error.code
