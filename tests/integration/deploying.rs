//! The main road: deploy, what it leaves behind, what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::report::{Outcome, Status};
use serde_json::Value;
use tests::world::{World, steps};

#[test]
fn a_first_deployment_serves_and_is_verified() {
    let world = World::new();
    let revision = world.release("v1");
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(report.outcome, Outcome::Succeeded);
    assert!(report.changed);
    assert_eq!(report.serving.as_deref(), Some(revision.as_str()));
    assert_eq!(world.get("dev", "/"), (200, "v1".into()));
    let status = world.status("dev");
    assert_eq!((&status["state"], &status["identity"]), (&Value::from("verified"), &Value::from("new")));
    assert_eq!(status["git"], "same as dev");
}

#[test]
fn the_same_revision_again_is_nothing_to_do() {
    let world = World::new();
    world.run("deploy", &["dev"]).ok();
    let before = world.footprint("dev");
    let report = world.run("deploy", &["dev"]).ok().report();
    assert!(!report.changed);
    assert_eq!(world.footprint("dev"), before);
    assert!(world.run("deploy", &["dev", "--again"]).ok().report().changed);
}

#[test]
fn an_instance_gets_its_environment_and_its_secrets_and_nobody_else_sees_them() {
    let world = World::new();
    let sentinel = "sentinel-8d1f-value";
    world.write_secrets("../dev.env", &format!("API_TOKEN={sentinel}\n"));
    world.configure("[environments.dev]\n", "[environments.dev]\nenv_file = \"../dev.env\"\n");
    world.run("deploy", &["dev"]).ok();
    for name in
        ["API_TOKEN", "BIND", "PORT", "ENVIRONMENT", "RELEASE", "REVISION", "DATABASE_PATH", "DATABASE_URL"]
    {
        assert_eq!(world.get("dev", &format!("/env/{name}")).1, "set", "{name}");
    }
    assert_eq!(world.get("dev", "/env/DEPLOY_LOCK_FD").1, "unset");
    world.faulty(&format!("{{\"exit_at_start\": 3, \"note\": \"{sentinel}\"}}"));
    let failed = world.run("deploy", &["dev"]);
    assert_eq!(failed.status, 1);
    world.run("verify", &["dev"]).ok();
    world.run("backup", &["dev"]).ok();
    let printed =
        format!("{}{}{}", failed.stdout, failed.stderr, world.run("status", &["dev", "--json"]).stdout);
    assert!(!printed.contains(sentinel));
    for entry in
        walkdir::WalkDir::new(world.path()).into_iter().flatten().filter(|entry| entry.file_type().is_file())
    {
        let path = entry.path();
        let known = path.ends_with("dev.env") || path.ends_with("behaviour.json");
        let inside_git =
            path.components().any(|part| part.as_os_str() == ".git" || part.as_os_str() == "origin.git");
        if !known && !inside_git {
            let text = fs::read(path).unwrap_or_default();
            assert!(
                !String::from_utf8_lossy(&text).contains(sentinel),
                "{} holds the secret",
                path.display()
            );
        }
    }
}

#[test]
fn state_is_private_and_ignores_itself_in_git() {
    let world = World::new();
    world.configure("state = \"../state\"\n", "");
    world.run("deploy", &["dev", "--plan"]).ok();
    let world = World::new();
    world.run("deploy", &["dev"]).ok();
    let mode = |path: &str| fs::metadata(world.state().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("dev"), 0o700);
    assert_eq!(mode("ledger.db"), 0o600);
    assert_eq!(mode("deployments.log"), 0o600);
    assert_eq!(fs::read_to_string(world.state().join(".gitignore")).unwrap(), "*\n");
}

#[test]
fn a_plan_changes_nothing_and_tells_what_would_happen() {
    let world = World::new();
    world.run("deploy", &["dev"]).ok();
    world.release("v2");
    let before = world.footprint("dev");
    let report = world.run("deploy", &["dev", "--plan"]).ok().report();
    assert!(!report.changed && report.deployment.is_none());
    assert_eq!(report.details["deploy"]["plan"]["subject"], "v2");
    assert!(report.details["deploy"]["plan"]["guarantee"].as_str().unwrap().contains("no request is lost"));
    assert_eq!(world.footprint("dev"), before);
}

#[test]
fn each_run_has_a_log_and_each_end_of_a_deployment_one_line() {
    let world = World::new();
    world.configure("[app]\n", "[app]\nbuild = \"echo built by hand\"\n");
    let report = world.run("deploy", &["dev"]).ok().report();
    let log = fs::read_to_string(report.log_file.unwrap()).unwrap();
    assert!(log.contains("built by hand"), "{log}");
    world.faulty("{\"exit_at_start\": 1}");
    world.run("deploy", &["dev"]).refused("instance-exited");
    let events = fs::read_to_string(world.state().join("deployments.log")).unwrap();
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events: Vec<Value> = events.filter(|event| event["event"] == "ended").collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["id"], report.deployment.unwrap());
    assert_eq!(
        (&events[0]["outcome"], &events[1]["outcome"]),
        (&Value::from("succeeded"), &Value::from("failed"))
    );
    assert!(events[1]["steps"].as_array().unwrap().iter().any(|step| step["status"] == "failed"));
}

#[test]
fn the_tests_of_the_app_are_a_gate_without_its_database_or_secrets() {
    let world = World::new();
    world.write_secrets("../dev.env", "API_TOKEN=not-for-tests\n");
    let test = "test -z \\\"$API_TOKEN\\\" && test ! -e \\\"$DATABASE_PATH\\\" && test ! -e fail";
    world.configure("[app]\n", &format!("[app]\ntest = \"{test}\"\n"));
    world.configure("[environments.dev]\n", "[environments.dev]\nenv_file = \"../dev.env\"\n");
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(steps(&report, "release.tests")[0].status, Status::Passed);
    world.write("fail", "");
    world.publish("break the tests");
    let before = world.footprint("dev");
    let report = world.run("deploy", &["dev"]).refused("tests-failed");
    assert!(!report.changed);
    assert_eq!(world.footprint("dev"), before);
}

#[test]
fn a_release_is_sealed_and_shared_paths_survive() {
    let world = World::new();
    world.write("instance/note.txt", "first");
    world.publish("content");
    let first = world.run("deploy", &["dev"]).ok().report().deployment.unwrap();
    let shared = world.state().join("dev/shared/instance");
    assert_eq!(fs::read_to_string(shared.join("note.txt")).unwrap(), "first");
    fs::write(shared.join("note.txt"), "changed by a user").unwrap();
    let release = world.state().join("dev/releases").join(first);
    assert_eq!(fs::metadata(release.join("app.py")).unwrap().permissions().mode() & 0o222, 0);
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(fs::read_to_string(shared.join("note.txt")).unwrap(), "changed by a user");
}

#[test]
fn old_releases_are_pruned_and_rollback_targets_are_not() {
    let world = World::new();
    for number in 1..=8 {
        world.release(&format!("v{number}"));
        world.run("deploy", &["dev"]).ok();
    }
    world.faulty("{\"exit_at_start\": 1}");
    for _ in 0..6 {
        world.commit("again");
        world.git(&["push", "--quiet"]);
        world.run("deploy", &["dev"]).refused("instance-exited");
    }
    assert_eq!(world.footprint("dev").releases.len(), 5);
    world.run("rollback", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v7");
}

#[test]
fn promotion_takes_only_what_was_verified_and_tags_it() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["prod", "--promote"]).refused("no-evidence");
    world.run("deploy", &["dev"]).ok();
    let report = world.run("deploy", &["prod", "--promote"]).ok().report();
    assert_eq!(world.get("prod", "/").1, "v1");
    let tag = format!("deploy/prod/{}", report.deployment.unwrap());
    assert_eq!(world.git(&["rev-parse", &format!("{tag}^{{commit}}")]), report.serving.clone().unwrap());
    world.git(&["fetch", "--quiet"]);
    assert_eq!(world.git(&["rev-parse", "origin/main"]), report.serving.unwrap());
    assert_eq!(world.git(&["rev-parse", "main"]), world.git(&["rev-parse", "origin/main"]));
    world.release("v2");
    let before = world.footprint("prod");
    world.run("deploy", &["prod", "--promote"]).refused("no-evidence");
    assert_eq!(world.footprint("prod"), before);
}

#[test]
fn a_promotion_takes_the_checked_out_branch_along_but_never_what_is_being_edited() {
    let world = World::new();
    let promote = |version: &str| {
        let revision = world.release(version);
        world.run("deploy", &["dev"]).ok();
        world.git(&["checkout", "--quiet", "main"]);
        world.run("deploy", &["prod", "--promote"]).ok();
        revision
    };
    for version in ["v1", "v2"] {
        let revision = promote(version);
        assert_eq!(world.git(&["rev-parse", "HEAD"]), revision);
        assert_eq!(world.git(&["status", "--porcelain"]), "");
        world.git(&["checkout", "--quiet", "dev"]);
    }
    let before = world.git(&["rev-parse", "main"]);
    let hook = world.checkout().join(".git/hooks/pre-push");
    fs::write(
        &hook,
        "#!/bin/sh\ngit rev-parse --abbrev-ref HEAD | grep -q main && echo mine >> app.py\nexit 0\n",
    )
    .unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    promote("v3");
    assert_eq!(world.git(&["rev-parse", "HEAD"]), before);
    assert_eq!(world.git(&["status", "--porcelain"]), "M app.py");
}

#[test]
fn a_promotion_without_a_remote_moves_the_branch_unless_another_work_tree_has_it() {
    let world = World::new();
    world.git(&["remote", "remove", "origin"]);
    let promote = |version: &str| {
        world.write("VERSION", version);
        let revision = world.commit(version);
        world.run("deploy", &["dev"]).ok();
        world.run("deploy", &["prod", "--promote"]).ok();
        revision
    };
    let first = promote("1");
    assert_eq!(world.git(&["rev-parse", "main"]), first);
    let other = world.path().join("other");
    world.git(&["worktree", "add", "--quiet", other.to_str().unwrap(), "main"]);
    promote("2");
    assert_eq!(world.git(&["rev-parse", "main"]), first);
    assert_eq!(world.git(&["-C", other.to_str().unwrap(), "status", "--porcelain"]), "");
}

#[test]
fn what_the_app_requires_is_asked_before_anything_starts() {
    let world = World::new();
    world.configure("[app]\n", "[app]\nrequires = [\"command:test -e ../ready\"]\n");
    let report = world.run("deploy", &["dev"]).refused("requirement-missing");
    assert!(!report.changed);
    fs::write(world.path().join("ready"), "").unwrap();
    world.run("deploy", &["dev"]).ok();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.configure("command:test -e ../ready", &format!("tcp:{closed}"));
    world.run("deploy", &["dev"]).refused("requirement-missing");
}

#[test]
fn without_keep_warm_the_previous_instance_ends_and_a_rollback_starts_it_again() {
    let world = World::new();
    world.configure("[environments.dev]\n", "[environments.dev]\nkeep_warm = false\n");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let first = world.serving_pid("dev");
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    assert!(!std::path::Path::new(&format!("/proc/{first}")).exists());
    assert!(world.status("dev")["warm"].is_null());
    let report = world.run("rollback", &["dev"]).ok().report();
    assert_eq!(report.details["rollback"]["warm"], false);
    assert_eq!(world.get("dev", "/").1, "v1");
}
