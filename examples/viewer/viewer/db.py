"""The SQLite connection. Tables come from migrations/ alone; nothing here creates or alters one."""

import os
import sqlite3
import threading

from flask import current_app


def init_app(app):
    app.extensions["viewer.db"] = threading.local()
    app.teardown_appcontext(abandon_transaction)


def connect(path):
    """Open the database file, creating an empty one in WAL mode where there is none."""
    is_new = create_file(path)
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    if is_new:
        connection.execute("PRAGMA journal_mode = WAL")
    return connection


def create_file(path):
    """Create an empty file; False if it was there. Of two workers starting together one creates it."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644))
    except FileExistsError:
        return False
    return True


def get_db():
    """The connection of this thread, opened on first use and kept for later requests."""
    local = current_app.extensions["viewer.db"]
    if not hasattr(local, "connection"):
        local.connection = connect(current_app.config["DATABASE_PATH"])
    return local.connection


def close_db():
    """Close the connection of this thread."""
    local = current_app.extensions["viewer.db"]
    if hasattr(local, "connection"):
        local.connection.close()
        del local.connection


def abandon_transaction(_error):
    """The next request of this thread must not inherit what a failed one left half-way."""
    connection = getattr(current_app.extensions["viewer.db"], "connection", None)
    if connection and connection.in_transaction:
        connection.rollback()
