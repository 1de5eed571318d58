//! Every kind of table comes back from the export with the same content.

use std::path::{Path, PathBuf};

use super::*;

const KINDS: [(&str, &str); 17] = [
    (
        "no key",
        "CREATE TABLE t(a, b); INSERT INTO t(rowid, a, b) VALUES (7, 'x', 1), (-3, 'y', 2.5), (9, NULL, NULL); DELETE FROM t WHERE rowid = 7",
    ),
    (
        "null keys",
        "CREATE TABLE t(a TEXT PRIMARY KEY, b); INSERT INTO t VALUES (NULL, 1), (NULL, 2), ('k', 3)",
    ),
    (
        "without rowid",
        "CREATE TABLE t(a, b, c, PRIMARY KEY(b DESC, a)) WITHOUT ROWID; INSERT INTO t VALUES (1, 'b', x'00'), (2, 'a', NULL), (1, 'a', '')",
    ),
    (
        "generated columns",
        "CREATE TABLE t(a, v AS (a * 2), s AS (a || 'x') STORED, b); INSERT INTO t(a, b) VALUES (1, 2), (NULL, 'q')",
    ),
    (
        "triggers",
        "CREATE TABLE t(a); CREATE TABLE log(a); CREATE TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.a || ';'); SELECT 1; END; INSERT INTO t VALUES (1), ('a;b')",
    ),
    (
        "foreign keys",
        "CREATE TABLE child(a REFERENCES parent(id)); CREATE TABLE parent(id INTEGER PRIMARY KEY); INSERT INTO parent VALUES (5); INSERT INTO child VALUES (5), (NULL)",
    ),
    (
        "autoincrement",
        "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a); INSERT INTO t(a) VALUES (1), (2), (3); DELETE FROM t WHERE id = 3; CREATE TABLE u(id INTEGER PRIMARY KEY AUTOINCREMENT)",
    ),
    (
        "fts5",
        "CREATE VIRTUAL TABLE t USING fts5(title, body, tokenize = 'porter'); INSERT INTO t VALUES ('One', 'running fast'), ('Two', 'it''s'); DELETE FROM t WHERE rowid = 1; INSERT INTO t(t) VALUES ('optimize')",
    ),
    (
        "fts5 beside its content",
        "CREATE TABLE d(id INTEGER PRIMARY KEY, body); CREATE VIRTUAL TABLE t USING fts5(body, content = d, content_rowid = id); CREATE TRIGGER r AFTER INSERT ON d BEGIN INSERT INTO t(rowid, body) VALUES (new.id, new.body); END; INSERT INTO d(body) VALUES ('hello'), ('world')",
    ),
    ("rtree", "CREATE VIRTUAL TABLE t USING rtree(id, a, b); INSERT INTO t VALUES (1, 0.5, 2.5), (2, -1, 1)"),
    (
        "unique",
        "CREATE TABLE t(a UNIQUE, b, UNIQUE(b, a) ON CONFLICT IGNORE); INSERT INTO t VALUES (NULL, NULL), (NULL, NULL), (1, 'x')",
    ),
    (
        "strict",
        "CREATE TABLE t(a INT, b REAL, c TEXT, d BLOB, e ANY) STRICT; INSERT INTO t VALUES (1, 2, '3', x'04', 5), (NULL, 1e300, 'ö', x'', '05')",
    ),
    (
        "blobs and odd text",
        "CREATE TABLE t(a); INSERT INTO t VALUES (x''), (x'00ff27'), (''), ('a''b;c' || char(10) || '-- views and triggers' || char(10) || '; \"'), (CAST(x'610062' AS TEXT)), (CAST(x'ff61' AS TEXT)), ('-- not a comment /* ; [`')",
    ),
    (
        "numbers",
        "CREATE TABLE t(a); INSERT INTO t VALUES (9223372036854775807), (-9223372036854775807 - 1), (9e999), (-9e999), (0.1), (-0.0), (1.0), (1e-320), (2.2250738585072011e-308), (1e22), (123456789012345678.0)",
    ),
    (
        "partial and expression indexes",
        "CREATE TABLE t(a, b); CREATE INDEX i ON t(a) WHERE b IS NOT NULL; CREATE UNIQUE INDEX j ON t(lower(a), b DESC); INSERT INTO t VALUES ('A', 1), ('b', NULL); ANALYZE",
    ),
    (
        "views",
        "CREATE VIEW v(x) AS SELECT a FROM t; CREATE TABLE t(a); INSERT INTO t VALUES (1); CREATE TRIGGER r INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (new.x); END",
    ),
    (
        "names",
        "CREATE TABLE \"a \"\" b;'\"(\"rowid\", \"select\", \"x;y\" DEFAULT (1)); INSERT INTO \"a \"\" b;'\" VALUES ('r', 's', ';'); CREATE TABLE hidden(rowid, oid, _rowid_); INSERT INTO hidden VALUES (3, 2, 1), (1, 2, 3) -- end",
    ),
];

fn database(dir: &Path, sql: &str) -> PathBuf {
    let path = dir.join("source.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(sql).unwrap();
    db.execute_batch("PRAGMA user_version = 41; PRAGMA application_id = -7").unwrap();
    path
}

fn check(name: &str, sql: &str) {
    let dir = tempfile::tempdir().unwrap();
    let source = database(dir.path(), sql);
    let content = content::read(&content::open_private(&source).unwrap()).unwrap();
    assert!(
        !content.tables.is_empty() && content.user_version == 41 && content.application_id == -7,
        "{name}"
    );
    let export = dir.path().join("export.sql");
    let facts = write(&source, &export).unwrap();
    assert_eq!(facts, crate::archive::measure(&export).unwrap());
    let text = std::fs::read_to_string(&export).unwrap();
    if let Err(problem) = prove(&export, &dir.path().join("loaded.db"), &content) {
        panic!("{name}: {problem}\n{text}");
    }
    let loaded = Connection::open(dir.path().join("loaded.db")).unwrap();
    common::database::check(&loaded).unwrap();
    assert!(text.contains("\nCOMMIT;\n-- end of export"), "{name}");
}

#[test]
fn every_kind_of_table_comes_back() {
    for (name, sql) in KINDS {
        check(name, sql);
    }
}

#[test]
fn text_in_utf16_comes_back() {
    for encoding in ["UTF-16le", "UTF-16be"] {
        check(
            encoding,
            &format!(
                "PRAGMA encoding = '{encoding}'; CREATE TABLE t(a); INSERT INTO t VALUES ('ö€𝄞'), ('a' || char(0) || '𝄞'), ('')"
            ),
        );
    }
}

#[test]
fn large_exports_are_loaded_in_parts() {
    check(
        "large",
        "CREATE TABLE t(a, b); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 30000)
         INSERT INTO t SELECT n, hex(randomblob(60)) || ''';' || char(10) || '-- ' FROM c;
         CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM t WHERE a IS NULL; DELETE FROM t WHERE a = ';'; END",
    );
}

#[test]
fn a_changed_row_or_schema_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let source = database(dir.path(), "CREATE TABLE t(a); INSERT INTO t VALUES ('one'), ('two')");
    let content = content::read(&content::open_private(&source).unwrap()).unwrap();
    let export = dir.path().join("export.sql");
    write(&source, &export).unwrap();
    let text = std::fs::read_to_string(&export).unwrap();
    for (number, (from, to)) in
        [("'one'", "'onE'"), ("t(a)", "t(a, b)"), ("= 41", "= 42"), ("COMMIT", "ROLLBACK"), ("(1, ", "(5, ")]
            .into_iter()
            .enumerate()
    {
        assert!(text.contains(from));
        std::fs::write(&export, text.replacen(from, to, 1)).unwrap();
        let problem = prove(&export, &dir.path().join(format!("loaded{number}.db")), &content).unwrap_err();
        assert_eq!(problem.kind, "export-unfaithful", "{from}");
    }
}
