//! Other pages into databases of all kinds, and whoever has them open.

use super::*;

const ROWS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000)
    INSERT INTO t SELECT n, hex(randomblob(40)) FROM c;";
const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE INDEX i ON t(a);";

/// An app's open connection, and the database of `image` put into it: as they are afterwards.
fn exchanged(live: &str, image: &str) -> Connection {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let app = Connection::open(path("live.db")).unwrap();
    app.execute_batch(&format!("PRAGMA synchronous = OFF; {live}")).unwrap();
    Connection::open(path("other.db"))
        .unwrap()
        .execute_batch(&format!("PRAGMA synchronous = OFF; {image}"))
        .unwrap();
    database::snapshot(&path("other.db"), &path("image.db"), &mut |_, _| {}).unwrap();
    let db = Connection::open(path("live.db")).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF; BEGIN EXCLUSIVE").unwrap();
    database::snapshot_in(&db, &path("copy.db"), &mut |_, _| {}).unwrap();
    exchange(&db, &path("copy.db"), &path("image.db")).unwrap();
    commit(&db).unwrap();
    assert!(is_same(&db, &path("image.db")).unwrap(), "{live} | {image}");
    for connection in [&app, &Connection::open(path("live.db")).unwrap()] {
        database::check(connection).unwrap();
        let image = content::read(&content::open_private(&path("image.db")).unwrap()).unwrap();
        assert_eq!(content::read(connection).unwrap(), image);
    }
    app.execute_batch(
        "CREATE TABLE later(a); INSERT INTO later VALUES (randomblob(100000)); DROP TABLE later;",
    )
    .unwrap();
    database::check(&app).unwrap();
    app
}

#[test]
fn a_database_takes_any_other_content_and_its_app_goes_on() {
    let lives = [
        "",
        TABLE,
        &format!("{TABLE}{ROWS}"),
        "CREATE TABLE other(x); INSERT INTO other VALUES (zeroblob(900000))",
    ];
    let images = [
        format!("{TABLE}{ROWS} DELETE FROM t WHERE id % 3 = 0;"),
        format!(
            "PRAGMA user_version = 7; PRAGMA application_id = 9; {TABLE} INSERT INTO t VALUES (1, 'one');"
        ),
        format!(
            "CREATE TABLE gone(a); INSERT INTO gone VALUES (randomblob(700000)); DROP TABLE gone; {TABLE}"
        ),
    ];
    for mode in ["WAL", "DELETE"] {
        for vacuum in ["NONE", "FULL", "INCREMENTAL"] {
            for live in lives {
                for image in &images {
                    let set = format!("PRAGMA auto_vacuum = {vacuum}; PRAGMA journal_mode = {mode};");
                    exchanged(&format!("{set} {live}"), image);
                    exchanged(&format!("{set} {live}"), &format!("PRAGMA auto_vacuum = FULL; {image}"));
                }
            }
        }
    }
}

#[test]
fn journal_mode_stays_and_statements_of_others_see_the_new_schema() {
    for (live, image) in [("WAL", "DELETE"), ("DELETE", "WAL")] {
        let app = exchanged(
            &format!("PRAGMA journal_mode = {live}; CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 2)"),
            &format!(
                "PRAGMA journal_mode = {image}; CREATE TABLE t(b, c, a); INSERT INTO t VALUES (1, 2, 3)"
            ),
        );
        assert_eq!(
            app.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))
                .unwrap()
                .to_uppercase(),
            live
        );
        assert_eq!(app.query_row("SELECT a FROM t", [], |row| row.get::<_, i64>(0)), Ok(3));
    }
}

#[test]
fn a_transaction_that_is_rolled_back_leaves_the_pages_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for mode in ["WAL", "DELETE"] {
        let live = path(mode);
        let db = Connection::open(&live).unwrap();
        db.execute_batch(&format!("PRAGMA journal_mode = {mode}; {TABLE}{ROWS}")).unwrap();
        let copy = path(&format!("{mode}-copy"));
        database::snapshot(&live, &copy, &mut |_, _| {}).unwrap();
        let image = path(&format!("{mode}-image"));
        Connection::open(&image).unwrap().execute_batch(TABLE).unwrap();
        db.execute_batch("BEGIN EXCLUSIVE").unwrap();
        exchange(&db, &copy, &image).unwrap();
        db.execute_batch("ROLLBACK").unwrap();
        assert!(is_same(&db, &copy).unwrap());
        database::check(&Connection::open(&live).unwrap()).unwrap();
    }
}

/// A sparse file reaches beyond the bytes that SQLite locks.
#[test]
fn the_page_that_is_locked_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let db = Connection::open(path("live.db")).unwrap();
    db.execute_batch("PRAGMA page_size = 65536; PRAGMA journal_mode = DELETE; CREATE TABLE t(a);").unwrap();
    db.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let locked = LOCKED / 65536 + 1;
    let pages = |count: u32| {
        let name = path(&count.to_string());
        std::fs::copy(path("live.db"), &name).unwrap();
        File::options().write(true).open(&name).unwrap().set_len(u64::from(count) * 65536).unwrap();
        Pages::open(&name, 65536).unwrap()
    };
    let (mut old, mut new) = (pages(locked - 1), pages(locked + 1));
    exchange_rest(&db, &mut old, &mut new, locked).unwrap();
    db.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn another_page_size_is_made_that_of_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("raw.db");
    for (sql, size) in [
        (format!("PRAGMA page_size = 1024; {TABLE}{ROWS} DELETE FROM t WHERE id < 5;"), 8192),
        (String::new(), 4096),
        (
            "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES (7, 1), (9, 2)".to_owned(),
            512,
        ),
    ] {
        let _ = std::fs::remove_file(&raw);
        Connection::open(&raw).unwrap().execute_batch(&sql).unwrap();
        let expected = content::read(&content::open_private(&raw).unwrap()).unwrap();
        resize(&raw, size, &expected).unwrap();
        assert_eq!(Header::read(&raw).unwrap().page_size, size);
        assert_eq!(content::read(&content::open_private(&raw).unwrap()).unwrap(), expected);
    }
}

/// Whoever has the database open could no longer read it: SQLite fixes the encoding at the first look.
#[test]
fn another_encoding_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let sql = format!("PRAGMA encoding = 'UTF-16le'; {TABLE} INSERT INTO t VALUES (1, 'ö')");
    Connection::open(path("image.db")).unwrap().execute_batch(&sql).unwrap();
    let db = Connection::open(path("live.db")).unwrap();
    db.execute_batch(TABLE).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    database::snapshot_in(&db, &path("copy.db"), &mut |_, _| {}).unwrap();
    let problem = exchange(&db, &path("copy.db"), &path("image.db")).unwrap_err();
    assert!(problem.detail.unwrap().contains("encoding"));
    db.execute_batch("ROLLBACK").unwrap();
    assert!(is_same(&db, &path("copy.db")).unwrap());
}
