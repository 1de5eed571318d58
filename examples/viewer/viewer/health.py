"""Whether this instance can serve: it answers, and its database has the tables it needs."""

import sqlite3

from flask import Blueprint, current_app

from viewer.db import get_db

pages = Blueprint("health", __name__)


@pages.get("/healthz")
def healthz():
    try:
        count = get_db().execute("SELECT count(*) FROM document").fetchone()[0]
    except sqlite3.Error as error:
        current_app.logger.error("health: %s", error)
        return {"status": "unhealthy", "database": str(error)}, 503
    return {"status": "healthy", "documents": count}
