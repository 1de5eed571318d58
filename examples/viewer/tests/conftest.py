"""A migrated database in a temporary directory, the app on it, and a client that can fill in forms."""

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from viewer import create_app, db

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "quiet-harbour"


@pytest.fixture(scope="session")
def migrations():
    """`(name, up, down)` of every migration, in order."""
    ups = sorted((ROOT / "migrations").glob("*.up.sql"))
    return [(up.name[:-7], up.read_text(), up.with_name(up.name[:-7] + ".down.sql").read_text()) for up in ups]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory, migrations):
    """The path of a migrated database that nobody opens: tests work on copies."""
    path = tmp_path_factory.mktemp("migrated") / "app.db"
    connection = sqlite3.connect(path)
    for _name, up, _down in migrations:
        connection.executescript(up)
    connection.close()
    return path


@pytest.fixture(scope="session")
def shared_app():
    """One app for all tests, since it compiles each template once."""
    return create_app({"TESTING": True, "SECRET_KEY": "only for tests"})


@pytest.fixture
def app(shared_app, migrated, tmp_path, monkeypatch):
    """The app on a database of this test alone."""
    monkeypatch.setitem(shared_app.config, "DATABASE_PATH", shutil.copy(migrated, tmp_path / "app.db"))
    with shared_app.app_context():
        yield shared_app
        db.close_db()


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def token_of():
    """A function that finds the CSRF token in the text of a page."""
    return lambda page: re.search(r'name="csrf_token" value="([^"]+)"', page).group(1)


@pytest.fixture
def log_in(client, token_of):
    """A function that logs the client in and returns the answer."""

    def log_in(user="demo", password=PASSWORD, **fields):
        token = token_of(client.get("/login/").text)
        return client.post("/login/", data={"user": user, "password": password, "csrf_token": token, **fields})

    return log_in
