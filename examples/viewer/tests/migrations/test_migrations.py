import sqlite3

import pytest
from werkzeug.security import check_password_hash

SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"


@pytest.fixture
def database():
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA foreign_keys = ON")
    yield connection
    connection.close()


def schema(database):
    return database.execute(SCHEMA).fetchall()


def columns(database, table):
    return {name: default for _, name, _, _, default, _ in database.execute(f"PRAGMA table_info({table})")}


def test_numbers_have_no_gaps(migrations):
    assert [int(name[:3]) for name, _, _ in migrations] == list(range(1, len(migrations) + 1))


def test_each_down_brings_back_the_schema_before_its_up(database, migrations):
    before = []
    for _name, up, _down in migrations:
        before.append(schema(database))
        database.executescript(up)
        assert schema(database) != before[-1]
    full = schema(database)
    for (name, _up, down), expected in reversed(list(zip(migrations, before))):
        database.executescript(down)
        assert schema(database) == expected, name
    for _name, up, _down in migrations:
        database.executescript(up)
    assert schema(database) == full


def test_the_result_is_sound(database, migrations):
    for _name, up, _down in migrations:
        database.executescript(up)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []


def test_notification_level_keeps_the_rows(database, migrations):
    (_, create, _), (_, add_level, drop_level) = migrations[:2]
    database.executescript(create)
    rows = database.execute("SELECT * FROM user_follow").fetchall()
    database.executescript(add_level)
    assert columns(database, "user_follow")["notification_level"] == "'all'"
    assert database.execute("SELECT DISTINCT notification_level FROM user_follow").fetchall() == [("all",)]
    database.executescript(drop_level)
    assert database.execute("SELECT * FROM user_follow").fetchall() == rows


def test_the_demo_user_can_log_in(database, migrations):
    database.executescript(migrations[0][1])
    (stored,) = database.execute("SELECT password_hash FROM user WHERE username = 'demo'").fetchone()
    assert check_password_hash(stored, "quiet-harbour")
