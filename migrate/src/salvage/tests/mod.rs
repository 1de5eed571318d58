//! Each test: a database, a migration, what users wrote after it; then the way back.

mod model;

use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

struct Case {
    dir: TempDir,
}

impl Case {
    fn new(before: &str, migration: &str, users: &str) -> Self {
        let case = Self { dir: tempfile::tempdir().unwrap() };
        run(&case.path("before.db"), before);
        std::fs::copy(case.path("before.db"), case.path("migrated.db")).unwrap();
        run(&case.path("migrated.db"), migration);
        std::fs::copy(case.path("migrated.db"), case.path("live.db")).unwrap();
        run(&case.path("live.db"), users);
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn undo(&self) -> Salvaged {
        let (before, migrated, live) =
            (self.path("before.db"), self.path("migrated.db"), self.path("live.db"));
        let (renames, records) = (&Renames::default(), &["migrations".into()]);
        let sources = Sources { before: &before, migrated: &migrated, live: &live, renames, records };
        undo(&sources, |_| Ok(())).unwrap()
    }

    /// Rows of a query, values with `|` between, rows with a blank.
    fn rows(&self, query: &str) -> String {
        rows(&self.path("live.db"), query)
    }
}

fn run(path: &Path, script: &str) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(&format!("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; {script}"))
        .unwrap();
}

fn rows(path: &Path, query: &str) -> String {
    let db = Connection::open(path).unwrap();
    let mut statement = db.prepare(query).unwrap();
    let count = statement.column_count();
    let found = statement
        .query_map([], |row| {
            let values = (0..count).map(|at| match row.get_ref(at).unwrap() {
                rusqlite::types::ValueRef::Null => "-".into(),
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                rusqlite::types::ValueRef::Real(number) => format!("{number:?}"),
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                rusqlite::types::ValueRef::Blob(bytes) => format!("x{}", common::hex(bytes)),
            });
            Ok(values.collect::<Vec<_>>().join("|"))
        })
        .unwrap();
    found.collect::<rusqlite::Result<Vec<_>>>().unwrap().join(" ")
}

const NOTES: &str = "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT NOT NULL, size INT);
    INSERT INTO note VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);";

#[test]
fn what_was_written_since_stays_and_what_the_migration_did_goes() {
    let case = Case::new(
        NOTES,
        "UPDATE note SET text = upper(text); ALTER TABLE note DROP COLUMN size; INSERT INTO note VALUES (4, 'MADE');",
        "UPDATE note SET text = 'mine' WHERE id = 2; DELETE FROM note WHERE id = 3; INSERT INTO note VALUES (9, 'new');",
    );
    let salvaged = case.undo();
    assert_eq!(case.rows("SELECT * FROM note"), "1|a|1 2|mine|2 9|new|-");
    assert_eq!((salvaged.tables, salvaged.lost), (vec!["note".to_owned()], vec![]));
}

#[test]
fn a_table_that_the_migration_left_alone_is_not_touched() {
    let case = Case::new(
        &format!("{NOTES} CREATE TABLE other(a); CREATE INDEX by_size ON note(size)"),
        "ALTER TABLE other ADD COLUMN b; DROP INDEX by_size; CREATE INDEX by_text ON note(text)",
        "INSERT INTO note VALUES (7, 'x', 7); INSERT INTO other VALUES (1, 2)",
    );
    let salvaged = case.undo();
    assert_eq!(salvaged.tables, ["other"]);
    assert_eq!(case.rows("SELECT id FROM note"), "1 2 3 7");
    assert_eq!(case.rows("SELECT name FROM sqlite_master WHERE type = 'index'"), "by_size");
    let lost = &salvaged.lost[0];
    assert_eq!(
        (lost.table.as_str(), lost.key.as_str(), lost.column.as_deref()),
        ("other", "{\"rowid\":1}", Some("b"))
    );
}

#[test]
fn renamed_tables_and_columns_are_known_by_what_they_hold() {
    for (migration, users) in [
        (
            "ALTER TABLE note RENAME TO memo; ALTER TABLE memo RENAME COLUMN text TO body",
            "UPDATE memo SET body = 'mine' WHERE id = 1; INSERT INTO memo VALUES (4, 'new', 4)",
        ),
        (
            "ALTER TABLE note RENAME TO memo",
            "UPDATE memo SET text = 'mine' WHERE id = 1; INSERT INTO memo VALUES (4, 'new', 4)",
        ),
        (
            "ALTER TABLE note RENAME COLUMN text TO body",
            "UPDATE note SET body = 'mine' WHERE id = 1; INSERT INTO note VALUES (4, 'new', 4)",
        ),
    ] {
        let case = Case::new(NOTES, migration, users);
        assert_eq!(case.undo().lost, []);
        assert_eq!(case.rows("SELECT * FROM note"), "1|mine|1 2|b|2 3|c|3 4|new|4");
    }
}

#[test]
fn rows_without_a_key_keep_what_was_written_although_they_were_numbered_anew() {
    let case = Case::new(
        "CREATE TABLE log(line, level); INSERT INTO log VALUES ('a', 1), ('b', 2), ('c', 3); DELETE FROM log WHERE line = 'a'",
        "CREATE TABLE n(line); INSERT INTO n SELECT line FROM log; DROP TABLE log; ALTER TABLE n RENAME TO log",
        "DELETE FROM log WHERE line = 'b'; UPDATE log SET line = 'C' WHERE line = 'c'; INSERT INTO log VALUES ('d'), (x'00ff'), (NULL)",
    );
    case.undo();
    assert_eq!(case.rows("SELECT line, level FROM log ORDER BY line"), "-|- C|3 d|- x00ff|-");
}

#[test]
fn keys_that_are_null_or_swapped_and_rows_of_odd_tables_come_through() {
    let case = Case::new(
        "CREATE TABLE n(k TEXT PRIMARY KEY, v); INSERT INTO n VALUES (NULL, 1), (NULL, 2), ('x', 3);
         CREATE TABLE w(a TEXT, b INT, v, PRIMARY KEY(a, b)) WITHOUT ROWID; INSERT INTO w VALUES ('p', 1, 'one'), ('q', 2, 'two');
         CREATE TABLE u(id INTEGER PRIMARY KEY, mark TEXT UNIQUE) STRICT; INSERT INTO u VALUES (1, 'l'), (2, 'r');
         CREATE TABLE g(id INTEGER PRIMARY KEY, a INT, b INT AS (a * 2), c INT AS (a * 3) STORED); INSERT INTO g(id, a) VALUES (1, 1);
         CREATE TABLE s(id INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO s(v) VALUES ('a'), ('b');",
        "ALTER TABLE n ADD COLUMN e; ALTER TABLE w ADD COLUMN e; ALTER TABLE u ADD COLUMN e TEXT; ALTER TABLE g ADD COLUMN e; ALTER TABLE s ADD COLUMN e",
        "UPDATE n SET v = 9 WHERE v = 2; INSERT INTO n(k, v) VALUES (NULL, 4); DELETE FROM w WHERE a = 'p'; INSERT INTO w VALUES ('q', 3, 'three', NULL);
         UPDATE u SET mark = 't' WHERE id = 1; UPDATE u SET mark = 'l' WHERE id = 2; UPDATE u SET mark = 'r' WHERE id = 1;
         INSERT INTO g(id, a) VALUES (2, 5); INSERT INTO s(v) VALUES ('c'); DELETE FROM s WHERE v = 'c'",
    );
    assert_eq!(case.undo().lost, []);
    assert_eq!(case.rows("SELECT * FROM n ORDER BY v"), "x|3 -|1 -|4 -|9".replace("x|3 -|1", "-|1 x|3"));
    assert_eq!(case.rows("SELECT * FROM w"), "q|2|two q|3|three");
    assert_eq!(case.rows("SELECT * FROM u"), "1|r 2|l");
    assert_eq!(case.rows("SELECT * FROM g"), "1|1|2|3 2|5|10|15");
    assert_eq!(case.rows("SELECT seq FROM sqlite_sequence"), "3");
}

#[test]
fn code_in_the_database_is_the_older_one_and_did_not_run() {
    let case = Case::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE audit(what); CREATE VIEW big AS SELECT id FROM t WHERE v > 5;
         CREATE TRIGGER note_it AFTER INSERT ON t BEGIN INSERT INTO audit VALUES (new.id); END;
         CREATE INDEX half ON t(v) WHERE v > 0; CREATE UNIQUE INDEX expression ON t(abs(v)); INSERT INTO t VALUES (1, 1)",
        "DROP VIEW big; CREATE VIEW big AS SELECT 1 AS id; DROP TRIGGER note_it; ALTER TABLE t ADD COLUMN e;
         CREATE TRIGGER other AFTER DELETE ON t BEGIN INSERT INTO audit VALUES ('gone'); END",
        "INSERT INTO t VALUES (2, 9, NULL); INSERT INTO audit VALUES ('by hand')",
    );
    assert_eq!(case.undo().lost, []);
    assert_eq!(case.rows("SELECT * FROM audit"), "1 by hand");
    assert_eq!(case.rows("SELECT id FROM big"), "2");
    assert_eq!(case.rows("SELECT name FROM sqlite_master WHERE type = 'trigger'"), "note_it");
}

#[test]
fn full_text_tables_follow() {
    let case = Case::new(
        "CREATE VIRTUAL TABLE doc USING fts5(title, body); INSERT INTO doc(rowid, title, body) VALUES (1, 'one', 'first'), (7, 'seven', 'last')",
        "CREATE VIRTUAL TABLE d2 USING fts5(title, body, tokenize = 'porter'); INSERT INTO d2(rowid, title, body) SELECT rowid, title, body FROM doc; DROP TABLE doc;
         CREATE VIRTUAL TABLE doc USING fts5(title, body, tokenize = 'porter'); INSERT INTO doc(rowid, title, body) SELECT rowid, title, body FROM d2; DROP TABLE d2",
        "UPDATE doc SET body = 'changed' WHERE rowid = 1; INSERT INTO doc(rowid, title, body) VALUES (9, 'nine', 'walking')",
    );
    assert_eq!(case.undo().lost, []);
    assert_eq!(case.rows("SELECT rowid, * FROM doc"), "1|one|changed 7|seven|last 9|nine|walking");
    assert_eq!(case.rows("SELECT rowid FROM doc WHERE doc MATCH 'walking'"), "9");
    assert_eq!(case.rows("SELECT rowid FROM doc WHERE doc MATCH 'walk'"), "");
}

#[test]
fn what_the_older_schema_refuses_is_listed_and_the_older_row_wins() {
    let case = Case::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, mail TEXT UNIQUE CHECK (mail <> '')); INSERT INTO t VALUES (1, 'a');
         CREATE TABLE child(id INTEGER PRIMARY KEY, t REFERENCES t(id));",
        "CREATE TABLE n(id INTEGER PRIMARY KEY, mail TEXT); INSERT INTO n SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t;
         CREATE TABLE tag(name)",
        "INSERT INTO t VALUES (2, 'a'), (3, ''), (4, 'b'); INSERT INTO child VALUES (1, 2), (2, 4); INSERT INTO tag VALUES ('x')",
    );
    let salvaged = case.undo();
    assert_eq!(case.rows("SELECT * FROM t"), "1|a 4|b");
    assert_eq!(case.rows("SELECT * FROM child"), "2|4");
    let listed: Vec<String> =
        salvaged.lost.iter().map(|lost| format!("{} {} {}", lost.table, lost.key, lost.why)).collect();
    assert_eq!(
        listed,
        [
            "child {\"id\":1} its t could not be kept",
            "t {\"id\":2} UNIQUE constraint failed: t.mail",
            "t {\"id\":3} CHECK constraint failed: mail <> ''",
            "tag {\"rowid\":1} the older schema has no such table",
        ]
    );
}

#[test]
fn a_required_column_that_came_back_is_filled_and_that_is_said() {
    let case = Case::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INT NOT NULL DEFAULT 7); INSERT INTO t VALUES (1, 'a', 3)",
        "ALTER TABLE t DROP COLUMN name; ALTER TABLE t DROP COLUMN age",
        "INSERT INTO t VALUES (2)",
    );
    let salvaged = case.undo();
    assert_eq!(case.rows("SELECT * FROM t"), "1|a|3 2||7");
    assert_eq!((salvaged.lost.len(), salvaged.lost[0].column.as_deref()), (1, Some("name")));
}

#[test]
fn values_that_only_look_equal_are_told_apart() {
    let case = Case::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a COLLATE NOCASE, b); INSERT INTO t VALUES (1, 'x', 1), (2, 'x', 1)",
        "ALTER TABLE t ADD COLUMN e",
        "UPDATE t SET a = 'X' WHERE id = 1; UPDATE t SET b = 1.0 WHERE id = 2",
    );
    case.undo();
    assert_eq!(case.rows("SELECT * FROM t"), "1|X|1 2|x|1.0");
}

#[test]
fn records_of_migrations_are_those_of_before() {
    let case = Case::new(
        "CREATE TABLE migrations(version INTEGER PRIMARY KEY, at); INSERT INTO migrations VALUES (1, 'then')",
        "INSERT INTO migrations VALUES (2, 'on the copy'); CREATE TABLE t(a)",
        "UPDATE migrations SET at = 'live' WHERE version = 2; PRAGMA user_version = 5",
    );
    assert_eq!(case.undo().lost, []);
    assert_eq!(case.rows("SELECT * FROM migrations"), "1|then");
    assert_eq!(case.rows("PRAGMA user_version"), "5");
}

#[test]
fn a_key_with_another_name_or_of_another_kind_still_tells_rows_apart() {
    for (migration, users) in [
        (
            "ALTER TABLE t RENAME COLUMN id TO t_id; ALTER TABLE t DROP COLUMN legacy",
            "UPDATE t SET name = 'mine' WHERE t_id = 2; INSERT INTO t VALUES (9, 'new')",
        ),
        (
            "CREATE TABLE n(uuid TEXT PRIMARY KEY, id, name); INSERT INTO n SELECT 'u' || id, id, name FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t",
            "UPDATE t SET name = 'mine' WHERE id = 2; INSERT INTO t VALUES ('u9', 9, 'new')",
        ),
    ] {
        let case = Case::new(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, name, legacy); INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z')",
            migration,
            users,
        );
        case.undo();
        assert_eq!(case.rows("SELECT * FROM t"), "1|a|x 2|mine|y 3|c|z 9|new|-", "{migration}");
    }
}

#[test]
fn rows_without_a_key_are_those_of_before_although_the_migration_changed_them() {
    for (migration, users, expected) in [
        ("UPDATE t SET status = 'closed' WHERE a = 3", "DELETE FROM t WHERE a = 3", "1|new 2|new"),
        (
            "UPDATE t SET status = 'closed' WHERE a = 3",
            "UPDATE t SET a = 30 WHERE a = 3",
            "1|new 2|new 30|done",
        ),
        (
            "DELETE FROM t WHERE a = 3; INSERT INTO t VALUES (50, 'made')",
            "UPDATE t SET status = 'mine' WHERE a = 50",
            "1|new 2|new 3|done 50|mine",
        ),
        (
            "UPDATE t SET status = upper(status), a = a * 10",
            "UPDATE t SET status = 'mine' WHERE a = 20",
            "1|new 2|mine 3|done",
        ),
    ] {
        let case = Case::new(
            "CREATE TABLE t(a, status); INSERT INTO t VALUES (1, 'new'), (2, 'new'), (3, 'done')",
            migration,
            users,
        );
        case.undo();
        assert_eq!(case.rows("SELECT * FROM t ORDER BY a"), expected, "{migration}; {users}");
    }
}

#[test]
fn a_column_that_was_added_is_not_taken_for_one_that_was_dropped() {
    for (before, migration, users, expected) in [
        (
            "CREATE TABLE t(id INTEGER PRIMARY KEY, is_admin INT NOT NULL DEFAULT 0, x); INSERT INTO t VALUES (1, 0, 'a'), (2, 0, 'b')",
            "ALTER TABLE t DROP COLUMN is_admin; ALTER TABLE t ADD COLUMN archived INT NOT NULL DEFAULT 0",
            "UPDATE t SET archived = 1 WHERE id = 2",
            "1|0|a 2|0|b",
        ),
        (
            "CREATE TABLE t(id INTEGER PRIMARY KEY, phone)",
            "ALTER TABLE t DROP COLUMN phone; ALTER TABLE t ADD COLUMN email",
            "INSERT INTO t VALUES (1, 'a@b')",
            "1|-",
        ),
    ] {
        let case = Case::new(before, migration, users);
        assert_eq!(case.undo().lost.len(), 1);
        assert_eq!(case.rows("SELECT * FROM t"), expected);
    }
}

#[test]
fn full_text_over_another_table_reads_it_again_and_one_without_texts_is_refused() {
    let case = Case::new(
        "CREATE TABLE docs(id INTEGER PRIMARY KEY, body CHECK (body <> 'bad')); INSERT INTO docs VALUES (1, 'hello');
         CREATE VIRTUAL TABLE f USING fts5(body, content = 'docs', content_rowid = 'id'); INSERT INTO f(f) VALUES ('rebuild');
         CREATE VIRTUAL TABLE v USING fts5vocab('f', 'row')",
        "CREATE TABLE n(id INTEGER PRIMARY KEY, body); INSERT INTO n SELECT * FROM docs; DROP TABLE docs; ALTER TABLE n RENAME TO docs",
        "INSERT INTO docs VALUES (2, 'world'), (3, 'bad'); INSERT INTO f(f) VALUES ('rebuild')",
    );
    assert_eq!(case.undo().lost.len(), 1);
    assert_eq!(case.rows("SELECT rowid FROM f('world')"), "2");
    assert_eq!(case.rows("SELECT rowid FROM f('bad')"), "");
    assert_eq!(case.rows("SELECT term FROM v"), "hello world");
    let case = Case::new(
        "CREATE VIRTUAL TABLE t USING fts5(a, content = ''); INSERT INTO t(rowid, a) VALUES (1, 'hello')",
        "DROP TABLE t; CREATE VIRTUAL TABLE t USING fts5(a, content = '', tokenize = 'porter'); INSERT INTO t(rowid, a) VALUES (1, 'hello')",
        "INSERT INTO t(rowid, a) VALUES (2, 'world')",
    );
    let (before, migrated, live) = (case.path("before.db"), case.path("migrated.db"), case.path("live.db"));
    let renames = &Renames::default();
    let sources = Sources { before: &before, migrated: &migrated, live: &live, renames, records: &[] };
    assert_eq!(undo(&sources, |_| Ok(())).err().unwrap().kind, "salvage-failed");
    assert_eq!(case.rows("SELECT rowid FROM t('world')"), "2");
}

#[test]
fn of_a_row_that_is_refused_the_older_one_stays_with_its_children() {
    let case = Case::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, s CHECK (s IN ('on', 'off')), v); INSERT INTO t VALUES (1, 'on', 'precious');
         CREATE TABLE child(a INT, b INT REFERENCES t(id), PRIMARY KEY(a, b)) WITHOUT ROWID; INSERT INTO child VALUES (1, 1), (2, 77)",
        "CREATE TABLE n(id INTEGER PRIMARY KEY, s, v); INSERT INTO n SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t; DELETE FROM child WHERE b = 77",
        "UPDATE t SET s = 'archived' WHERE id = 1; INSERT INTO t VALUES (2, 'gone', ''); INSERT INTO child VALUES (3, 2)",
    );
    let lost = case.undo().lost;
    assert_eq!(case.rows("SELECT * FROM t"), "1|on|precious");
    assert_eq!(case.rows("SELECT * FROM child"), "1|1 2|77");
    let told: Vec<String> =
        lost.iter().map(|lost| format!("{} {} {:?}", lost.table, lost.key, lost.column)).collect();
    assert_eq!(told, ["child {\"a\":3,\"b\":2} None", "t {\"id\":2} None", "t {\"id\":1} Some(\"s\")"]);
}

#[test]
fn names_defaults_and_indexes_of_apps_do_no_harm() {
    let case = Case::new(
        "CREATE TABLE salvage(id INTEGER PRIMARY KEY, state DEFAULT pending, kind DEFAULT \"plain\", gone TEXT NOT NULL DEFAULT waiting);
         CREATE INDEX moved ON salvage(state); CREATE TABLE \"order\"(\"group\" INTEGER PRIMARY KEY, \"a b\"); INSERT INTO \"order\" VALUES (1, 'x');
         CREATE TABLE sequence(a, \"rowid\"); INSERT INTO sequence VALUES (1, 2); CREATE INDEX on_sequence ON sequence(a); CREATE TABLE stays(a)",
        "ALTER TABLE salvage DROP COLUMN gone; DROP INDEX moved; CREATE INDEX moved ON stays(a); ALTER TABLE \"order\" ADD COLUMN c; ALTER TABLE sequence ADD COLUMN c",
        "INSERT INTO salvage(id) VALUES (1); INSERT INTO \"order\" VALUES (2, 'y', NULL); INSERT INTO sequence VALUES (3, 4, NULL); INSERT INTO stays VALUES (1)",
    );
    assert_eq!(case.undo().lost, []);
    assert_eq!(case.rows("SELECT * FROM salvage"), "1|pending|plain|waiting");
    assert_eq!(case.rows("SELECT * FROM \"order\""), "1|x 2|y");
    assert_eq!(case.rows("SELECT a, \"rowid\" FROM sequence ORDER BY a"), "1|2 3|4");
    assert_eq!(case.rows("SELECT tbl_name FROM sqlite_master WHERE name = 'moved'"), "salvage");
}
