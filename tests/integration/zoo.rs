//! Faulty releases, each with one fault: `deploy` stops every one of them, and the check that finds
//! it is named. Their sound twin passes as often as it is asked. A new fault is one line, in `shown`
//! or in `asked`.

mod asked;
mod shown;

use std::collections::BTreeSet;
use std::fs;

use Fault::{Behaviour, Database, Text};
use common::report::{Report, Status};
use rusqlite::Connection;
use tests::world::World;

/// What is wrong with a release.
enum Fault {
    /// Text of a file, and what stands there instead.
    Text(&'static str, &'static str, &'static str),
    /// Behaviour of the app.
    Behaviour(&'static str),
    /// What somebody did to the database meanwhile, and how it is undone.
    Database(&'static str, &'static str),
}

/// Name, fault, and the ids of the checks that find it, as they begin.
type Entry = (&'static str, Fault, &'static [&'static str]);

/// The migration that both twins have.
const TABLES: &str = "CREATE TABLE comment (document); CREATE TABLE reply (document REFERENCES acked);";

/// v1 without checks, then v2, the sound twin.
fn site(sound: fn(&World)) -> World {
    let world = World::new();
    world.write("migrations/002_create_comment.up.sql", TABLES);
    world.write("migrations/002_create_comment.down.sql", "DROP TABLE reply; DROP TABLE comment;");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    alter(&world, "INSERT INTO acked VALUES (1), (2), (3); INSERT INTO comment VALUES (1)");
    sound(&world);
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    world
}

fn alter(world: &World, sql: &str) {
    Connection::open(world.database("dev")).unwrap().execute_batch(sql).unwrap();
}

/// Name and problem type of each check that failed.
fn found(report: &Report) -> BTreeSet<String> {
    let failed = report.steps.iter().filter(|step| step.tool == "verify" && step.status == Status::Failed);
    failed.map(|step| format!("{} {}", step.name, step.problem.as_ref().unwrap().kind)).collect()
}

/// Whether each id stands for one that was found, and none was found besides.
fn fits(found: &BTreeSet<String>, expected: &[&str]) -> bool {
    let matches = |found: &String, expected: &str| {
        let (name, kind) = expected.rsplit_once(' ').unwrap();
        found.starts_with(name) && found.ends_with(&format!(" {kind}"))
    };
    found.len() == expected.len()
        && expected.iter().all(|expected| found.iter().any(|found| matches(found, expected)))
}

/// Puts a fault into the sound twin; a file that it lacks is made.
fn apply(world: &World, fault: &Fault) {
    match fault {
        Text(file, from, to) => {
            let text = fs::read_to_string(world.checkout().join(file)).unwrap_or_default();
            assert!(text.contains(from), "{file} has no {from}");
            world.write(file, &text.replace(from, &to.replace("SWOLLEN", &"x".repeat(5000))));
        }
        Behaviour(behaviour) => world.write("behaviour.json", behaviour),
        Database(sql, _) => alter(world, sql),
    }
}

fn try_all(faults: &[Entry], sound: fn(&World)) {
    let world = site(sound);
    let mut wrong = Vec::new();
    for (name, fault, expected) in faults {
        apply(&world, fault);
        world.release(name);
        let ran = world.run("deploy", &["dev"]);
        let report = ran.report();
        let found = found(&report);
        if ran.status != 1 || !fits(&found, expected) {
            wrong.push(format!("{name}: status {}, {found:?}", ran.status));
        }
        assert_eq!(world.get("dev", "/").1, "v2", "{name}: no visitor saw it");
        match fault {
            Database(_, undo) => alter(&world, undo),
            Text(file, ..) => fs::remove_file(world.checkout().join(file)).unwrap(),
            Behaviour(_) => {}
        }
        sound(&world);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `SOAK=1` asks as often as it takes to believe it.
fn ask_often(sound: fn(&World), judge: impl Fn(&Report)) {
    let runs = if std::env::var_os("SOAK").is_some() { 500 } else { 5 };
    let world = site(sound);
    world.release("v3");
    world.run("deploy", &["dev"]).ok();
    for number in 0..runs {
        let ran = world.run("verify", &["dev"]);
        let report = ran.ok().report();
        assert!(found(&report).is_empty(), "run {number}: {}", ran.stdout);
        judge(&report);
    }
}

#[test]
fn every_fault_that_is_shown_is_stopped_and_told_apart() {
    try_all(&shown::FAULTS, shown::sound);
}

#[test]
fn every_fault_of_an_answer_is_stopped_and_told_apart() {
    try_all(&asked::FAULTS, asked::sound);
}

#[test]
fn the_sound_twin_in_a_browser_passes_as_often_as_it_is_asked() {
    ask_often(shown::sound, |report| {
        for look in report.details["verify"]["browser"].as_array().unwrap() {
            assert_eq!(look["difference_percent"], 0.0, "{look}");
        }
    });
}

#[test]
fn the_sound_twin_passes_as_often_as_it_is_asked() {
    ask_often(asked::sound, |_| {});
}
