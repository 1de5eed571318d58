//! The database stage, on real files.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;

use crate::world::World;

const DATABASE: &[&str] = &["dev", "--slot", "blue", "--only", "database"];

fn world(verify_toml: &str) -> (World, PathBuf) {
    let world = World::new(verify_toml, "database = \"sqlite:app.db\"");
    world.record("127.0.0.1:9".parse().unwrap());
    let path = world.place.shared().join("app.db");
    (world, path)
}

#[test]
fn a_whole_database_passes_and_queries_are_asked() {
    let (world, path) = world(
        r#"
[database]
queries = { "users exist" = "select count(*) > 0 from user", "none" = "select 1 where 0", "text" = "select 'yes'", "broken" = "select nothing", "writes" = "delete from user returning 1", "ends" = "with recursive c(n) as (select 1) select n from c" }
"#,
    );
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE user(a); INSERT INTO user VALUES (1)").unwrap();
    let run = world.verify(DATABASE);
    for (name, ending) in [
        ("integrity", "passed"),
        ("migrations", "passed"),
        ("query users exist", "passed"),
        ("query ends", "passed"),
        ("query none", "query-false"),
        ("query text", "query-false"),
        ("query broken", "query-failed"),
        ("query writes", "query-failed"),
    ] {
        assert_eq!(run.ending(&format!("database.{name}")), ending, "{name}");
    }
    let count: i64 = db.query_row("SELECT count(*) FROM user", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn damage_is_found() {
    let (world, path) = world("");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE p(a PRIMARY KEY); CREATE TABLE c(a REFERENCES p); PRAGMA foreign_keys=OFF; INSERT INTO c VALUES (7)").unwrap();
    let run = world.verify(DATABASE);
    assert_eq!(run.ending("database.foreign-keys"), "foreign-keys-broken");
    assert_eq!(run.ending("database.integrity"), "passed");
    db.execute_batch("DELETE FROM c; CREATE INDEX i ON p(a)").unwrap();
    db.execute_batch("PRAGMA writable_schema=ON; UPDATE sqlite_master SET rootpage = 2 WHERE name = 'i'")
        .unwrap();
    drop(db);
    assert_eq!(world.verify(DATABASE).ending("database.integrity"), "database-damaged");
    fs::write(&path, "no database at all, but long enough to look like something").unwrap();
    assert_eq!(world.verify(DATABASE).ending("database"), "database-unreadable");
    fs::remove_file(&path).unwrap();
    let run = world.verify(DATABASE);
    assert_eq!((run.ending("database"), run.outcome()), ("database-missing", ("failed", 1)));
    assert!(!path.exists());
}

#[test]
fn pending_migrations_fail() {
    let (world, path) = world("");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    let migrations = world.release().join("migrations");
    fs::create_dir(&migrations).unwrap();
    fs::write(migrations.join("001_more.up.sql"), "CREATE TABLE u(a);").unwrap();
    fs::write(migrations.join("001_more.down.sql"), "DROP TABLE u;").unwrap();
    let run = world.verify(DATABASE);
    assert_eq!(run.ending("database.migrations"), "migrations-pending");
    assert_eq!(run.report["details"]["verify"]["migrations"], "pending");
}

#[test]
fn the_schema_has_all_that_the_release_expects() {
    let (world, path) = world("");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT)").unwrap();
    let schema = |text: &str| {
        fs::write(world.release().join("schema.sql"), text).unwrap();
        let run = world.verify(DATABASE);
        let problem = run.step("database.schema")["problem"].clone();
        (run.ending("database.schema").to_owned(), problem["detail"].as_str().unwrap_or_default().to_owned())
    };
    let same = "CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT);";
    assert_eq!(schema(same).0, "passed");
    assert_eq!(schema("CREATE TABLE user(id INTEGER PRIMARY KEY);").0, "passed", "more may be there");
    let (ending, detail) = schema(&format!("{same} CREATE TABLE document(id INTEGER PRIMARY KEY);"));
    assert_eq!((ending.as_str(), detail.as_str()), ("schema-drift", "table document is gone"));
    assert_eq!(schema("CREATE TABEL x;").0, "schema-drift");
    let run = world.verify(DATABASE);
    assert!(run.step("database.schema")["problem"]["hint"].as_str().unwrap().contains("sqlite3 :memory: <"));
}

#[test]
fn rows_without_those_they_belong_to_are_found_though_no_key_says_so() {
    let (world, path) = world(
        "[database]\nreferences = { \"comment.document\" = \"document.id\", \"comment.writer\" = \"nobody.id\" }",
    );
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TABLE document(id); CREATE TABLE comment(document, writer);
         INSERT INTO document VALUES (1), (NULL); INSERT INTO comment VALUES (1, 1), (NULL, 1)",
    )
    .unwrap();
    assert_eq!(world.verify(DATABASE).ending("database.reference comment.document"), "passed");
    db.execute_batch("INSERT INTO comment VALUES (2, 1), (2, 1)").unwrap();
    let run = world.verify(DATABASE);
    let step = run.step("database.reference comment.document");
    assert_eq!(run.ending("database.reference comment.document"), "rows-orphaned");
    assert_eq!(step["problem"]["title"], "2 rows of comment lack their document");
    assert_eq!(run.ending("database.reference comment.writer"), "query-failed");
}

/// Of a large one the pages are looked at, not every row beside every index: that takes seconds.
#[test]
fn indexes_are_compared_with_their_tables_as_far_as_the_size_allows() {
    let (world, path) = world("");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TABLE p(a, b); INSERT INTO p VALUES (1, 2); CREATE INDEX i ON p(a); CREATE TABLE big(x);
        PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql = 'CREATE INDEX i ON p(b)' WHERE name = 'i'",
    )
    .unwrap();
    drop(db);
    let run = world.verify(DATABASE);
    assert_eq!(run.ending("database.integrity"), "database-damaged");
    let detail = run.step("database.integrity")["problem"]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("missing from index i"), "{detail}");
    let db = Connection::open(&path).unwrap();
    db.execute("INSERT INTO big VALUES (zeroblob(51 * 1024 * 1024))", []).unwrap();
    drop(db);
    assert_eq!(world.verify(DATABASE).ending("database.integrity"), "passed");
}
