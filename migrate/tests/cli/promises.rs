//! What files may say about themselves, and whose a database is.

use std::fs;

use serde_json::json;

use crate::world::World;

const ROWS: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 'x'), (2, 'y');";

#[test]
fn what_takes_away_needs_an_approval_where_releases_are_promoted_to() {
    for (up, what) in [
        ("DROP TABLE t;", "drops table t"),
        ("ALTER TABLE t DROP COLUMN b;", "drops column t.b"),
        ("DELETE FROM t;", "deletes rows of t"),
    ] {
        let world = World::new();
        world.script(ROWS);
        world.copy_to("prod");
        world.write("001_m.up.sql", format!("-- irreversible: gone\n{up}"));
        let untouched = fs::read(world.database_of("prod")).unwrap();
        for verb in ["up", "rehearse"] {
            let answer = world.run(&["prod", verb]).refused("destructive-unapproved");
            assert!(
                answer.text().contains(what) && answer.text().contains("approve: destructive"),
                "{}",
                answer.text()
            );
        }
        assert_eq!(
            world.run(&["prod", "plan"]).good().details()["problem"]["type"],
            "destructive-unapproved"
        );
        assert_eq!(fs::read(world.database_of("prod")).unwrap(), untouched);
        world.run(&["dev", "up"]).good();
        world.write("001_m.up.sql", format!("-- irreversible: gone\n-- approve: destructive\n{up}"));
        world.run(&["prod", "rehearse"]).good();
        world.run(&["prod", "up"]).good();
    }
}

#[test]
fn a_script_that_takes_away_is_found_by_what_it_does() {
    let world = World::new();
    world.script(ROWS);
    world.copy_to("prod");
    let before = fs::read(world.database_of("prod")).unwrap();
    let text = "def up(db):\n    db.execute('DELETE FROM t WHERE a = 1')\n\n\ndef down(db):\n    pass\n";
    world.write("001_m.py", text);
    let answer = world.run(&["prod", "up"]).refused("destructive-unapproved");
    assert!(answer.text().contains("deletes rows of t"), "{}", answer.text());
    assert_eq!(fs::read(world.database_of("prod")).unwrap(), before);
    world.write("001_m.py", format!("# approve: destructive\n{text}"));
    world.run(&["prod", "up"]).good();
}

#[test]
fn a_rebuild_that_loses_rows_is_stopped_before_its_commit() {
    let world = World::new();
    world.script(ROWS);
    world.copy_to("prod");
    let rebuild = "CREATE TABLE n(a INTEGER PRIMARY KEY, b); INSERT INTO n SELECT a, b FROM t WHERE a > 1;
        DROP TABLE t; ALTER TABLE n RENAME TO t;";
    world.migration(1, rebuild, "SELECT 1;");
    let answer = world.run(&["prod", "up"]).refused("rows-lost");
    assert!(answer.text().contains("table t shrinks from 2 to 1 rows"), "{}", answer.text());
}

#[test]
fn no_way_back_must_be_explained_where_releases_are_promoted_to() {
    let world = World::new();
    world.script("CREATE TABLE t(a, b); CREATE INDEX i ON t(a);");
    world.copy_to("prod");
    world.migration(1, "CREATE TABLE u(a);", "DROP TABLE u;").migration(2, "DROP INDEX i;", "SELECT 1;");
    let answer = world.run(&["prod", "rehearse"]).refused("migration-irreversible");
    assert!(answer.text().contains("after 002_m.down.sql, index i is missing"), "{}", answer.text());
    assert_eq!(world.run(&["dev", "rehearse"]).good().details()["rehearsal"]["reversible"], false);
    world.write("002_m.up.sql", "-- irreversible: nobody needs it\nDROP INDEX i;");
    let verdict = world.run(&["prod", "rehearse"]).good().details()["rehearsal"].clone();
    assert_eq!(verdict["reversible"], false);
    assert!(verdict["reversal_problem"].as_str().unwrap().contains("nobody needs it"), "{verdict}");
    world.write("002_m.up.sql", "-- irreversible:\nDROP INDEX i;");
    world.run(&["prod", "rehearse"]).refused("migration-files");
}

#[test]
fn a_command_for_one_environment_never_works_on_the_database_of_another() {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    world.run(&["prod", "up"]).good();
    world.migration(2, "ALTER TABLE t ADD COLUMN b;", "ALTER TABLE t DROP COLUMN b;");
    let config = world.path().join("deploy.toml");
    let text = fs::read_to_string(&config).unwrap();
    let wrong = format!("database = \"sqlite:{}\"", world.database_of("prod").display());
    fs::write(&config, text.replacen("database = \"sqlite:instance/app.db\"", &wrong, 1)).unwrap();
    let before = fs::read(world.database_of("prod")).unwrap();
    for args in [
        &["dev", "up"][..],
        &["dev", "down"],
        &["dev", "baseline"],
        &["dev", "rehearse"],
        &["dev", "status"],
        &["dev", "plan"],
    ] {
        let answer = world.run(args).refused("wrong-database");
        assert!(answer.text().contains("belongs to prod, not to dev"), "{}", answer.text());
    }
    assert_eq!(fs::read(world.database_of("prod")).unwrap(), before);
}

#[test]
fn a_copy_is_taken_over_on_request() {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    world.run(&["dev", "up"]).good();
    world.copy_to("prod");
    world.run(&["prod", "up"]).refused("wrong-database");
    world.run(&["prod", "baseline", "--take-over"]).good();
    world.run(&["prod", "down"]).good();
}

#[test]
fn outside_of_a_transaction_is_possible_and_said() {
    let world = World::new();
    world.script(ROWS);
    world.migration(1, "CREATE TABLE u(a);", "DROP TABLE u;");
    world.migration(2, "-- no-transaction\nVACUUM;\nPRAGMA journal_mode = WAL;\nINSERT INTO u VALUES (1);\nBEGIN; INSERT INTO u VALUES (2); COMMIT;", "-- no-transaction\nPRAGMA journal_mode = DELETE;\nDELETE FROM u;");
    world.migration(3, "INSERT INTO u VALUES (3);", "DELETE FROM u WHERE a = 3;");
    let answer = world.run(&["dev", "rehearse"]).good();
    assert!(
        answer.details()["notes"][0].as_str().unwrap().contains("002_m.up.sql runs without a transaction")
    );
    let answer = world.run(&["dev", "up"]).good();
    assert_eq!(answer.details()["applied"].as_array().unwrap().len(), 3);
    assert_eq!(
        (world.query("PRAGMA journal_mode"), world.number("SELECT sum(a) FROM u")),
        (json!([["wal"]]), 6)
    );
    world.run(&["dev", "down", "--steps", "2"]).good();
    assert_eq!(
        (world.query("PRAGMA journal_mode"), world.number("SELECT count(*) FROM u")),
        (json!([["delete"]]), 0)
    );
}

#[test]
fn several_may_run_outside_of_transactions_one_after_the_other() {
    let vacuum = "-- no-transaction\nVACUUM;";
    let switch = "-- no-transaction\nPRAGMA journal_mode = WAL;";
    for args in [&["dev", "up"][..], &["dev", "up", "--each"]] {
        let world = World::new();
        let files = [switch, "CREATE TABLE u(a);", vacuum, vacuum, "INSERT INTO u VALUES (1);", vacuum];
        for (number, text) in (1..).zip(files) {
            world.migration(number, text, "SELECT 1;");
        }
        let answer = world.run(args).good();
        assert_eq!(answer.details()["applied"].as_array().unwrap().len(), files.len());
        assert_eq!(world.query("PRAGMA journal_mode"), json!([["wal"]]), "as the first of them set it");
        assert!(!world.database().with_extension("db-journal").exists());
    }
}

#[test]
fn what_fails_outside_of_a_transaction_goes_on_where_it_was() {
    let world = World::new();
    world.migration(1, "CREATE TABLE u(a);", "DROP TABLE u;");
    let good = "-- no-transaction\nINSERT INTO u VALUES (1);\nINSERT INTO u VALUES (2);\n";
    world.migration(2, &format!("{good}INSERT INTO nowhere VALUES (3);"), "DELETE FROM u;");
    let answer = world.run(&["dev", "up"]);
    assert_eq!(
        (answer.code, answer.problem(), &answer.report["changed"]),
        (Some(1), "migration-failed", &json!(true))
    );
    assert!(answer.text().contains("first 2 statements are done and stay"), "{}", answer.text());
    let status = world.run(&["dev", "status"]).good();
    assert_eq!(status.details()["unfinished"][0]["version"], 2);
    assert_eq!(status.details()["pending"][0]["version"], 2);
    world.run(&["dev", "down"]).refused("migration-unfinished");
    world.write(
        "002_m.up.sql",
        "-- no-transaction\nINSERT INTO u VALUES (9);\nINSERT INTO u VALUES (2);\nSELECT 3;",
    );
    world.run(&["dev", "up"]).refused("migration-edited");
    world.write("002_m.up.sql", format!("{good}INSERT INTO u VALUES (3);"));
    world.run(&["dev", "up"]).good();
    assert_eq!(world.query("SELECT group_concat(a) FROM u"), json!([["1,2,3"]]));
}

#[test]
fn with_a_transaction_each_those_before_a_failure_stay() {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    world.migration(2, "INSERT INTO t VALUES (1);", "DELETE FROM t;");
    world.migration(3, "INSERT INTO nowhere VALUES (1);", "SELECT 1;");
    let answer = world.run(&["dev", "up", "--each"]);
    assert_eq!(
        (answer.code, answer.problem(), &answer.report["changed"]),
        (Some(1), "migration-failed", &json!(true))
    );
    assert_eq!(answer.details()["applied"].as_array().unwrap().len(), 2);
    assert_eq!(world.number("SELECT count(*) FROM t"), 1);
    world.migration(3, "INSERT INTO t VALUES (2);", "SELECT 1;");
    assert_eq!(world.run(&["dev", "up", "--each"]).good().details()["applied"].as_array().unwrap().len(), 1);
}

#[test]
fn a_later_phase_waits_while_an_older_release_may_run() {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a, b);", "DROP TABLE t;");
    world.run(&["dev", "up"]).good();
    world.migration(
        2,
        "-- phase: after\n-- approve: destructive\nALTER TABLE t DROP COLUMN b;",
        "ALTER TABLE t ADD COLUMN b;",
    );
    world.migration(3, "CREATE TABLE u(a);", "DROP TABLE u;");
    // Nothing is deployed: nothing older can run.
    let plan = world.run(&["dev", "plan"]).good().details()["plan"].clone();
    assert_eq!(
        (&plan[0]["phase"], &plan[0]["compatible"], &plan[1]["compatible"]),
        (&json!("after"), &json!(false), &json!(true))
    );
    world.run(&["dev", "up"]).good();
    world.run(&["dev", "down", "--to", "1"]).good();
}

#[test]
fn a_plan_tells_of_each_migration_what_it_touches_and_breaks() {
    let world = World::new();
    world.script(ROWS);
    world.migration(1, "UPDATE t SET b = 'z'; CREATE TABLE u(a);", "DROP TABLE u;");
    world.migration(
        2,
        "-- approve: destructive\nALTER TABLE t RENAME TO v; DELETE FROM v WHERE a = 1;",
        "SELECT 1;",
    );
    let answer = world.run(&["dev", "plan"]).good();
    let plan = &answer.details()["plan"];
    assert_eq!(plan[0]["tables"], json!({"t": 2, "u": 0}));
    assert_eq!((&plan[0]["compatible"], &plan[0]["destructive"]), (&json!(true), &json!([])));
    assert_eq!((&plan[1]["compatible"], &plan[1]["reasons"]), (&json!(false), &json!(["table t is gone"])));
    assert_eq!(
        (&plan[1]["destructive"], &plan[1]["approved"]),
        (&json!(["line 2: deletes rows of v"]), &json!(true))
    );
    assert!(plan[1]["estimated_ms"].is_u64());
    let contents = &answer.details()["rehearsal"]["contents"];
    assert_eq!((&contents["t"]["before"]["rows"], &contents["v"]["after"]["rows"]), (&json!(2), &json!(1)));
    assert_ne!(contents["t"]["before"]["hash"], contents["v"]["after"]["hash"]);
}

#[test]
fn a_schema_file_is_written_on_request_and_drift_from_it_is_told() {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a); CREATE VIEW v AS SELECT a FROM t;", "DROP VIEW v; DROP TABLE t;");
    world.run(&["dev", "schema"]).refused("database-missing");
    world.run(&["dev", "up"]).good();
    world.run(&["dev", "schema"]).good();
    let text = fs::read_to_string(world.path().join("schema.sql")).unwrap();
    assert!(text.contains("CREATE TABLE t(a);") && !text.contains("migrations("), "{text}");
    world.run(&["dev", "status"]).good();
    world.script("CREATE INDEX by_hand ON t(a);");
    let answer = world.run(&["dev", "status"]).refused("schema-drift");
    assert!(answer.text().contains("index by_hand is left over"), "{}", answer.text());
}

#[test]
fn squashed_migrations_make_the_same_database_and_count_as_applied() {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, r REAL); INSERT INTO t VALUES (1, 'it''s; x', 0.1), (2, NULL, 1e300);", "DROP TABLE t;");
    world.migration(
        2,
        "ALTER TABLE t ADD COLUMN b BLOB DEFAULT x'00ff'; CREATE INDEX i ON t(a);",
        "DROP INDEX i; ALTER TABLE t DROP COLUMN b;",
    );
    world.migration(
        3,
        "CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET a = ';' WHERE id = new.id; END;",
        "DROP TRIGGER r;",
    );
    world.run(&["dev", "up"]).good();
    let made = world.dump();
    world.migration(4, "CREATE TABLE u(a);", "DROP TABLE u;");
    world.run(&["squash", "--to", "3"]).good();
    let mut files: Vec<_> = fs::read_dir(world.path().join("migrations"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["003_squashed.up.sql", "004_m.down.sql", "004_m.up.sql"]);
    assert_eq!(world.run(&["dev", "status"]).good().details()["pending"].as_array().unwrap().len(), 1);
    world.run(&["dev", "up"]).good();
    world.run(&["dev", "down", "--to", "2"]).good();
    fs::remove_dir_all(world.state()).unwrap();
    world.remove("004_m.up.sql");
    world.remove("004_m.down.sql");
    world.run(&["dev", "up"]).good();
    assert_eq!(world.dump(), made);
    assert_eq!(world.run(&["squash"]).code, Some(2));
}

#[test]
fn new_makes_a_script_on_request() {
    let world = World::new();
    let answer = world.run(&["new", "fill", "--python"]).good();
    assert!(answer.text().contains("001_fill.py"));
    let text = fs::read_to_string(world.path().join("migrations/001_fill.py")).unwrap();
    assert!(text.starts_with("\"\"\"\nMigration: fill\nDate: ") && text.contains("def down(db):"), "{text}");
    world.run(&["dev", "up"]).refused("migration-failed");
}
