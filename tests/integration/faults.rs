//! Every fault point: the deployment or rollback is ended there as by kill -9, under load; then
//! the next command, whichever it is, makes the environment whole again.

use std::collections::BTreeSet;
use std::fs;

use tests::load::{Load, Plan};
use tests::ran::Ran;
use tests::world::World;

/// Commands that take the lock; each must recover within its own run.
const NEXT: [(&str, &[&str]); 4] = [
    ("deploy", &["dev", "--wait", "60"]),
    ("backup", &["dev", "create", "--wait", "60"]),
    ("migrate", &["dev", "up", "--wait", "60"]),
    ("rollback", &["dev", "--wait", "60"]),
];

#[test]
fn a_deploy_ended_at_every_fault_point_is_recovered_by_the_next_command() {
    let world = World::new();
    migrating_release(&world, 1);
    world.run("deploy", &["dev"]).ok();
    migrating_release(&world, 2);
    let points = points_of(&world, "deploy", &["dev"]);
    assert!(points.len() > 40, "only {points:?}");
    let load =
        Load::start(world.listen("dev"), Plan { fresh: 1, keep_alive: 1, write: 1, ..Plan::default() });
    for (number, point) in points.iter().enumerate() {
        migrating_release(&world, 3 + number);
        let cut = faulty(&world, point, "deploy", &["dev"]);
        assert!(!cut.stdout.contains("\"success\":true") || cut.status == 0, "{point}: {}", cut.stdout);
        assert_eq!(world.get("dev", "/healthz").0, 200, "{point}");
        let (tool, args) = NEXT[number % NEXT.len()];
        world.run(tool, args).ok();
        assert_whole(&world, point);
    }
    let revision = world.release("end");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.status("dev")["revision"], revision.as_str());
    let tally = load.stop();
    tally.assert_nothing_lost();
    assert_eq!(world.get("dev", "/rows").1, tally.acknowledged.len().to_string(), "acknowledged writes");
    tests::tell(&format!("{} fault points of deploy, requests {:?}, lost 0", points.len(), tally.ok));
}

#[test]
fn a_rollback_ended_at_every_fault_point_is_recovered_by_the_next_command() {
    let world = World::new();
    let revisions: Vec<String> = (1..=3)
        .map(|number| {
            let revision = world.release(&format!("v{number}"));
            world.run("deploy", &["dev"]).ok();
            revision
        })
        .collect();
    let cold = ["dev", "--to-commit", &revisions[0], "--wait", "60"];
    let points = points_of(&world, "rollback", &cold);
    let load = Load::start(world.listen("dev"), Plan { fresh: 1, keep_alive: 1, ..Plan::default() });
    for point in &points {
        world.run("rollback", &["dev", "--to-commit", &revisions[2], "--wait", "60"]).ok();
        world.run("rollback", &["dev", "--to-commit", &revisions[1], "--wait", "60"]).ok();
        faulty(&world, point, "rollback", &cold);
        assert_eq!(world.get("dev", "/healthz").0, 200, "{point}");
        world.run("rollback", &cold).ok();
        assert_whole(&world, point);
        assert_eq!(world.get("dev", "/").1, "v1", "{point}");
    }
    load.stop().assert_nothing_lost();
    tests::tell(&format!("{} fault points of rollback", points.len()));
}

/// A release with one more additive migration.
fn migrating_release(world: &World, number: usize) {
    let (up, down) = (
        format!("migrations/{:03}_m.up.sql", number + 1),
        format!("migrations/{:03}_m.down.sql", number + 1),
    );
    world.write(&up, &format!("CREATE TABLE m{number}(a);\n"));
    world.write(&down, &format!("DROP TABLE m{number};\n"));
    world.release(&format!("v{number}"));
}

/// The points that one good run passes, each once.
fn points_of(world: &World, tool: &str, args: &[&str]) -> Vec<String> {
    let trace = world.path().join("trace");
    let ran = Ran::of(world.command(tool, args).env("DEPLOY_FAULT_TRACE", &trace).output().unwrap());
    ran.ok();
    let mut seen = BTreeSet::new();
    let text = fs::read_to_string(trace).unwrap();
    text.lines().filter(|point| seen.insert(point.to_owned())).map(str::to_owned).collect()
}

fn faulty(world: &World, point: &str, tool: &str, args: &[&str]) -> Ran {
    Ran::of(world.command(tool, args).env("DEPLOY_FAULT", point).output().unwrap())
}

/// Nothing is left to do, and ledger, gateway and processes agree.
fn assert_whole(world: &World, point: &str) {
    let status = world.status("dev");
    assert_eq!(status["unfinished"], serde_json::json!([]), "{point}");
    assert_eq!(status["identity"], "new", "{point}");
    assert_eq!(status["gateway"]["active"]["deployment"], status["deployment"], "{point}");
    assert!(status["lock"].is_null(), "{point}");
}
