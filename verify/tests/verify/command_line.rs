//! The grammar, the chain over stdin, exit statuses and the other renderings.

use std::fs;

use common::ledger::{Ledger, State};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::{DEPLOYMENT, REVISION, World};

fn report(changes: &Value) -> String {
    let mut report = json!({
        "version": 1, "tool": "deploy", "environment": "dev", "deployment": DEPLOYMENT,
        "started_at": "2026-11-23T09:30:12Z", "success": true, "outcome": "succeeded", "changed": true,
        "serving": REVISION, "details": {"deploy": {"x": 1}}, "duration_ms": 5,
        "steps": [{"tool": "deploy", "name": "build", "status": "passed", "duration_ms": 1}],
    });
    report.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    report.to_string()
}

#[test]
fn usage_errors_exit_2() {
    let world = World::new("", "").serving(&[]);
    for args in [
        &["nowhere"][..],
        &["dev", "--slot", "red"],
        &["dev", "--only", "lniks"],
        &["dev", "--save"],
        &["dev", "extra"],
        &["dev", "--config", "none.toml"],
        &["dev", "--junit", "no/such/dir/x.xml"],
        &[],
    ] {
        let run = world.verify(args);
        assert_eq!(run.code, 2, "{args:?}: {}", run.stdout);
        assert_eq!(run.report["success"], false);
    }
    assert!(world.verify(&["deb"]).stdout.contains("dev"));
}

#[test]
fn a_mistake_in_verify_toml_exits_2_and_undoes_nothing() {
    let world = World::new("[routse]", "").serving(&[]);
    let run = world.verify(&["dev"]);
    assert_eq!(run.outcome(), ("unverified", 2));
    let run = world.verify_with(&[], &report(&json!({})));
    assert_eq!(run.outcome(), ("unverified", 2));
    assert_eq!((&run.report["changed"], &run.report["deployment"]), (&true.into(), &DEPLOYMENT.into()));
}

#[test]
fn nothing_deployed_is_unverified() {
    let world = World::new("", "");
    let run = world.verify(&["dev"]);
    assert_eq!(run.outcome(), ("unverified", 1));
    assert_eq!(run.report["problem"]["type"], "nothing-serves");
    let run = world.verify(&["dev", "--slot", "green"]);
    assert_eq!(run.report["problem"]["type"], "no-instance");
}

#[test]
fn a_bad_report_is_passed_on_untouched() {
    let world = World::new("", "").serving(&[]);
    for outcome in ["failed", "rolled_back", "broken", "unverified"] {
        let problem = json!({"type": "x", "title": "y", "retryable": false});
        let before = report(&json!({"success": false, "outcome": outcome, "problem": problem}));
        let run = world.verify_with(&[], &before);
        assert_eq!(run.outcome(), (outcome, 1));
        let before: Value = serde_json::from_str(&before).unwrap();
        for member in ["environment", "deployment", "changed", "serving", "steps", "details", "problem"] {
            assert_eq!(run.report[member], before[member], "{member}");
        }
    }
    let head = report(&json!({})).split(",\"success\"").next().unwrap().to_owned();
    let run = world.verify_with(&[], &format!("{head}\n"));
    assert_eq!(run.outcome(), ("failed", 1));
    assert_eq!(run.report["problem"]["type"], "cut-off");
}

#[test]
fn a_good_report_is_continued() {
    let world = World::new("", "").serving(&[]);
    let run = world.verify_with(&["--slot", "blue", "--only", "identity,routes"], &report(&json!({})));
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    let names: Vec<_> =
        run.report["steps"].as_array().unwrap().iter().map(|step| step["name"].clone()).collect();
    assert_eq!(names, ["build", "identity", "routes.GET /"]);
    assert_eq!(run.report["details"]["deploy"]["x"], 1);
    assert_eq!((&run.report["serving"], &run.report["tool"]), (&REVISION.into(), &"verify".into()));
    assert_eq!(run.stdout.lines().count(), 2);
}

#[test]
fn a_report_of_a_deployment_that_serves_no_more_is_unverified() {
    let world = World::new("", "").serving(&[]);
    let ledger = Ledger::open(&world.config).unwrap();
    let beginning = common::ledger::Beginning {
        id: "20261101T000000Z-aaaaaaa",
        environment: "dev",
        kind: common::ledger::Kind::Deploy,
        revision: "a",
        branch: None,
        tree: None,
        replaced: None,
        restores: None,
        log_file: None,
    };
    ledger.begin(&beginning).unwrap();
    let run = world.verify_with(&[], &report(&json!({"deployment": "20261101T000000Z-aaaaaaa"})));
    assert_eq!(run.outcome(), ("unverified", 1));
    assert_eq!(run.report["problem"]["type"], "superseded");
}

#[test]
fn a_failed_service_skips_what_needs_it_and_is_recorded() {
    let world = World::new("", "").serving(&[]);
    let run = world.verify(&["dev"]);
    assert_eq!(run.outcome(), ("failed", 1));
    assert_eq!(run.ending("service"), "instance-stopped");
    for stage in ["identity", "routes", "content"] {
        assert_eq!(run.step(stage)["problem"]["title"], "service failed");
    }
    let ledger = Ledger::open(&world.config).unwrap();
    let kept = ledger.last_verification("dev").unwrap().unwrap();
    assert_eq!((kept.passed, kept.deployment.as_str()), (false, DEPLOYMENT));
    assert_eq!(ledger.serving("dev").unwrap().unwrap().state, State::Serving);
}

#[test]
fn a_partial_run_is_no_evidence() {
    let world = World::new("", "").serving(&[]);
    assert_eq!(world.verify(&["dev", "--slot", "blue", "--only", "identity"]).code, 0);
    let ledger = Ledger::open(&world.config).unwrap();
    assert!(ledger.last_verification("dev").unwrap().is_none());
}

#[test]
fn other_renderings_leave_stdout_alone() {
    let world = World::new("[routes]\n\"/\" = \"200 sentinel-password\"", "").serving(&[]);
    let args =
        ["dev", "--slot", "blue", "--only", "routes", "--quiet", "--tap", "--github", "--junit", "junit.xml"];
    let run = world.verify(&args);
    assert_eq!(run.outcome(), ("failed", 1));
    assert!(run.stderr.contains("TAP version 13\n1..1\nnot ok 1 - routes.GET /\n"), "{}", run.stderr);
    assert!(run.stderr.contains("::error title=verify routes.GET /::GET / does not show"), "{}", run.stderr);
    let junit = fs::read_to_string(world.path("junit.xml")).unwrap();
    assert!(junit.contains("<testsuite name=\"verify dev\" tests=\"1\" failures=\"1\""), "{junit}");
    for text in [&run.stdout, &run.stderr, &junit] {
        assert!(!text.contains("sentinel-password"), "{text}");
    }
}

#[test]
fn a_signal_ends_the_run_unverified() {
    let routes: Vec<_> = (0..20).map(|n| format!("\"/fault/slow?{n}\" = \"200\"\n")).collect();
    let world = World::new(&format!("[routes]\n\"/fault/announce\" = \"200\"\n{}", routes.concat()), "");
    let mark = world.release().join("announced");
    let world = world.serving(&[]);
    let run = world.verify_until(&["dev", "--slot", "blue", "--only", "routes"], &mark, Signal::TERM);
    assert_eq!(run.outcome(), ("unverified", 143), "{}", run.stdout);
    assert_eq!(run.report["problem"]["type"], "interrupted");
}
