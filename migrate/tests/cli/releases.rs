//! Where the migrations come from, and whose database is known without any record in it.

use std::fs;

use serde_json::json;

use crate::world::World;

fn release(world: &World, id: &str, versions: &[u32]) {
    let dir = world.state().join("dev/releases").join(id).join("migrations");
    fs::create_dir_all(&dir).unwrap();
    for version in versions {
        fs::write(dir.join(format!("{version:03}_m.up.sql")), format!("CREATE TABLE r{version}(a);"))
            .unwrap();
        fs::write(dir.join(format!("{version:03}_m.down.sql")), format!("DROP TABLE r{version};")).unwrap();
    }
}

fn serve(world: &World, id: &str) {
    let ledger = rusqlite::Connection::open(world.state().join("ledger.db")).unwrap();
    ledger
        .execute_batch(&format!(
            "INSERT INTO deployments(id, environment, kind, state, revision, release, who, started_ms)
             VALUES ('{id}', 'dev', 'deploy', 'serving', '0123456789abcdef', '{id}', 'x', 1);
             INSERT OR REPLACE INTO environments(name, serving) VALUES ('dev', '{id}');"
        ))
        .unwrap();
}

fn end(world: &World, id: &str) {
    let ledger = rusqlite::Connection::open(world.state().join("ledger.db")).unwrap();
    ledger.execute("UPDATE deployments SET ended_ms = 2 WHERE id = ?1", [id]).unwrap();
}

#[test]
fn a_cut_off_deployment_is_recovered_before_anything_else_changes_the_schema() {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    world.run(&["dev", "down"]).good();
    release(&world, "a", &[1]);
    serve(&world, "a");
    world.run(&["dev", "status"]).good();
    world.run(&["dev", "up"]).good();
    let ledger = rusqlite::Connection::open(world.state().join("ledger.db")).unwrap();
    let state: String =
        ledger.query_row("SELECT state FROM deployments WHERE id = 'a'", [], |row| row.get(0)).unwrap();
    assert_eq!(state, "failed");
}

#[test]
fn a_named_release_comes_before_the_serving_one_and_that_before_the_work_tree() {
    let world = World::new();
    world.migration(1, "CREATE TABLE r1(a);", "DROP TABLE r1;");
    let answer = world.run(&["dev", "up"]).good();
    assert!(answer.details()["migrations"].as_str().unwrap().ends_with("/migrations"));
    release(&world, "a", &[1, 2]);
    release(&world, "b", &[1, 2, 3]);
    serve(&world, "a");
    end(&world, "a");
    let answer = world.run(&["dev", "up"]).good();
    assert_eq!(
        (&answer.details()["applied"][0]["version"], &answer.report["serving"]),
        (&json!(2), &json!("0123456789abcdef"))
    );
    assert!(answer.report["deployment"].as_str().unwrap().contains("-migrate-"));
    let answer = world.run(&["dev", "rehearse", "--release", "b"]).good();
    assert_eq!(answer.details()["pending"], json!([{"version": 3, "name": "m"}]));
    world.run(&["dev", "--release", "b"]).good();
    assert_eq!(world.run(&["dev", "status"]).good().details()["standing"], "ahead");
    for bad in ["c", "../..", ""] {
        world.run(&["dev", "up", "--release", bad]).refused("release-unknown");
    }
}

/// Nothing was ever migrated there: no table says whose it is.
fn prods_file(world: &World) -> Vec<u8> {
    world.script("CREATE TABLE precious(a); INSERT INTO precious VALUES (1);");
    world.copy_to("prod");
    fs::remove_file(world.database()).unwrap();
    world.migration(1, "DROP TABLE precious;", "CREATE TABLE precious(a);");
    fs::read(world.database_of("prod")).unwrap()
}

#[track_caller]
fn assert_untouched(world: &World, before: &[u8]) {
    for verb in ["up", "down", "baseline", "rehearse", "status", "plan"] {
        let answer = world.run(&["dev", verb]).refused("wrong-database");
        assert!(answer.text().contains("belongs to prod, not to dev"), "{}", answer.text());
    }
    world.run(&["dev", "baseline", "--take-over"]).refused("wrong-database");
    assert_eq!(fs::read(world.database_of("prod")).unwrap(), before);
}

#[test]
fn the_file_of_another_environment_is_known_by_its_inode_under_any_path() {
    let world = World::new();
    let before = prods_file(&world);
    std::os::unix::fs::symlink(world.database_of("prod"), world.database()).unwrap();
    assert_untouched(&world, &before);
    fs::remove_file(world.database()).unwrap();
    fs::hard_link(world.database_of("prod"), world.database()).unwrap();
    assert_untouched(&world, &before);
    fs::remove_file(world.database()).unwrap();
    world.run(&["dev", "status"]).good();
}

#[test]
fn the_ledger_knows_from_which_file_an_environment_serves_whatever_the_configuration_says() {
    let world = World::new();
    let before = prods_file(&world);
    world.run(&["dev", "down"]).good();
    release(&world, "a", &[1]);
    serve(&world, "a");
    end(&world, "a");
    fs::create_dir_all(world.state().join("prod/releases")).unwrap();
    let ledger = rusqlite::Connection::open(world.state().join("ledger.db")).unwrap();
    let path = world.database_of("prod").display().to_string();
    ledger
        .execute_batch(&format!(
            "UPDATE deployments SET environment = 'prod', database = '{path}'; UPDATE environments SET name = 'prod';"
        ))
        .unwrap();
    let config = world.path().join("deploy.toml");
    let text = fs::read_to_string(&config).unwrap();
    let swapped = text.replace("sqlite:instance/app.db", "sqlite:instance/other.db").replacen(
        "sqlite:instance/other.db",
        &format!("sqlite:{path}"),
        1,
    );
    fs::write(&config, swapped).unwrap();
    assert_untouched(&world, &before);
}
