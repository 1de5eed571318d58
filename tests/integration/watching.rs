//! The watch after cutover: what it sees sends the release back, and nothing is verified before.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use common::report::{Outcome, Report};
use rustix::process::{Pid, Signal, kill_process};
use tests::load::{Load, Plan};
use tests::ran::Ran;
use tests::world::World;

/// v1 serves, verified; v2 is to be watched for `time`.
fn world(time: &str) -> World {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.configure("[environments.dev]\n", &format!("[environments.dev]\nwatch = \"{time}\"\n"));
    world.release("v2");
    world
}

/// A deployment that has cut over and watches.
fn watching(world: &World) -> Child {
    let mut command = world.command("deploy", &["dev"]);
    let mut deploy = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(deploy.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.any(|line| line.contains("watched for")), "it never watched");
    assert_eq!(world.get("dev", "/").1, "v2");
    deploy
}

fn went_back(world: &World, deploy: Child, why: &str) -> Report {
    let report = Ran::of(deploy.wait_with_output().unwrap()).refused("watch-failed");
    assert_eq!(report.outcome, Outcome::RolledBack);
    let title = &report.problem.as_ref().unwrap().title;
    assert!(title.contains(why), "{title}");
    assert_untouched(world);
    report
}

/// v1 serves as before, and the release that was watched is no target and no evidence.
fn assert_untouched(world: &World) {
    assert_eq!(world.get("dev", "/").1, "v1");
    assert_eq!(world.status("dev")["state"], "verified");
    assert_eq!(world.status("dev")["identity"], "new");
    world.run("rollback", &["dev"]).refused("no-target");
    world.run("deploy", &["prod", "--promote"]).refused("no-evidence");
}

#[test]
fn a_quiet_watch_ends_verified_and_not_before() {
    let world = world("2s");
    let deploy = watching(&world);
    assert_eq!(world.status("dev")["state"], "serving");
    let report = Ran::of(deploy.wait_with_output().unwrap()).ok().report();
    let seen = &report.details["deploy"]["watch"];
    assert!(seen["watched_ms"].as_u64().unwrap() >= 2000, "{seen}");
    assert_eq!((&seen["restarts"], &seen["error_lines"]), (&0.into(), &0.into()));
    assert_eq!(world.status("dev")["state"], "verified");
    world.release("v3");
    let plan = world.run("deploy", &["dev", "--plan"]).ok().report();
    assert_eq!(plan.details["deploy"]["plan"]["watch_ms"], 2000);
    world.run("rollback", &["dev"]).ok();
}

#[test]
fn a_crash_sends_it_back() {
    let world = world("60s");
    let deploy = watching(&world);
    kill_process(Pid::from_raw(world.serving_pid("dev")).unwrap(), Signal::KILL).unwrap();
    went_back(&world, deploy, "crashed");
}

#[test]
fn errors_of_the_app_send_it_back_and_every_write_stays() {
    let world = world("60s");
    let plan = Plan { write: 1, keep_alive: 1, ..Plan::default() };
    let load = Load::start(world.listen("dev"), plan);
    let deploy = watching(&world);
    while world.get("dev", "/").1 == "v2" {
        world.get("dev", "/boom");
    }
    let report = went_back(&world, deploy, "answered");
    let seen = &report.details["deploy"]["watch"];
    assert!(seen["server_errors"].as_u64().unwrap() >= 5, "{seen}");
    let tally = load.stop();
    tally.assert_nothing_lost();
    assert_eq!(world.get("dev", "/rows").1, tally.acknowledged.len().to_string());
}

#[test]
fn errors_in_the_log_send_it_back() {
    let world = world("60s");
    let deploy = watching(&world);
    for _ in 0..5 {
        world.get("dev", "/complain");
    }
    let report = went_back(&world, deploy, "errors into its log");
    assert_eq!(report.problem.unwrap().detail.as_deref(), Some("ERROR a complaint"));
}

#[test]
fn one_error_of_a_new_kind_sends_it_back_where_that_is_asked_for() {
    let world = world("60s");
    world.get("dev", "/complain");
    world.configure("watch = \"60s\"", "watch = \"3s\"\nwatch_errors = true");
    let deploy = watching(&world);
    world.get("dev", "/complain");
    Ran::of(deploy.wait_with_output().unwrap()).ok();
    let app = std::fs::read_to_string(world.checkout().join("app.py")).unwrap();
    world.write("app.py", &app.replace("ERROR a complaint", "ERROR another complaint"));
    world.configure("watch = \"3s\"", "watch = \"60s\"");
    let deploy = watching(&world);
    world.get("dev", "/complain");
    let report = Ran::of(deploy.wait_with_output().unwrap()).refused("watch-failed");
    let title = report.problem.unwrap().title;
    assert!(title.ends_with("no other release had: ERROR another complaint"), "{title}");
    assert_eq!(report.outcome, Outcome::RolledBack);
}

#[test]
fn a_run_that_is_killed_while_it_watches_is_undone_by_the_next_command() {
    let world = world("60s");
    let load = Load::start(world.listen("dev"), Plan { write: 1, ..Plan::mixed() });
    let mut deploy = watching(&world);
    deploy.kill().unwrap();
    deploy.wait().unwrap();
    let status = world.status("dev");
    assert_eq!((&status["state"], status["unfinished"].as_array().unwrap().len()), (&"serving".into(), 1));
    world.run("backup", &["dev", "create"]).ok();
    assert_eq!(world.status("dev")["last"][0]["outcome"], "rolled_back");
    assert_untouched(&world);
    let tally = load.stop();
    tally.assert_nothing_lost();
    assert_eq!(world.get("dev", "/rows").1, tally.acknowledged.len().to_string());
}

#[test]
fn ctrl_c_while_it_watches_goes_back() {
    let world = world("60s");
    let deploy = watching(&world);
    kill_process(Pid::from_raw(i32::try_from(deploy.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let ran = Ran::of(deploy.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.report().outcome), (130, Outcome::RolledBack));
    assert_untouched(&world);
}
