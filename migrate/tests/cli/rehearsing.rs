//! `rehearse` and `plan`: verdicts, and that the real database never notices.

use serde_json::{Value, json};

use crate::world::World;

fn with_rows() -> World {
    let world = World::new();
    world.script("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y');");
    world
}

fn verdict(world: &World) -> Value {
    world.run(&["dev", "rehearse"]).good().details()["rehearsal"].clone()
}

#[test]
fn growth_is_reversible_and_nothing_is_left_behind() {
    let world = with_rows();
    let before = world.dump();
    world.migration(1, "ALTER TABLE t ADD COLUMN c TEXT;", "ALTER TABLE t DROP COLUMN c;");
    world.run(&["dev", "status"]).good();
    let found = verdict(&world);
    assert_eq!(
        (&found["change"], &found["reversible"], &found["reasons"]),
        (&json!("grew"), &json!(true), &json!([]))
    );
    assert!(found["write_lock_ms"].is_u64());
    assert_eq!(found["rows"], json!({}));
    assert_eq!(world.dump(), before);
    assert!(!world.files().iter().any(|file| file.contains("rehearsal-")), "{:?}", world.files());
}

#[test]
fn a_data_change_keeps_the_schema_and_counts_rows() {
    let world = with_rows();
    world.migration(1, "INSERT INTO t(b) VALUES ('z');", "DELETE FROM t WHERE b = 'z';");
    let found = verdict(&world);
    assert_eq!((&found["change"], &found["rows"]), (&json!("same"), &json!({"t": [2, 3]})));
}

#[test]
fn a_rebuild_that_renames_a_column_is_a_change_with_reasons_and_a_way_back() {
    let world = with_rows();
    world.migration(1, "ALTER TABLE t RENAME COLUMN b TO c;", "ALTER TABLE t RENAME COLUMN c TO b;");
    let found = verdict(&world);
    assert_eq!((&found["change"], &found["reversible"]), (&json!("changed"), &json!(true)));
    assert_eq!(found["reasons"], json!(["column t.b is gone"]));
}

#[test]
fn a_way_back_that_is_none_is_said_so() {
    let lost_index = ("DROP INDEX i;", "SELECT 1;", "index i is missing");
    let forgotten = ("CREATE TABLE u(a);", "SELECT 1;", "table u is left over");
    let failing = ("CREATE TABLE u(a);", "DROP TABLE v;", "001_m.down.sql line 1 failed");
    let values = (
        "-- approve: destructive\nALTER TABLE t DROP COLUMN b;",
        "ALTER TABLE t ADD COLUMN b TEXT;",
        "2 rows of t do not come back",
    );
    for (up, down, expected) in [lost_index, forgotten, failing, values] {
        let world = with_rows();
        world.script("CREATE INDEX i ON t(a);");
        world.migration(1, up, down);
        let found = verdict(&world);
        assert_eq!(found["reversible"], false);
        assert!(found["reversal_problem"].as_str().unwrap().contains(expected), "{found}");
    }
    let world = with_rows();
    world.write("001_m.up.sql", "CREATE TABLE u(a);");
    assert!(verdict(&world)["reversal_problem"].as_str().unwrap().contains("no down text"));
}

#[test]
fn rows_vanish_only_with_an_approval() {
    let world = with_rows();
    world.migration(1, "DELETE FROM t WHERE a = 1;", "SELECT 1;");
    let answer = world.run(&["dev", "rehearse"]).refused("rows-lost");
    assert!(answer.text().contains("table t shrinks from 2 to 1 rows"), "{}", answer.text());
    world.write("001_m.up.sql", "-- approve: destructive\nDELETE FROM t WHERE a = 1;");
    assert_eq!(verdict(&world)["rows"], json!({"t": [2, 1]}));
}

#[test]
fn a_failing_migration_fails_the_rehearsal_and_not_the_database() {
    let world = with_rows();
    let before = world.dump();
    world.migration(1, "CREATE UNIQUE INDEX i ON t(b); INSERT INTO t(b) VALUES ('x');", "DROP INDEX i;");
    world.run(&["dev", "rehearse"]).refused("migration-failed");
    assert_eq!(world.dump(), before);
    assert!(!world.files().iter().any(|file| file.contains("rehearsal-")), "{:?}", world.files());
}

#[test]
fn a_second_up_that_differs_fails_the_rehearsal() {
    let world = with_rows();
    // The way back leaves a row, and the check of the second run counts it.
    let up = "CREATE TABLE mark(n CHECK (n < 3));
        INSERT INTO mark SELECT count(*) FROM t; INSERT INTO t(b) VALUES ('z');";
    world.migration(1, up, "DROP TABLE mark;");
    let answer = world.run(&["dev", "rehearse"]).refused("rehearsal-differs");
    assert!(answer.text().contains("CHECK constraint failed"), "{}", answer.text());
}

#[test]
fn nothing_pending_is_the_same_schema_and_a_copy_is_kept_all_the_same() {
    let world = with_rows();
    let same = json!({"change": "same", "reasons": [], "reversible": true, "write_lock_ms": 0, "rows": {}});
    assert_eq!(verdict(&world), same);
    let copy = world.path().join("copy.db");
    let answer = world.run(&["dev", "rehearse", "--keep-copy", copy.to_str().unwrap()]).good();
    let mut found = answer.details()["rehearsal"].clone();
    assert_eq!(found.as_object_mut().unwrap().remove("contents").unwrap()["t"]["restored"], true);
    assert_eq!(found, same);
    assert!(copy.exists());
    assert_eq!(world.run(&["bare", "rehearse"]).good().details()["rehearsal"], same);
}

#[test]
fn the_copy_is_kept_when_asked_and_never_overwritten() {
    let world = with_rows();
    world.migration(1, "ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'new';", "ALTER TABLE t DROP COLUMN c;");
    let copy = world.path().join("copy.db");
    let args = ["dev", "rehearse", "--keep-copy", copy.to_str().unwrap()];
    world.run(&args).good();
    let kept = rusqlite::Connection::open(&copy).unwrap();
    let rows: i64 = kept.query_row("SELECT count(*) FROM t WHERE c = 'new'", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 2);
    assert_eq!(world.run(&args).problem(), "snapshot-failed");
}

#[test]
fn a_first_deployment_rehearses_on_an_empty_database() {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a); INSERT INTO t VALUES (1);", "DROP TABLE t;");
    world.migration(2, "DELETE FROM t;", "INSERT INTO t VALUES (1);");
    assert_eq!(verdict(&world)["reversible"], true);
    assert!(!world.database().exists());
}

#[test]
fn a_plan_lists_every_statement_and_tells_what_would_fail_without_failing() {
    let world = with_rows();
    let before = world.dump();
    world.migration(1, "CREATE TABLE u(a);\n\nINSERT INTO u VALUES ('; x');", "DROP TABLE u;");
    let answer = world.run(&["dev", "plan"]).good();
    assert_eq!(answer.report["changed"], false);
    let statements = answer.details()["statements"].as_array().unwrap();
    assert_eq!(statements.len(), 2);
    assert_eq!(
        (&statements[1]["line"], &statements[1]["sql"]),
        (&json!(3), &json!("INSERT INTO u VALUES ('; x');"))
    );
    assert_eq!(answer.details()["rehearsal"]["change"], "grew");
    world.migration(2, "DROP TABLE t;", "SELECT 1;");
    let answer = world.run(&["dev", "plan"]).good();
    assert_eq!(answer.details()["problem"]["type"], "rows-lost");
    world.migration(3, "VACUUM;", "SELECT 1;");
    assert_eq!(world.run(&["dev", "plan"]).good().details()["problem"]["type"], "migration-refused");
    assert_eq!(world.dump(), before);
}
