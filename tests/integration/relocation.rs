//! The configuration changes under what serves: another database path, an environment that is not
//! named any more. Nothing begins with an empty file, and nothing serves unseen.

use std::fs;

use tests::http;
use tests::world::World;

const SETTING: &str = "database = \"sqlite:instance/app.db\"";

/// Serves two releases' worth of one row.
fn serving() -> World {
    let world = World::new();
    for version in ["v1", "v2"] {
        world.release(version);
        world.run("deploy", &["dev"]).ok();
    }
    assert_eq!(http::request(world.listen("dev"), "POST", "/write?n=1").unwrap().0, 200);
    world
}

/// Changes the first environment's database, which is dev's.
fn configure(world: &World, setting: &str) {
    let text = fs::read_to_string(world.checkout().join("deploy.toml")).unwrap();
    world.write("deploy.toml", &text.replacen(SETTING, setting, 1));
    world.publish("another database");
}

#[test]
fn a_changed_database_path_is_refused_before_anything_is_made() {
    let world = serving();
    configure(&world, "database = \"sqlite:instance/other.db\"");
    let before = world.footprint("dev");
    world.run("deploy", &["dev", "--plan"]).refused("database-changed");
    world.run("deploy", &["dev"]).refused("database-changed");
    world.run("migrate", &["dev", "up"]).refused("database-changed");
    world.run("backup", &["dev", "create"]).refused("database-changed");
    world.run("rollback", &["dev", "--to-commit", "HEAD~2"]).refused("database-changed");
    assert_eq!(world.footprint("dev"), before);
    assert!(!world.database("dev").with_file_name("other.db").exists());
    assert_eq!(world.get("dev", "/rows").1, "1");
}

#[test]
fn a_database_that_a_person_has_put_there_is_taken() {
    let world = serving();
    let other = world.database("dev").with_file_name("other.db");
    configure(&world, "database = \"sqlite:instance/other.db\"");
    fs::write(&other, "").unwrap();
    world.run("deploy", &["dev"]).refused("database-changed");
    fs::write(&other, "no database at all\n".repeat(50)).unwrap();
    world.run("deploy", &["dev"]).refused("database-changed");
    fs::remove_file(&other).unwrap();
    let db = rusqlite::Connection::open(world.database("dev")).unwrap();
    db.execute("VACUUM INTO ?1", [other.display().to_string()]).unwrap();
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/rows").1, "1");
    http::request(world.listen("dev"), "POST", "/write?n=2").unwrap();
    // The instance that is still warm has the old file open: an earlier release starts anew.
    let report = world.run("rollback", &["dev"]).ok().report();
    assert_eq!(report.details["rollback"]["warm"], false);
    assert_eq!((world.get("dev", "/").1.as_str(), world.get("dev", "/rows").1.as_str()), ("v2", "2"));
    assert_eq!(world.status("dev")["identity"], "new");
}

#[test]
fn the_database_of_another_environment_is_never_taken() {
    let world = serving();
    world.run("deploy", &["prod", "--promote"]).ok();
    configure(&world, &format!("database = \"sqlite:{}\"", world.database("prod").display()));
    let report = world.run("deploy", &["dev"]).refused("database-changed");
    assert!(report.problem.unwrap().detail.unwrap().contains("the database of 'prod'"));
}

#[test]
fn a_database_that_is_named_no_more_is_missed() {
    let world = serving();
    configure(&world, "");
    world.run("deploy", &["dev"]).refused("database-changed");
    assert_eq!(world.get("dev", "/rows").1, "1");
}

#[test]
fn an_environment_that_is_named_no_more_is_named_by_status() {
    let world = serving();
    let text = fs::read_to_string(world.checkout().join("deploy.toml")).unwrap();
    world.write(
        "deploy.toml",
        &text
            .replace("[environments.dev]", "[environments.devel]")
            .replace("\"dev\"\nlisten", "\"devel\"\nlisten"),
    );
    let ran = world.run("status", &["all"]);
    let report = ran.refused("unhealthy");
    assert!(report.problem.unwrap().title.contains("'dev' still serves at"), "{}", ran.stdout);
    assert_eq!(report.details["status"]["unconfigured"][0]["environment"], "dev");
    assert_eq!(world.get("dev", "/").1, "v2");
}
