//! What only flyway has: repeatable and baseline migrations, callbacks, undo files; as flyway runs
//! them, recorded in its own table, or refused with what to do instead.

use std::fs;

use serde_json::json;

use crate::world::World;

const HISTORY: &str = "SELECT ifnull(version, '-'), description, type, script FROM flyway_schema_history ORDER BY installed_rank";
const VIEW: &str = "DROP VIEW IF EXISTS names; CREATE VIEW names AS SELECT a FROM t;";

fn world() -> World {
    let world = World::new();
    fs::write(world.path().join("migrate.toml"), "layout = \"flyway\"\n").unwrap();
    world.write("V1__t.sql", "CREATE TABLE t(a); INSERT INTO t VALUES (1);");
    world
}

#[test]
fn a_repeatable_migration_runs_after_the_others_and_again_whenever_it_changes() {
    let world = world();
    world.write("R__view_of_names.sql", VIEW).write("R__a_last.sql", "INSERT INTO t(a) VALUES (9);");
    world.write("V2__more.sql", "ALTER TABLE t ADD COLUMN b;");
    let pending = world.run(&["dev", "plan"]).good().details()["pending"].clone();
    let names: Vec<_> =
        pending.as_array().unwrap().iter().map(|one| (&one["version"], &one["name"])).collect();
    assert_eq!(
        json!(names),
        json!([[100_000, "t"], [200_000, "more"], [null, "a_last"], [null, "view_of_names"]])
    );
    world.run(&["dev", "up"]).good();
    let repeated = json!(["-", "view of names", "SQL", "R__view_of_names.sql"]);
    assert_eq!(
        world.query(HISTORY),
        json!([
            ["1", "t", "SQL", "V1__t.sql"],
            ["2", "more", "SQL", "V2__more.sql"],
            ["-", "a last", "SQL", "R__a_last.sql"],
            repeated
        ])
    );
    assert_eq!(world.run(&["dev", "up"]).good().details()["applied"], json!([]));

    // Line endings are no change, as with flyway.
    world.write("R__view_of_names.sql", VIEW.replace("; ", ";\r\n"));
    world.run(&["dev", "up"]).good();
    let edited = VIEW.replace("SELECT a", "SELECT a, b");
    world.write("R__view_of_names.sql", &edited).write("V3__late.sql", "INSERT INTO t VALUES (3, 3);");
    let applied = world.run(&["dev", "up"]).good().details()["applied"].clone();
    assert_eq!(applied.as_array().unwrap().len(), 2, "{applied}");
    assert_eq!(world.number("SELECT count(b) FROM names"), 1);
    assert_eq!(world.number("SELECT count(*) FROM flyway_schema_history WHERE version IS NULL"), 4);
    assert_eq!(world.query("SELECT version FROM migrations"), json!([[100_000], [200_000], [300_000]]));
}

#[test]
fn what_flyway_ran_is_not_repeated_and_what_cannot_be_undone_is_said() {
    let world = world();
    world.write("R__v.sql", VIEW).write("U1__t.sql", "DROP TABLE t;");
    world.run(&["dev", "up"]).good();
    // flyway itself would have written the same.
    world.script("DROP TABLE migrations");
    assert_eq!(world.run(&["dev", "up"]).good().details()["applied"], json!([]));
    world.write("R__v.sql", format!("{VIEW} -- again"));
    let verdict = world.run(&["dev", "rehearse"]).good().details()["rehearsal"].clone();
    assert!(verdict["reversal_problem"].as_str().unwrap().contains("R__v.sql is repeatable"), "{verdict}");
    world.run(&["prod", "rehearse"]).refused("migration-irreversible");
    world.write("R__v.sql", format!("-- irreversible: the release before makes its own\n{VIEW}"));
    world.run(&["prod", "rehearse"]).good();
    world.run(&["dev", "up"]).good();
    world.run(&["dev", "down"]).good();
    assert_eq!(
        world.query("SELECT name FROM sqlite_master WHERE name IN ('t', 'names')"),
        json!([["names"]])
    );
}

#[test]
fn a_repeatable_migration_that_fails_takes_the_others_with_it() {
    let world = world();
    world.write("R__v.sql", "CREATE VIEW v AS SELECT 1; INSERT INTO nowhere VALUES (1);");
    let answer = world.run(&["dev", "up"]);
    assert_eq!((answer.code, answer.problem()), (Some(1), "migration-failed"));
    assert!(!world.database().exists());
    world.write("R__v.sql", VIEW).write("sub/R__v.sql", VIEW);
    assert!(world.run(&["dev", "up"]).refused("migration-files").text().contains("same title"));
}

#[test]
fn a_baseline_migration_begins_a_new_database_and_is_passed_over_in_an_old_one() {
    let world = world();
    world.write("V2__more.sql", "ALTER TABLE t ADD COLUMN b;").write("V3__late.sql", "CREATE TABLE late(a);");
    world.run(&["dev", "up", "--each"]).good();
    world
        .write("B1__old.sql", "CREATE TABLE never(a);")
        .write("B2__whole.sql", "CREATE TABLE t(a, b); CREATE TABLE fresh(a);");
    let answer = world.run(&["dev", "up"]).good();
    assert_eq!(
        (&answer.details()["applied"], &answer.details()["ignored"]),
        (&json!([]), &json!(["B1__old.sql", "B2__whole.sql"]))
    );

    fs::remove_file(world.database()).unwrap();
    world.run(&["dev", "up"]).good();
    assert_eq!(
        world.query(HISTORY),
        json!([["2", "whole", "SQL_BASELINE", "B2__whole.sql"], ["3", "late", "SQL", "V3__late.sql"]])
    );
    assert_eq!(
        world.query("SELECT name FROM sqlite_master WHERE name IN ('fresh', 'never')"),
        json!([["fresh"]])
    );
    world.write("V4__last.sql", "INSERT INTO t VALUES (1, 2);").write("B4__newer.sql", "SELECT 1;");
    assert_eq!(world.run(&["dev", "up"]).good().details()["applied"].as_array().unwrap().len(), 1);
    assert_eq!(world.run(&["dev", "status"]).good().details()["standing"], "current");
}

#[test]
fn callbacks_of_applying_are_refused_with_the_way_out_and_the_others_are_passed_over() {
    for file in ["afterMigrate.sql", "beforeEachMigrate__x.sql", "sub/createSchema.sql"] {
        let world = world();
        world.write(file, "SELECT 1;");
        let answer = world.run(&["dev", "up"]).refused("migration-files");
        assert!(answer.text().contains("R__name.sql"), "{}", answer.text());
    }
    let world = world();
    world.write("afterClean.sql", "SELECT 1;");
    assert_eq!(world.run(&["dev", "up"]).good().details()["ignored"], json!(["afterClean.sql"]));
    world.write("R__v.sql", VIEW).write("R__v.sql.conf", "executeInTransaction=false");
    assert!(
        world.run(&["dev", "up"]).refused("migration-files").text().contains("make it a versioned migration")
    );
}
