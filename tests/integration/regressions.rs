//! Faults that were found once: each test is the shortest way to the wrong behaviour of then.

use std::fs;
use std::os::unix::fs::symlink;

use common::report::Outcome;
use rustix::process::{Pid, Signal, kill_process};
use tests::http;
use tests::ran::Ran;
use tests::world::World;

fn serving() -> World {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world
}

fn with_fault(world: &World, fault: &str, args: &[&str]) -> Ran {
    Ran::of(world.command("deploy", args).env("DEPLOY_FAULT", fault).output().unwrap())
}

/// The switch had happened, the ledger did not know yet, and recovery removed the database.
#[test]
fn writes_between_the_switch_and_a_crash_of_a_first_deployment_are_kept() {
    let world = World::new();
    world.release("v1");
    with_fault(&world, "deploy:cutover.after-switch#1", &["dev"]);
    for number in 0..5 {
        let (status, _) = http::request(world.listen("dev"), "POST", &format!("/write?n={number}")).unwrap();
        assert_eq!(status, 200);
    }
    world.run("rollback", &["dev"]).refused("nothing-serves");
    let shared = world.database("dev").parent().unwrap().to_owned();
    let kept = fs::read_dir(shared).unwrap().flatten().map(|entry| entry.path());
    let kept = kept.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("app.db.failed-"));
    let kept = kept.filter(|path| {
        !path.to_string_lossy().ends_with("-wal") && !path.to_string_lossy().ends_with("-shm")
    });
    let rows: Vec<i64> = kept
        .map(|path| {
            let db = rusqlite::Connection::open(path).unwrap();
            db.query_row("SELECT count(*) FROM acked", [], |row| row.get(0)).unwrap()
        })
        .collect();
    assert_eq!(rows, [5]);
}

/// A failed way back stopped the release that still took traffic.
#[test]
fn when_the_old_release_cannot_come_back_the_new_one_goes_on_serving() {
    let world = serving();
    world.configure("ready_timeout = \"20s\"", "ready_timeout = \"1s\"");
    let status = world.status("dev");
    let release = world.state().join("dev/releases").join(status["deployment"].as_str().unwrap());
    world.release("v2");
    world.sh(&format!("chmod -R u+w '{}'", release.display())).ok_shell();
    fs::write(release.join("behaviour.json"), "{\"exit_at_start\": 9}").unwrap();
    let old = world.serving_pid("dev");
    // The old instance dies while the new one is proved in public, where the fault strikes.
    let killer = std::thread::spawn({
        let state = world.state();
        move || {
            while !fs::read_to_string(state.join("dev/slots/green/instance.json"))
                .is_ok_and(|text| text.contains("green"))
            {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            kill_process(Pid::from_raw(old).unwrap(), Signal::KILL).unwrap();
        }
    });
    let ran = with_fault(&world, "verify:ledger.before-commit#1", &["dev"]);
    killer.join().unwrap();
    assert_eq!(ran.report().outcome, Outcome::Broken, "{}", ran.stdout);
    assert_eq!(world.get("dev", "/"), (200, "v2".into()));
    world.release("v3");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v3");
    assert_eq!(world.status("dev")["unfinished"], serde_json::json!([]));
}

#[test]
fn a_deployment_that_undid_itself_after_cutover_says_rolled_back() {
    let world = serving();
    let before = world.footprint("dev");
    world.release("v2");
    let ran = with_fault(&world, "verify:ledger.before-commit#1", &["dev"]);
    let report = ran.report();
    assert_eq!(
        (ran.status, report.outcome, report.changed),
        (1, Outcome::RolledBack, true),
        "{}",
        ran.stdout
    );
    let after = world.footprint("dev");
    assert_eq!((after.serving, after.answer), (before.serving, before.answer));
    assert_eq!(world.status("dev")["state"], "verified");
}

/// It cut over to itself and then retired itself.
#[test]
fn a_rollback_to_what_serves_is_nothing_to_do() {
    let world = serving();
    let revision = world.git(&["rev-parse", "HEAD"]);
    let report = world.run("rollback", &["dev", "--to-commit", &revision]).ok().report();
    assert!(!report.changed);
    world.sh(&format!("rollback dev --to-commit {revision} | verify | rollback")).ok();
    assert_eq!(world.get("dev", "/").1, "v1");
}

#[test]
fn an_event_log_that_cannot_be_written_undoes_no_good_release() {
    let world = serving();
    fs::remove_file(world.state().join("deployments.log")).unwrap();
    fs::create_dir(world.state().join("deployments.log")).unwrap();
    world.release("v2");
    let ran = world.run("deploy", &["dev"]);
    assert_eq!((ran.status, ran.report().outcome), (0, Outcome::Succeeded));
    assert!(ran.stderr.contains("warning: "), "{}", ran.stderr);
    assert_eq!(world.get("dev", "/").1, "v2");
}

#[test]
fn a_shared_path_behind_a_link_destroys_nothing() {
    let world = serving();
    let precious = world.path().join("precious");
    fs::create_dir_all(precious.join("up")).unwrap();
    fs::write(precious.join("up/file"), "users' own").unwrap();
    symlink(&precious, world.checkout().join("data")).unwrap();
    world.configure("shared = [\"instance\"]", "shared = [\"instance\", \"data/up\"]");
    world.run("deploy", &["dev"]).refused("shared-failed");
    assert_eq!(fs::read_to_string(precious.join("up/file")).unwrap(), "users' own");
    assert_eq!(world.get("dev", "/").1, "v1");
}

#[test]
fn an_env_file_cannot_point_an_instance_at_another_database() {
    let world = World::new();
    let elsewhere = world.path().join("elsewhere.db");
    world.write_secrets("../dev.env", &format!("DATABASE_PATH={}\nRELEASE=forged\n", elsewhere.display()));
    world.configure("[environments.dev]\n", "[environments.dev]\nenv_file = \"../dev.env\"\n");
    world.run("deploy", &["dev"]).ok();
    http::request(world.listen("dev"), "POST", "/write?n=1").unwrap();
    assert!(!elsewhere.exists());
    assert_eq!(world.status("dev")["identity"], "new");
}

/// git sets these for its hooks.
#[test]
fn inherited_git_variables_lead_nowhere_else() {
    let world = serving();
    let other = World::new();
    let plan = world
        .command("deploy", &["dev", "--plan"])
        .env("GIT_DIR", other.checkout().join(".git"))
        .env("GIT_WORK_TREE", other.checkout())
        .output()
        .unwrap();
    let report = Ran::of(plan).ok().report();
    assert_eq!(report.release.unwrap().revision, world.git(&["rev-parse", "HEAD"]));
}

/// A failing report that is older than a passing verification undoes nothing.
#[test]
fn a_stale_report_does_not_undo_what_was_verified_since() {
    let world = serving();
    world.write("verify.toml", "[routes]\n\"/\" = \"200 v\"\n");
    world.release("v2");
    world.run("deploy", &["dev", "--no-verify"]).ok();
    let stale = world.path().join("stale.json");
    let id = world.status("dev")["deployment"].as_str().unwrap().to_owned();
    fs::write(&stale, format!("{{\"version\":1,\"tool\":\"verify\",\"environment\":\"dev\",\"deployment\":\"{id}\",\"started_at\":\"2026-01-01T00:00:00Z\"\n")).unwrap();
    world.run("verify", &["dev"]).ok();
    assert_eq!(world.sh(&format!("rollback < '{}'", stale.display())).status, 1);
    assert_eq!(world.get("dev", "/").1, "v2");
}
