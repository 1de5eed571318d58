//! `down`.

use serde_json::{Value, json};

use crate::world::World;

fn three() -> World {
    let world = World::new();
    for version in 1..=3 {
        world.migration(version, &format!("CREATE TABLE t{version}(a);"), &format!("DROP TABLE t{version};"));
    }
    world
}

fn tables(world: &World) -> Value {
    world.query("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'migrations' ORDER BY name")
}

#[test]
fn down_undoes_newest_first_by_steps_and_by_version() {
    let world = three();
    world.run(&["dev", "up"]).good();
    let answer = world.run(&["dev", "down"]).good();
    assert_eq!(answer.details()["undone"][0]["version"], 3);
    assert_eq!(tables(&world), json!([["t1"], ["t2"]]));
    world.run(&["dev", "up"]).good();
    let answer = world.run(&["dev", "down", "--to", "1"]).good();
    let undone: Vec<_> =
        answer.details()["undone"].as_array().unwrap().iter().map(|u| u["version"].clone()).collect();
    assert_eq!(
        (undone, &answer.report["steps"][0]["name"]),
        (vec![json!(3), json!(2)], &json!("migrate.undo"))
    );
    world.run(&["dev", "down", "--steps", "9"]).good();
    assert_eq!(tables(&world), json!([]));
    let nothing = world.run(&["dev", "down"]).good();
    assert_eq!((&nothing.report["changed"], &nothing.details()["undone"]), (&json!(false), &json!([])));
    assert_eq!(world.run(&["dev", "down", "--to", "7"]).code, Some(2));
    assert_eq!(world.run(&["dev", "down", "--to", "0", "--steps", "1"]).code, Some(2));
}

#[test]
fn the_stored_text_undoes_what_the_files_no_longer_know() {
    let world = three();
    world.run(&["dev", "up"]).good();
    world.write("002_m.down.sql", "DROP TABLE nowhere;");
    for file in ["003_m.up.sql", "003_m.down.sql", "001_m.down.sql"] {
        world.remove(file);
    }
    world.write("notes.txt", "this directory cannot be read now");
    world.run(&["dev", "down", "--to", "0"]).good();
    assert_eq!(tables(&world), json!([]));
}

#[test]
fn without_a_down_text_nothing_is_changed() {
    let world = three();
    world.remove("002_m.down.sql");
    world.run(&["dev", "up"]).good();
    let answer = world.run(&["dev", "down", "--to", "0"]).refused("migration-irreversible");
    assert!(answer.text().contains("2_m has no down text"));
    assert_eq!(tables(&world).as_array().unwrap().len(), 3);
    world.write("002_m.down.sql", "DROP TABLE t2;");
    world.run(&["dev", "down", "--to", "0"]).good();
    assert_eq!(tables(&world), json!([]));
}

#[test]
fn a_failing_down_changes_nothing() {
    let world = three();
    world.write("001_m.down.sql", "DROP TABLE t1; DROP TABLE nowhere;");
    world.run(&["dev", "up"]).good();
    let before = world.dump();
    world.run(&["dev", "down", "--to", "0"]).refused("migration-failed");
    assert_eq!(world.dump(), before);
    assert_eq!(world.query("SELECT count(*) FROM migrations"), json!([[3]]));
}

#[test]
fn a_deployment_undoes_exactly_its_own_and_only_once() {
    let world = three();
    world.remove("003_m.up.sql");
    world.remove("003_m.down.sql");
    let answer = world.run(&["dev", "up", "--deployment", "first"]).good();
    assert_eq!(answer.report["deployment"], "first");
    world.migration(3, "CREATE TABLE t3(a);", "DROP TABLE t3;");
    world.run(&["dev", "--deployment", "second"]).good();
    world.run(&["dev", "down", "--deployment", "first"]).refused("migration-covered");
    world.run(&["dev", "down", "--deployment", "second"]).good();
    assert_eq!(tables(&world), json!([["t1"], ["t2"]]));
    let again = world.run(&["dev", "down", "--deployment", "second"]).good();
    assert_eq!(again.report["changed"], false);
    world.run(&["dev", "down", "--deployment", "first"]).good();
    assert_eq!(tables(&world), json!([]));
}

#[test]
fn without_a_database_there_is_nothing_to_undo() {
    let world = three();
    world.run(&["dev", "down", "--to", "0"]).good();
    assert!(!world.database().exists());
}
