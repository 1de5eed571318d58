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
    assert_eq!(world.verify(DATABASE).ending("database.integrity"), "foreign-keys-broken");
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
