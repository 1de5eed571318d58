//! `up`, `baseline` and `new`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::world::World;

#[test]
fn the_first_up_makes_the_database_and_the_second_has_nothing_to_do() {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    world.migration(2, "INSERT INTO t VALUES (1), (2);", "DELETE FROM t;");
    let answer = world.run(&["dev", "up"]).good();
    assert_eq!(answer.report["changed"], true);
    let applied = answer.details()["applied"].as_array().unwrap();
    assert_eq!((applied.len(), &applied[1]["version"], &applied[1]["name"]), (2, &json!(2), &json!("m")));
    assert_eq!(answer.details()["pending"], json!([]));
    assert_eq!(answer.details()["rows_after"], json!({"t": 2}));
    assert_eq!(answer.details()["rows_before"], json!({"t": null}));
    assert_ne!(answer.details()["schema_before"], answer.details()["schema_after"]);
    assert!(answer.details()["write_lock_ms"].is_u64());
    let steps = answer.report["steps"].as_array().unwrap();
    assert_eq!(steps[0]["name"], "migrate.apply");
    assert_eq!(steps[1]["target"], "002_m.up.sql");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&world.database()), mode(world.database().parent().unwrap())), (0o600, 0o700));
    let rows = world.query("SELECT version, name, length(checksum), down, deployment FROM migrations");
    let id = answer.report["deployment"].as_str().unwrap();
    assert_eq!(rows, json!([[1, "m", 64, "DROP TABLE t;", id], [2, "m", 64, "DELETE FROM t;", id]]));

    let again = world.run(&["dev"]).good();
    assert_eq!((&again.report["changed"], &again.details()["applied"]), (&json!(false), &json!([])));
    assert_eq!(world.query("SELECT count(*) FROM t"), json!([[2]]));
}

#[test]
fn triggers_strings_and_comments_with_semicolons_arrive_whole() {
    let world = World::new();
    let sql = "-- a; b\nCREATE TABLE t(a TEXT DEFAULT 'x; y -- z');\r\nCREATE TABLE log(a);
        CREATE TRIGGER r AFTER INSERT ON t BEGIN
          INSERT INTO log VALUES (';'); UPDATE t SET a = CASE WHEN a IS NULL THEN 'n' ELSE a END;
        END; /* ; */ INSERT INTO t DEFAULT VALUES; INSERT INTO t VALUES ('it''s; \u{e9}')";
    world.migration(1, &format!("\u{feff}{sql}"), "SELECT 1");
    world.run(&["dev", "up"]).good();
    assert_eq!(world.query("SELECT a FROM t"), json!([["x; y -- z"], ["it's; \u{e9}"]]));
    assert_eq!(world.query("SELECT count(*) FROM log"), json!([[2]]));
}

#[test]
fn a_failure_in_the_middle_leaves_the_database_as_it_was() {
    let world = World::new();
    world.script("CREATE TABLE t(a); INSERT INTO t VALUES (1);");
    let before = world.dump();
    world.migration(1, "CREATE TABLE u(a); DELETE FROM t;", "SELECT 1");
    world.migration(2, "CREATE TABLE v(a);\nINSERT INTO nowhere VALUES (1);", "SELECT 1");
    world.migration(3, "CREATE TABLE w(a);", "SELECT 1");
    let answer = world.run(&["dev", "up"]).refused("migration-failed");
    assert!(answer.report["problem"]["title"].as_str().unwrap().contains("002_m.up.sql line 2"));
    let steps: Vec<_> =
        answer.report["steps"].as_array().unwrap().iter().map(|s| s["status"].clone()).collect();
    assert_eq!(steps, [json!("skipped"), json!("failed")]);
    assert_eq!(world.dump(), before);
    assert_eq!(world.query("SELECT count(*) FROM sqlite_master WHERE name = 'migrations'"), json!([[0]]));
}

#[test]
fn a_failed_first_up_leaves_no_file_that_was_not_there() {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a); SELECT * FROM nowhere;", "SELECT 1");
    world.run(&["dev", "status"]).good();
    world.run(&["dev", "up"]).refused("migration-failed");
    assert!(!world.database().parent().unwrap().exists(), "{:?}", world.files());
}

#[test]
fn rebuilding_a_parent_keeps_the_rows_of_its_children() {
    for pragma in ["", "PRAGMA foreign_keys=OFF;\n"] {
        let world = World::new();
        world.script(
            "CREATE TABLE p(id INTEGER PRIMARY KEY, a);
             CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id) ON DELETE CASCADE);
             INSERT INTO p VALUES (1, 'x'); INSERT INTO c(p) VALUES (1), (1), (1);",
        );
        let rebuild = "CREATE TABLE n(id INTEGER PRIMARY KEY, a, b);\nINSERT INTO n SELECT id, a, 0 FROM p;
            DROP TABLE p;\nALTER TABLE n RENAME TO p;";
        world.migration(1, &format!("{pragma}{rebuild}"), "SELECT 1");
        let answer = world.run(&["dev", "up"]).good();
        assert_eq!(world.query("SELECT count(*) FROM c"), json!([[3]]));
        assert_eq!(world.query("SELECT count(*) FROM pragma_foreign_key_check"), json!([[0]]));
        assert_eq!(answer.details()["rows_after"], json!({}));
        assert_eq!(answer.details()["notes"].is_array(), !pragma.is_empty());
    }
}

#[test]
fn new_orphans_are_refused_and_old_ones_left_alone() {
    let world = World::new();
    world.script("CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id)); INSERT INTO c VALUES (7);");
    world.migration(1, "ALTER TABLE c ADD COLUMN x;", "SELECT 1");
    world.run(&["dev", "up"]).good();
    world.migration(2, "INSERT INTO c(p) VALUES (8);", "SELECT 1");
    let answer = world.run(&["dev", "up"]).refused("foreign-keys-broken");
    assert!(answer.text().contains("c(p) 8 is in no p"), "{}", answer.text());
    assert_eq!(world.query("SELECT count(*) FROM c"), json!([[1]]));
}

#[test]
fn what_cannot_be_in_a_transaction_is_refused_before_anything_runs() {
    for sql in
        ["BEGIN; CREATE TABLE x(a); COMMIT;", "VACUUM", "PRAGMA journal_mode=WAL;", "ATTACH 'o.db' AS o;"]
    {
        let world = World::new();
        world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;").migration(2, sql, "SELECT 1;");
        let answer = world.run(&["dev", "up"]).refused("migration-refused");
        assert!(answer.text().contains("002_m.up.sql line 1"), "{}", answer.text());
        assert!(!world.database().exists());
    }
}

#[test]
fn the_journal_mode_is_never_changed() {
    for mode in ["delete", "wal"] {
        let world = World::new();
        world.script(&format!("PRAGMA journal_mode={mode}; CREATE TABLE t(a);"));
        world.migration(1, "ALTER TABLE t ADD COLUMN b;", "ALTER TABLE t DROP COLUMN b;");
        for args in [&["dev", "rehearse"][..], &["dev", "up"], &["dev", "down"], &["dev", "status"]] {
            world.run(args).good();
            assert_eq!(world.query("PRAGMA journal_mode"), json!([[mode]]));
        }
    }
}

#[test]
fn a_database_in_use_is_waited_for_and_its_readers_see_the_old_schema_until_the_commit() {
    let world = World::new();
    world.script("PRAGMA journal_mode=wal; CREATE TABLE t(a);");
    let reader = rusqlite::Connection::open(world.database()).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM t;").unwrap();
    world.migration(1, "CREATE TABLE u(a);", "DROP TABLE u;");
    world.run(&["dev", "up"]).good();
    assert!(reader.prepare("SELECT * FROM u").is_err());
    reader.execute_batch("COMMIT").unwrap();
    assert!(reader.prepare("SELECT * FROM u").is_ok());
}

#[test]
fn a_baseline_records_without_running() {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    world.migration(2, "ALTER TABLE t ADD COLUMN b;", "ALTER TABLE t DROP COLUMN b;");
    world.run(&["dev", "baseline"]).refused("database-missing");
    world.script("CREATE TABLE t(a);");
    let answer = world.run(&["dev", "baseline", "--to", "1"]).good();
    assert_eq!(answer.details()["recorded"].as_array().unwrap().len(), 1);
    let answer = world.run(&["dev", "up"]).good();
    assert_eq!(answer.details()["applied"][0]["version"], 2);
    world.run(&["dev", "down", "--to", "0"]).good();
    assert_eq!(world.query("SELECT count(*) FROM sqlite_master WHERE name = 't'"), json!([[0]]));
}

#[test]
fn new_makes_the_next_pair_and_its_comments_alone_are_no_migration() {
    let world = World::new();
    let answer = world.run(&["new", "Add email"]).good();
    assert_eq!(answer.report["changed"], false);
    let created = answer.details()["created"].as_array().unwrap();
    assert!(created[0].as_str().unwrap().ends_with("migrations/001_add_email.up.sql"), "{created:?}");
    assert!(world.run(&["new", "more"]).good().text().contains("002_more.down.sql"));
    let answer = world.run(&["dev", "up"]).refused("migration-refused");
    assert!(answer.text().contains("001_add_email.up.sql line 1 contains no statement"));
    assert_eq!(world.run(&["new", "../x"]).code, Some(2));
}

#[test]
fn an_app_with_a_table_of_that_name_is_told() {
    let world = World::new();
    world.script("CREATE TABLE migrations(id INTEGER, batch INTEGER)");
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    world.run(&["dev", "up"]).refused("tracking-table-foreign");
}
