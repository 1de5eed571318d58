//! Files against rows: pending, ahead, edited, missing, out of order, and files that are none.

use serde_json::json;

use crate::world::World;

fn two() -> World {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    world.migration(2, "CREATE TABLE u(a);", "DROP TABLE u;");
    world
}

#[test]
fn status_tells_and_changes_nothing() {
    let world = two();
    let answer = world.run(&["dev", "status"]).good();
    assert_eq!(
        (&answer.details()["standing"], &answer.details()["applied"]),
        (&json!("pending"), &json!([]))
    );
    assert!(!world.state().exists());
    world.run(&["dev", "up"]).good();
    let answer = world.run(&["dev", "status"]).good();
    assert_eq!(
        (&answer.details()["standing"], &answer.details()["pending"]),
        (&json!("current"), &json!([]))
    );
    assert_eq!(answer.details()["applied"][1]["reversible"], true);
}

#[test]
fn an_edited_file_is_refused_and_other_line_endings_are_no_edit() {
    let world = two();
    world.run(&["dev", "up"]).good();
    world.write("001_m.up.sql", "\u{feff}CREATE TABLE t(a);  \r\n\r\n");
    world.run(&["dev", "status"]).good();
    world.write("001_m.up.sql", "CREATE TABLE t(a, b);");
    world.migration(3, "CREATE TABLE v(a);", "DROP TABLE v;");
    for verb in ["status", "up", "plan", "rehearse", "baseline"] {
        let answer = world.run(&["dev", verb]).refused("migration-edited");
        assert!(answer.text().contains("001_m.up.sql was edited"), "{}", answer.text());
    }
    assert_eq!(world.query("SELECT count(*) FROM migrations"), json!([[2]]));
}

#[test]
fn a_missing_newest_file_is_the_legal_state_ahead() {
    let world = two();
    world.run(&["dev", "up"]).good();
    world.remove("002_m.up.sql");
    world.remove("002_m.down.sql");
    let answer = world.run(&["dev", "up"]).good();
    assert_eq!(answer.report["changed"], false);
    assert_eq!(answer.details()["ahead"], json!([{"version": 2, "name": "m"}]));
    assert_eq!(world.run(&["dev", "status"]).good().details()["standing"], "ahead");
    std::fs::remove_dir_all(world.path().join("migrations")).unwrap();
    world.run(&["dev", "up"]).good();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;").migration(
        3,
        "CREATE TABLE v(a);",
        "DROP TABLE v;",
    );
    let answer = world.run(&["dev", "up"]).refused("migration-missing");
    assert!(answer.text().contains("migrate dev down --to 1"), "{}", answer.text());
}

#[test]
fn an_older_file_that_turns_up_later_is_refused_never_skipped() {
    let world = two();
    world.remove("001_m.up.sql");
    world.remove("001_m.down.sql");
    world.run(&["dev", "up"]).good();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    for verb in ["up", "status"] {
        let answer = world.run(&["dev", verb]).refused("migration-out-of-order");
        assert!(answer.text().contains("001_m.up.sql is older"), "{}", answer.text());
    }
}

#[test]
fn files_that_fit_no_rule_stop_everything_before_it_begins() {
    let cases: [(&str, &[u8], &str); 5] = [
        ("01_again.up.sql", b"SELECT 1;", "same number"),
        ("003_x.up.sql", b"  \n", "it is empty"),
        ("003_x.up.sql", b"SELECT '\xe9';", "not UTF-8"),
        ("003_x.sql", b"SELECT 1;", "rename or move it"),
        ("003_x.down.sql", b"SELECT 1;", "no up file"),
    ];
    for (file, bytes, expected) in cases {
        let world = two();
        world.write(file, bytes);
        for verb in ["up", "status", "plan", "rehearse"] {
            let answer = world.run(&["dev", verb]).refused("migration-files");
            assert!(answer.text().contains(expected), "{expected}: {}", answer.text());
        }
        assert!(!world.database().exists());
    }
}

#[test]
fn no_migrations_need_no_database_and_migrations_do() {
    let world = World::new();
    for verb in ["up", "down", "status", "plan", "rehearse", "baseline"] {
        world.run(&["bare", verb]).good();
    }
    world.run(&["dev", "up"]).good();
    assert!(!world.database().exists());
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    for verb in ["up", "status", "plan", "rehearse", "baseline"] {
        let answer = world.run(&["bare", verb]);
        assert_eq!((answer.code, answer.problem()), (Some(2), "configuration"), "{verb}");
        assert!(answer.text().contains("[environments.bare]"));
    }
}
