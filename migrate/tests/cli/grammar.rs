//! The command line, chains, and exit codes.

use serde_json::{Value, json};

use crate::world::{Answer, World};

fn one() -> World {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    world
}

#[track_caller]
fn usage(answer: &Answer) {
    assert_eq!(answer.code, Some(2), "{:#}", answer.report);
    assert_eq!((&answer.report["success"], &answer.report["changed"]), (&json!(false), &json!(false)));
    assert!(answer.report["problem"]["hint"].is_string(), "{:#}", answer.report);
}

fn report(success: bool) -> String {
    let outcome = if success { "succeeded" } else { "failed" };
    let head = json!({"version": 1, "tool": "backup", "environment": "dev", "deployment": "b-1", "started_at": "2026-01-01T00:00:00Z"});
    let mut rest = json!({"success": success, "outcome": outcome, "changed": false, "details": {"backup": {"id": "x"}}, "steps": [], "duration_ms": 1});
    if !success {
        rest["problem"] = json!({"type": "disk-full", "title": "no space"});
    }
    let (head, rest) = (head.to_string(), rest.to_string());
    format!("{}\n,{}\n", head.trim_end_matches('}'), rest.trim_start_matches('{'))
}

#[test]
fn mistakes_end_with_exit_2_and_a_hint() {
    let world = one();
    for args in [
        &["nowhere", "up"][..],
        &["dev", "sideways"],
        &["dev", "--steps", "1"],
        &["dev", "--deployment", "d", "down"],
        &["dev", "up", "--steps", "1"],
        &["dev", "down", "--to", "-1"],
        &["dev", "new", "x"],
        &["status"],
        &["plan"],
        &["rehearse"],
        &["baseline"],
        &["new"],
    ] {
        usage(&world.run(args));
    }
    assert!(world.run(&["dve"]).text().contains("dev"));
    assert!(!world.state().exists());
}

#[test]
fn without_an_environment_and_without_a_report_nothing_is_done() {
    let world = one();
    for args in [&[][..], &["up"], &["down"]] {
        usage(&world.run(args));
        usage(&world.pipe(args, "hello"));
        usage(&world.pipe(args, "{\"a\": 1}"));
    }
    assert!(!world.state().exists());
}

#[test]
fn a_good_report_is_continued() {
    for args in [&[][..], &["up"]] {
        let world = one();
        let unnamed = report(true).replace("\"deployment\":\"b-1\",", "");
        let answer = world.pipe(args, &unnamed).good();
        assert_eq!(answer.report["tool"], "migrate");
        let id = answer.report["deployment"].as_str().unwrap().to_owned();
        assert_eq!(answer.report["details"]["backup"]["id"], "x");
        assert_eq!(answer.details()["applied"][0]["version"], 1);
        assert_eq!(world.query("SELECT deployment FROM migrations"), json!([[id]]));
        let answer = world.pipe(&["down"], &report(true).replace("b-1", &id)).good();
        assert_eq!(answer.details()["undone"][0]["version"], 1);
    }
}

/// What is done in its name could never be undone.
#[test]
fn a_report_about_a_deployment_that_the_ledger_does_not_know_is_refused() {
    let world = one();
    for args in [&[][..], &["up"], &["down"]] {
        let answer = world.pipe(args, &report(true));
        assert_eq!((answer.code, answer.problem()), (Some(1), "unknown-deployment"));
    }
    assert!(!world.database().exists());
}

#[test]
fn a_failed_or_cut_off_report_passes_through() {
    let world = one();
    let answer = world.pipe(&["up"], &report(false));
    assert_eq!((answer.code, answer.problem()), (Some(1), "disk-full"));
    assert_eq!(answer.report["details"], json!({"backup": {"id": "x"}}));
    let first_line = report(true).lines().next().unwrap().to_owned();
    let answer = world.pipe(&[], &first_line);
    assert_eq!((answer.code, answer.problem()), (Some(1), "cut-off"));
    assert!(!world.state().exists());
}

#[test]
fn an_environment_means_that_stdin_is_not_read() {
    let world = one();
    let mut child = world.command(&["dev", "up"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let held_open = child.stdin.take();
    World::finish(child).good();
    drop(held_open);
}

#[test]
fn version_and_help_speak_of_the_product() {
    let world = World::new();
    let answer = world.run(&["--version", "--json"]);
    assert_eq!((answer.code, &answer.report["tool"]), (Some(0), &Value::from("migrate")));
    assert_eq!(world.run(&["--help"]).code, Some(0));
    assert_eq!(world.run(&["dev", "up", "--help"]).code, Some(0));
}

#[test]
fn the_first_line_names_the_operation_and_the_ledger_knows_it() {
    let world = one();
    let output = world.command(&["dev", "up"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let head: Value = serde_json::from_str(&format!("{}}}", text.lines().next().unwrap())).unwrap();
    let ledger = rusqlite::Connection::open(world.state().join("ledger.db")).unwrap();
    let row: (String, String, String) = ledger
        .query_row("SELECT id, kind, outcome FROM deployments", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(row, (head["deployment"].as_str().unwrap().into(), "migrate".into(), "succeeded".into()));
    world.run(&["dev", "up"]).good();
    let rows: i64 = ledger.query_row("SELECT count(*) FROM deployments", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}
