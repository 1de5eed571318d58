//! The release that answers, and the database it works on.

use std::fs;

use crate::world::{RELEASE, Server, World};

const IDENTITY: &[&str] = &["dev", "--slot", "blue", "--only", "identity,routes"];

#[test]
fn the_expected_release_is_new() {
    let world = World::new("", "").serving(&[]);
    let run = world.verify(IDENTITY);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    assert_eq!(run.report["details"]["verify"]["verdict"], "new");
    assert_eq!(run.step("identity")["target"], world.address().to_string());
}

#[test]
fn another_release_is_old_and_stops_the_routes() {
    let world = World::new("", "");
    let other = world.place.release("20260101T000000Z-0000000");
    fs::create_dir(&other).unwrap();
    let server = Server::start(&other, "20260101T000000Z-0000000", &[]);
    world.record(server.address);
    let run = world.verify(IDENTITY);
    assert_eq!(run.outcome(), ("failed", 1));
    assert_eq!(run.ending("identity"), "identity-old");
    assert_eq!(run.report["details"]["verify"]["verdict"], "old");
    assert!(
        run.step("identity")["problem"]["detail"].as_str().unwrap().contains("runs release 20260101T000000Z")
    );
    assert_eq!(run.step("routes")["problem"]["title"], "identity failed");
}

#[test]
fn the_expected_database_or_no_other() {
    let database = "database = \"sqlite:instance/app.db\"";
    let world = World::new("", database);
    let instance = world.place.shared().join("instance");
    fs::create_dir(&instance).unwrap();
    let expected = instance.join("app.db");
    let world = world.serving(&[expected.to_str().unwrap()]);
    assert_eq!(world.verify(IDENTITY).ending("identity"), "passed");

    let world = World::new("", database).serving(&["app.db"]);
    let run = world.verify(IDENTITY);
    assert_eq!(run.ending("identity"), "identity-database");
    assert!(run.step("identity")["problem"]["detail"].as_str().unwrap().contains(RELEASE));

    let world = World::new("", database).serving(&["app.db", "close"]);
    assert_eq!(world.verify(IDENTITY).ending("identity"), "identity-database");
}

#[test]
fn a_database_that_came_with_the_release_is_no_other() {
    let world = World::new("", "database = \"sqlite:instance/app.db\"");
    let made = rusqlite::Connection::open(world.release().join("fixture.db")).unwrap();
    made.execute_batch("CREATE TABLE t(a)").unwrap();
    drop(made);
    let world = world.serving(&[]);
    assert_eq!(world.verify(IDENTITY).ending("identity"), "passed");
}

#[test]
fn nobody_there_is_unverified_never_failed() {
    let world = World::new("", "");
    let address = {
        let server = Server::start(&world.release(), RELEASE, &[]);
        server.address
    };
    world.record(address);
    let run = world.verify(&["dev", "--slot", "blue", "--only", "identity"]);
    assert_eq!(run.outcome(), ("unverified", 1));
    assert_eq!(run.report["details"]["verify"]["verdict"], "unknown");
}
