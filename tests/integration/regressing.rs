//! A release beside the one before: what it lost is said in words, stops it before any visitor sees
//! it, and is accepted when somebody approves it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::report::{Report, Status};
use serde_json::Value;
use tests::world::World;

const CHECKS: &str = "[routes]\n\"/pages/all\" = \"200\"\n[regressions]\n";
const ALL: &str = "<title>All documents</title><a href=/pages/new>new</a><a href=/pages/old>old</a>";

/// v1 serves in dev, verified with its structure.
fn site(checks: &str) -> World {
    let world = World::new();
    world.write("verify.toml", checks);
    world.write("pages/all", ALL);
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world
}

fn failed(report: &Report) -> Vec<(String, String, String)> {
    let steps = report.steps.iter().filter(|step| step.status == Status::Failed && step.tool == "verify");
    steps
        .map(|step| {
            let problem = step.problem.clone().unwrap();
            (step.name.clone(), problem.title, problem.hint.unwrap_or_default())
        })
        .collect()
}

fn baseline(report: &Report) -> Value {
    report.details["verify"]["regressions"]["baseline"].clone()
}

#[test]
fn what_a_release_lost_stops_it_until_somebody_approves_it() {
    let world = site(CHECKS);
    let first = world.run("deploy", &["dev"]).ok().report().serving.unwrap();
    world.write("pages/all", "<title>All drafts</title><a href=/pages/old>old</a>");
    world.release("v2");
    let report = world.run("deploy", &["dev"]).refused("link-lost");
    assert_eq!(world.get("dev", "/").1, "v1", "no visitor saw it");
    assert_eq!(baseline(&report)["revision"], first.as_str());
    let found = failed(&report);
    let told: Vec<&str> = found.iter().map(|(_, title, _)| title.as_str()).collect();
    assert_eq!(
        told,
        [
            "GET /pages/all lost the link /pages/new",
            "GET /pages/all changed its title from 'All documents' to 'All drafts'"
        ]
    );
    let mut ids: Vec<&str> = Vec::new();
    for (id, _, hint) in &found {
        assert_eq!(hint, &format!("verify dev --approve {id}   # if it is meant"));
        ids.push(id);
    }
    world.run("verify", &["dev", "--approve", ids[0]]).ok();
    let approvals = world.state().join("approvals.json");
    assert_eq!(fs::metadata(&approvals).unwrap().permissions().mode() & 0o777, 0o600);
    let approval: Value = serde_json::from_str(&fs::read_to_string(&approvals).unwrap()).unwrap();
    assert!(!approval[0]["who"].as_str().unwrap().is_empty() && approval[0]["sentence"] == told[0]);
    let report = world.run("deploy", &["dev"]).refused("title-changed");
    assert_eq!(failed(&report).len(), 1);
    world.run("verify", &["dev", "--approve", ids[1]]).ok();
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(world.get("dev", "/").1, "v2");
    let changes = &report.details["verify"]["regressions"]["changes"];
    assert!(changes[0]["accepted"].as_str().unwrap().contains(" at "), "{changes}");
    // What it answers now is what the next one is compared with, and approvals were for v2 alone.
    world.write("pages/all", "<title>All drafts</title>");
    world.release("v3");
    assert_eq!(failed(&world.run("deploy", &["dev"]).refused("link-lost")).len(), 1);
}

#[test]
fn an_approval_of_the_tree_holds_where_it_is_promoted_to() {
    let world = site(CHECKS);
    world.run("deploy", &["prod", "--promote"]).ok();
    world.write("pages/all", &ALL.replace("All", "Our"));
    world.release("v2");
    let found = failed(&world.run("deploy", &["dev"]).refused("title-changed"));
    world.run("verify", &["dev", "--approve", &found[0].0]).ok();
    world.run("deploy", &["dev"]).ok();
    world.run("deploy", &["prod", "--promote"]).ok();
    assert_eq!(world.get("prod", "/").1, "v2");
}

#[test]
fn an_unknown_change_is_not_approved() {
    let world = site(CHECKS);
    let report = world
        .run("verify", &["dev", "--approve", "regressions.link-lost-00000000"])
        .refused("unknown-change");
    assert!(!report.changed && !world.state().join("approvals.json").exists());
    world.run("verify", &["--approve", "x"]).ended_with(2, "usage");
}

#[test]
fn data_that_is_gone_is_no_fault_of_the_release() {
    let world = site(CHECKS);
    world.write("pages/all", "<title>{rows} documents</title>");
    world.write("verify.toml", "[routes]\n\"/pages/all\" = \"200\"\n[regressions]\nallow = [\"lost the link\", \"title from 'All\"]\n");
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    tests::http::request(world.listen("dev"), "POST", "/write?n=1").unwrap();
    world.release("v3");
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(report.details["verify"]["regressions"]["changes"], serde_json::json!([]));
    world.write("pages/all", "<title>still {rows} documents</title>");
    world.release("v4");
    let found = failed(&world.run("deploy", &["dev"]).refused("title-changed"));
    assert_eq!(found[0].1, "GET /pages/all changed its title from '1 documents' to 'still 1 documents'");
}

#[test]
fn without_the_table_changes_are_told_and_not_judged() {
    let world = site("[routes]\n\"/pages/all\" = \"200\"\n");
    world.write("pages/all", "<title>All documents</title>");
    world.release("v2");
    let report = world.run("deploy", &["dev"]).ok().report();
    let changes = report.details["verify"]["regressions"]["changes"].as_array().unwrap().clone();
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[0]["phrase"], "lost the link /pages/new");
}

#[test]
fn what_is_kept_is_bounded_and_nobody_else_reads_it() {
    let world = site(CHECKS);
    for number in 2..9 {
        world.release(&format!("v{number}"));
        world.run("deploy", &["dev"]).ok();
    }
    let kept = world.state().join("dev/verifications");
    let names: Vec<_> = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    for name in names {
        assert_eq!(fs::metadata(&name).unwrap().permissions().mode() & 0o777, 0o700);
        let file = name.join("structure.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// An app that shows a secret in its title: it is told and kept without it.
#[test]
fn no_secret_is_kept_with_the_structure() {
    let world = World::new();
    world.write_secrets("secret.env", "TOKEN=sentinel-77aa\n");
    world.configure("ready_timeout", "env_file = \"secret.env\"\nready_timeout");
    world.write("verify.toml", CHECKS);
    world.write("pages/all", "<title>All</title><a href=/pages/sentinel-77aa>x</a>");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    world.write("pages/all", "<title>with sentinel-77aa</title>");
    world.release("v3");
    let ran = world.run("deploy", &["dev"]);
    let found = failed(&ran.refused("link-lost"));
    assert_eq!(found[0].1, "GET /pages/all lost the link /pages/$TOKEN");
    world.run("verify", &["dev", "--approve", &found[0].0]).ok();
    world.run("verify", &["dev", "--html", "report.html"]).ok();
    for entry in walkdir::WalkDir::new(world.state().join("dev/verifications")).into_iter().flatten() {
        let bytes = if entry.file_type().is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
        assert!(!String::from_utf8_lossy(&bytes).contains("sentinel"), "{}", entry.path().display());
    }
    for file in [world.state().join("approvals.json"), world.checkout().join("report.html")] {
        assert!(!fs::read_to_string(&file).unwrap().contains("sentinel"), "{}", file.display());
    }
    assert!(!ran.stdout.contains("sentinel") && !ran.stderr.contains("sentinel"));
}

/// The same change of two pages that only the crawl comes to, of which somebody has seen one.
#[test]
fn an_approval_covers_the_pages_that_it_was_given_for() {
    let world = World::new();
    world.write("verify.toml", &format!("{CHECKS}[links]\n"));
    let linked = "<title>Linked</title><a href=/pages/all>all</a>";
    world.write("pages/all", "<title>All</title><a href=/pages/one>1</a><a href=/pages/two>2</a>");
    world.write("pages/one", linked);
    world.write("pages/two", linked);
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.write("pages/one", "<title>Linked</title>");
    world.write("pages/two", "<title>Linked</title>");
    world.release("v2");
    let found = failed(&world.run("deploy", &["dev"]).refused("link-lost"));
    assert_eq!(found[0].1, "GET /pages/one, GET /pages/two lost the link /pages/all");
    world.run("verify", &["dev", "--approve", &found[0].0]).ok();
    let file = world.state().join("approvals.json");
    let mut approvals: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(approvals[0]["pages"], serde_json::json!(["GET /pages/one", "GET /pages/two"]));
    approvals[0]["pages"] = serde_json::json!(["GET /pages/one"]);
    fs::write(&file, approvals.to_string()).unwrap();
    let report = world.run("deploy", &["dev"]).refused("link-lost");
    let left = failed(&report);
    assert_eq!((&left[0].0, left[0].1.as_str()), (&found[0].0, "GET /pages/two lost the link /pages/all"));
    let changes = &report.details["verify"]["regressions"]["changes"];
    assert!(changes[0]["accepted"].is_string() && changes[1]["accepted"].is_null(), "{changes}");
    world.run("verify", &["dev", "--approve", &left[0].0]).ok();
    let report = world.run("deploy", &["dev"]).ok().report();
    let compared = &report.details["verify"]["regressions"]["compared"];
    assert!(compared.as_u64() >= Some(3), "{compared}");
}

/// The page changes, and is so slow that nobody can ask for it again.
#[test]
fn what_there_was_no_time_to_compare_is_unverified() {
    let world = World::new();
    world.configure("ready_timeout", "deadlines = { verify = \"6s\" }\nready_timeout");
    world.write("verify.toml", CHECKS);
    world.write("pages/all", ALL);
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.write("behaviour.json", r#"{"delay_ms": {"/pages/all": 4000}}"#);
    world.release("v2");
    world.run("deploy", &["dev", "--no-verify"]).ok();
    let report = world.run("verify", &["dev"]).refused("unverified");
    let step = report.steps.iter().find(|step| step.name == "regressions.limit").unwrap();
    let problem = step.problem.as_ref().unwrap();
    assert_eq!((step.status, problem.kind.as_str()), (Status::Failed, "unverified"));
    assert!(
        problem.title.starts_with("1 not compared") && problem.title.ends_with("GET /pages/all"),
        "{problem}"
    );
    assert!(report.steps.iter().all(|step| step.name != "regressions"), "nothing was compared");
    let told = &report.details["verify"]["regressions"]["not_compared"];
    assert_eq!(told, &serde_json::json!({ "limit": 1, "untold": 0 }));
}

/// Somebody edited the approvals: nothing of it is lost, and nothing more is approved.
#[test]
fn approvals_that_cannot_be_read_are_not_overwritten() {
    let world = site(CHECKS);
    world.write("pages/all", "<title>All documents</title><a href=/pages/old>old</a>");
    world.release("v2");
    let found = failed(&world.run("deploy", &["dev"]).refused("link-lost"));
    let approvals = world.state().join("approvals.json");
    fs::write(&approvals, "[{").unwrap();
    world.run("verify", &["dev", "--approve", &found[0].0]).refused("state-unreadable");
    assert_eq!(fs::read_to_string(&approvals).unwrap(), "[{");
    world.run("deploy", &["dev"]).refused("link-lost");
}
