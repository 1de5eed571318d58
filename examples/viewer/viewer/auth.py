"""Users, sessions, and the pages to log in and out."""

from dataclasses import dataclass

from flask import Blueprint, g, redirect, render_template, request, session, url_for
from werkzeug.security import check_password_hash

from viewer.db import get_db

pages = Blueprint("auth", __name__)

# Compared when the user is unknown, so that the answer takes as long as for a known one.
UNKNOWN_USER_HASH = (
    "scrypt:32768:8:1$YQTpQOVWkykcYpaH$"
    "2b45ddb490f088c949b8d80f86503cb414470a736da1eba41e41ca80bd51b1a9"
    "ff3b5f2ee33f4115c4c52410b771163a05132633e074ffcccc9dea85d404becc"
)


@dataclass(frozen=True)
class User:
    id: int
    username: str
    display_name: str
    password_hash: str

    def has_password(self, password):
        return check_password_hash(self.password_hash, password)


def init_app(app):
    app.before_request(load_user)
    app.context_processor(lambda: {"user": g.get("user")})


def load_user():
    g.user = find_user(user_id=session["user_id"]) if "user_id" in session else None


def find_user(user_id=None, username=None):
    """The user with this id or name, or None."""
    row = get_db().execute(
        "SELECT id, username, display_name, password_hash FROM user WHERE id = ? OR username = ?",
        (user_id, username),
    ).fetchone()
    return User(**row) if row else None


def authenticate(username, password):
    """The user, if the password is theirs; else None."""
    user = find_user(username=username)
    if user is None:
        check_password_hash(UNKNOWN_USER_HASH, password)
        return None
    return user if user.has_password(password) else None


def safe_target(target):
    """`target` if it is a path on this site, else the first page."""
    is_local = target.startswith("/") and not target.startswith("//") and "\\" not in target
    return target if is_local and target.isprintable() else url_for("documents.index")


def redirect_to_login(target):
    return redirect(url_for("auth.login", next=target))


@pages.get("/login/")
def login():
    return render_template("login.html", next=request.args.get("next", ""))


@pages.post("/login/")
def log_in():
    target = request.form.get("next", "")
    user = authenticate(request.form.get("user", ""), request.form.get("password", ""))
    if user is None:
        return render_template("login.html", next=target, problem="User name or password is wrong."), 401
    # A session from before the login may be known to somebody else.
    session.clear()
    session["user_id"] = user.id
    return redirect(safe_target(target))


@pages.get("/logout")
def logout():
    return render_template("logout.html")


@pages.post("/logout")
def log_out():
    session.clear()
    return redirect(url_for("documents.index"))
