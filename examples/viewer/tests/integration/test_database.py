import sqlite3

import pytest

from viewer import create_app, db
from viewer.documents import add_comment, find_document, list_comments, list_documents, list_followed


def test_documents_are_newest_first(app):
    dates = [document.published_at for document in list_documents()]
    assert dates == sorted(dates, reverse=True)
    assert len(list_documents(2)) == 2


def test_find_document_counts_comments(app):
    assert find_document("draft-moss-idle-close").comments == 2
    assert find_document("draft-nobody-wrote") is None


def test_a_new_column_does_not_disturb_the_code(app):
    db.get_db().execute("ALTER TABLE document ADD COLUMN pages INTEGER")
    assert len(list_documents()) == 6


def test_followed_documents_are_by_name(app):
    assert [document.name for document in list_followed(1)] == ["draft-abara-schema-growth", "draft-moss-idle-close"]
    assert list_followed(2) == []


def test_comment_is_stored_for_other_connections(app):
    added = add_comment(4, 1, "Good words.")
    assert [comment.id for comment in list_comments(4)] == [added]
    other = sqlite3.connect(app.config["DATABASE_PATH"])
    assert other.execute("SELECT body FROM comment WHERE id = ?", (added,)).fetchone() == ("Good words.",)
    other.close()


def test_foreign_keys_are_enforced(app):
    with pytest.raises(sqlite3.IntegrityError):
        add_comment(999, 1, "To no document.")


def test_an_unfinished_transaction_is_abandoned(app):
    connection = db.get_db()
    connection.execute("UPDATE document SET title = 'Half-way'")
    db.abandon_transaction(None)
    assert not connection.in_transaction
    assert find_document("draft-moss-idle-close").title != "Half-way"


def test_wal_is_set_only_on_a_new_file(tmp_path):
    def journal_mode(path):
        connection = db.connect(str(path))
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        connection.close()
        return mode

    assert journal_mode(tmp_path / "instance" / "new.db") == "wal"
    sqlite3.connect(tmp_path / "old.db").execute("CREATE TABLE a (b)").connection.close()
    assert journal_mode(tmp_path / "old.db") == "delete"


def test_start_creates_no_tables(tmp_path):
    path = tmp_path / "empty.db"
    app = create_app({"SECRET_KEY": "only for tests", "DATABASE_PATH": str(path)})
    answer = app.test_client().get("/healthz")
    assert answer.status_code == 503
    assert "no such table" in answer.json["database"]
    with app.app_context():
        assert db.get_db().execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        db.close_db()


def test_an_error_page_needs_no_database(app, log_in, client, monkeypatch):
    log_in()
    monkeypatch.setitem(app.config, "TESTING", False)
    db.get_db().execute("DROP TABLE comment")
    answer = client.get("/")
    assert answer.status_code == 500
    assert "Draft Viewer" in answer.text
