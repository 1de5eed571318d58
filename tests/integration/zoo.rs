//! Faulty releases, each with one fault: `deploy` stops every one of them, and the check that finds
//! it is named. Their sound twin passes as often as it is asked. A new fault is one line.

use std::collections::BTreeSet;
use std::fs;

use common::report::{Report, Status};
use rusqlite::Connection;
use tests::world::World;

const CHECKS: &str = r#"
[defaults]
absent = ["Traceback"]
[routes]
"/pages/all" = { css = "ul#documents li" }
"/pages/new" = "200"
"/moved" = { status = 302 }
[database]
queries = { "no orphans" = "select count(*) = 0 from acked where n < 0" }
references = { "comment.document" = "acked.n" }
never_shrink = ["acked"]
[browser]
pages = ["/pages/all", "/pages/new"]
visual = "1%"
[regressions]
"#;

const ALL: &str = r"<!doctype html><title>Documents</title><h1>Documents</h1>
<ul id=documents><li>one<li>two</ul><a href=/pages/new>new</a>
<script>Promise.resolve(1).then(() => document.body.dataset.ok = 1)</script>";

const NEW: &str = r"<!doctype html><title>New</title>
<form method=post action=/write><input name=title><textarea name=body></textarea></form>";

const MOVED: &str = r#"{"redirect": {"/moved": "/pages/all"}}"#;

/// What is wrong with a release.
enum Fault {
    /// Text of a file, and what stands there instead.
    Text(&'static str, &'static str, &'static str),
    /// Behaviour of the app.
    Behaviour(&'static str),
    /// What somebody did to the database meanwhile, and how it is undone.
    Database(&'static str, &'static str),
}

use Fault::{Behaviour, Database, Text};

/// Name, fault, and the ids of the checks that find it, as they begin.
const ZOO: [(&str, Fault, &[&str]); 20] = [
    (
        "a script throws",
        Text("pages/all", "Promise.resolve(1)", "undefinedFunction(); Promise.resolve(1)"),
        &["browser.GET /pages/all script-error"],
    ),
    (
        "a script throws later",
        Text("pages/all", "<script>", "<script>setTimeout(() => { null.x }, 10);"),
        &["browser.GET /pages/all script-error"],
    ),
    (
        "a promise is rejected",
        Text("pages/all", "Promise.resolve(1)", "Promise.reject(Error('x'))"),
        &["browser.GET /pages/all promise-rejected"],
    ),
    (
        "the console has an error",
        Text("pages/all", "<script>", "<script>console.error('x');"),
        &["browser.GET /pages/all console-error"],
    ),
    (
        "a script is not there",
        Text("pages/new", "<title>", "<script src=/pages/none.js></script><title>"),
        &["browser.GET /pages/new asset-failed"],
    ),
    (
        "a style sheet is not there",
        Text("pages/new", "<title>", "<link rel=stylesheet href=/pages/none.css><title>"),
        &["browser.GET /pages/new asset-failed"],
    ),
    (
        "a script leads elsewhere",
        Text("pages/new", "<title>", "<script>location.href = '/pages/all'</script><title>"),
        &["browser.GET /pages/new redirect-unexpected"],
    ),
    (
        "the style hides everything",
        Text("pages/all", "<title>", "<style>body { background: navy }</style><title>"),
        &["browser.GET /pages/all looks-different"],
    ),
    (
        "the title is another",
        Text("pages/new", "<title>New", "<title>Untitled"),
        &["regressions.title-changed title-changed"],
    ),
    ("a link is gone", Text("pages/all", "href=/pages/new", "href=#"), &["regressions.link-lost link-lost"]),
    (
        "a form is gone",
        Text("pages/new", "action=/write", "action=/wriet"),
        &["regressions.form-lost form-lost"],
    ),
    ("a field is gone", Text("pages/new", "name=title", "id=title"), &["regressions.field-lost field-lost"]),
    (
        "a page is another type",
        Behaviour(r#"{"redirect": {"/moved": "/pages/all"}, "type": {"/pages/new": "text/x-plain"}}"#),
        &["regressions.type-changed type-changed"],
    ),
    (
        "a page swells",
        Text("pages/new", "</form>", "</form><!--SWOLLEN-->"),
        &["regressions.size-changed size-changed"],
    ),
    (
        "a page is slow",
        Behaviour(r#"{"redirect": {"/moved": "/pages/all"}, "delay_ms": {"/pages/new": 400}}"#),
        &["regressions.slower slower"],
    ),
    (
        "a redirect leads elsewhere",
        Behaviour(r#"{"redirect": {"/moved": "/pages/new"}}"#),
        &["regressions.redirect-changed redirect-changed"],
    ),
    (
        "a page shows a traceback",
        Text("pages/new", "<title>", "<!-- Traceback --><title>"),
        &["content.GET /pages/new text-present"],
    ),
    (
        "rows vanish",
        Database("DELETE FROM acked WHERE n = 3", "INSERT INTO acked VALUES (3)"),
        &["database.rows acked rows-shrunk"],
    ),
    (
        "rows lack those they belong to",
        Database("INSERT INTO comment VALUES (99)", "DELETE FROM comment WHERE document = 99"),
        &["database.reference comment.document rows-orphaned"],
    ),
    (
        "the schema is another",
        Text("schema.sql", "document)", "document, writer)"),
        &["database.schema schema-drift"],
    ),
];

/// The sound twin: everything that a fault will change, in order.
fn sound(world: &World) {
    world.write("verify.toml", CHECKS);
    world.write("pages/all", ALL);
    world.write("pages/new", NEW);
    world.write("behaviour.json", MOVED);
    world.write(
        "schema.sql",
        "CREATE TABLE acked (n INTEGER PRIMARY KEY);\nCREATE TABLE comment (document);\n",
    );
}

fn site() -> World {
    let world = World::new();
    world.write("migrations/002_create_comment.up.sql", "CREATE TABLE comment (document);");
    world.write("migrations/002_create_comment.down.sql", "DROP TABLE comment;");
    world.write("behaviour.json", MOVED);
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

fn apply(world: &World, fault: &Fault) {
    match fault {
        Text(file, from, to) => {
            let text = fs::read_to_string(world.checkout().join(file)).unwrap();
            assert!(text.contains(from), "{file} has no {from}");
            world.write(file, &text.replace(from, &to.replace("SWOLLEN", &"x".repeat(5000))));
        }
        Behaviour(behaviour) => world.write("behaviour.json", behaviour),
        Database(sql, _) => alter(world, sql),
    }
}

#[test]
fn every_fault_is_stopped_and_told_apart() {
    let world = site();
    for (name, fault, expected) in &ZOO {
        apply(&world, fault);
        world.release(name);
        let ran = world.run("deploy", &["dev"]);
        let report = ran.report();
        assert_eq!(ran.status, 1, "{name}: {}", ran.stdout);
        let found = found(&report);
        assert!(fits(&found, expected), "{name}: {found:?}\n{}", ran.stdout);
        assert_eq!(world.get("dev", "/").1, "v2", "{name}: no visitor saw it");
        if let Database(_, undo) = fault {
            alter(&world, undo);
        }
        sound(&world);
    }
}

/// `SOAK=1` asks as often as it takes to believe it.
#[test]
fn the_sound_twin_passes_as_often_as_it_is_asked() {
    let runs = if std::env::var_os("SOAK").is_some() { 200 } else { 5 };
    let world = site();
    world.release("v3");
    world.run("deploy", &["dev"]).ok();
    for number in 0..runs {
        let ran = world.run("verify", &["dev"]);
        let report = ran.ok().report();
        assert!(found(&report).is_empty(), "run {number}: {}", ran.stdout);
        let looks = report.details["verify"]["browser"].as_array().unwrap().clone();
        for look in looks {
            assert_eq!(look["difference_percent"], 0.0, "run {number}: {look}");
        }
    }
}
