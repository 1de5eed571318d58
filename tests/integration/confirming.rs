//! The dead man's switch: `deploy ENV --confirm TIME` stays only if somebody confirms it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::report::Outcome;
use rustix::process::{Pid, Signal, kill_process};
use tests::fault::Act;
use tests::load::{Load, Plan};
use tests::ran::Ran;
use tests::ssh;
use tests::world::World;

const PATIENCE: Duration = Duration::from_secs(60);

/// One verified release, and a newer one to try.
fn world() -> World {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.release("v2");
    world
}

/// A deployment that has cut over and waits to be confirmed.
fn waiting(world: &World, time: &str) -> Child {
    let mut command = world.command("deploy", &["dev", "--confirm", time]);
    let mut deploy = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(deploy.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.any(|line| line.contains("deploy dev confirm")), "it never waited");
    assert_eq!(world.get("dev", "/").1, "v2");
    deploy
}

fn kill(deploy: &mut Child) {
    deploy.kill().unwrap();
    deploy.wait().unwrap();
}

fn signal(deploy: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(deploy.id()).unwrap()).unwrap(), signal).unwrap();
}

/// Waits until nothing is unfinished any more.
fn await_settled(world: &World) {
    let begun = Instant::now();
    while world.status("dev")["unfinished"] != serde_json::json!([]) {
        assert!(begun.elapsed() < PATIENCE, "{}", world.status("dev"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_confirmed_deployment_stays() {
    let world = world();
    let deploy = waiting(&world, "60s");
    assert!(world.status("dev")["confirm_by"].is_string());
    let confirmed = world.run("deploy", &["confirm"]).ok().report();
    let report = Ran::of(deploy.wait_with_output().unwrap()).ok().report();
    assert_eq!((report.outcome, &report.deployment), (Outcome::Succeeded, &confirmed.deployment));
    assert_eq!(world.status("dev")["state"], "verified");
    assert!(world.status("dev")["confirm_by"].is_null());
    world.run("deploy", &["dev", "confirm"]).refused("nothing-to-confirm");
}

#[test]
fn what_waits_to_be_confirmed_is_signed_for_nobody() {
    let world = world();
    let deploy = waiting(&world, "60s");
    let key = ssh::make_key(world.path(), "key");
    let sign = ["dev", "--sign", key.to_str().unwrap()];
    world.run("verify", &sign).refused("not-signed");
    world.run("deploy", &["dev", "confirm"]).ok();
    Ran::of(deploy.wait_with_output().unwrap()).ok();
    world.run("verify", &sign).ok();
}

#[test]
fn an_unconfirmed_deployment_goes_back_and_is_no_target() {
    let world = world();
    let load = Load::start(world.listen("dev"), Plan { write: 1, ..Plan::mixed() });
    let report = world.run("deploy", &["dev", "--confirm", "300ms"]).refused("not-confirmed");
    assert_eq!(report.outcome, Outcome::RolledBack);
    load.stop().assert_nothing_lost();
    assert_eq!(world.get("dev", "/").1, "v1");
    world.run("deploy", &["dev", "confirm"]).refused("nothing-to-confirm");
    world.run("rollback", &["dev"]).refused("no-target");
    world.run("deploy", &["dev"]).ok();
}

#[test]
fn it_goes_back_by_itself_though_its_run_was_killed() {
    let world = world();
    let load = Load::start(world.listen("dev"), Plan { write: 1, ..Plan::mixed() });
    kill(&mut waiting(&world, "2s"));
    await_settled(&world);
    load.stop().assert_nothing_lost();
    assert_eq!(world.get("dev", "/").1, "v1");
    assert_eq!(world.status("dev")["last"][0]["outcome"], "rolled_back");
    assert_eq!(world.status("dev")["identity"], "new");
}

/// What is proved and not yet asked about is unconfirmed too.
#[test]
fn it_goes_back_though_its_run_was_killed_before_anybody_was_asked() {
    let world = world();
    let act = Act::new("deploy", &["dev", "--confirm", "60s"]);
    let (_, passed) = act.run(&world, Some("deploy:confirm#1=abort"));
    let before = passed.iter().rfind(|point| point.starts_with("deploy:ledger.before-commit")).unwrap();
    world.run("rollback", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v1");
    world.release("v3");
    let (killed, _) = act.run(&world, Some(&format!("{before}=abort")));
    assert_eq!(killed.status, -1, "{}", killed.stderr);
    await_settled(&world);
    assert_eq!(world.get("dev", "/").1, "v1");
    assert_eq!(world.status("dev")["last"][0]["outcome"], "rolled_back");
    world.run("deploy", &["dev", "confirm"]).refused("nothing-to-confirm");
}

/// Nothing is left that could wait for the time: the next command does it.
#[test]
fn the_next_command_takes_it_back_when_the_guard_was_killed_too() {
    let world = world();
    let mut deploy = waiting(&world, "2s");
    let id = world.status("dev")["deployment"].as_str().unwrap().to_owned();
    for guard in processes_with(&["--guard", &id]) {
        kill_process(guard, Signal::KILL).unwrap();
    }
    kill(&mut deploy);
    let begun = Instant::now();
    while world.status("dev")["confirm_by"].is_string() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(world.get("dev", "/").1, "v2");
    world.run("deploy", &["dev", "confirm"]).refused("nothing-to-confirm");
    assert_eq!(world.get("dev", "/").1, "v1");
}

/// Processes that have these words among their arguments.
fn processes_with(words: &[&str]) -> Vec<Pid> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has_words = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let args: Vec<_> = line.split(|byte| *byte == 0).collect();
        words.iter().all(|word| args.contains(&word.as_bytes()))
    };
    let found: Vec<Pid> = pids.filter(has_words).filter_map(Pid::from_raw).collect();
    assert!(!found.is_empty(), "nothing runs with {words:?}");
    found
}

#[test]
fn a_killed_run_is_confirmed_all_the_same() {
    let world = world();
    kill(&mut waiting(&world, "60s"));
    world.run("deploy", &["dev"]).refused("unconfirmed");
    world.run("migrate", &["dev", "up"]).refused("unconfirmed");
    world.run("backup", &["dev", "create"]).ok();
    world.run("deploy", &["dev", "confirm"]).ok();
    assert_eq!(world.get("dev", "/").1, "v2");
    assert_eq!(world.status("dev")["unfinished"], serde_json::json!([]));
    world.run("rollback", &["dev"]).ok();
}

#[test]
fn a_rollback_declines_what_waits() {
    let world = world();
    kill(&mut waiting(&world, "60s"));
    world.run("rollback", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v1");
    world.run("deploy", &["dev", "confirm"]).refused("nothing-to-confirm");
}

#[test]
fn a_lost_connection_is_waited_out_and_ctrl_c_goes_back() {
    let world = world();
    let deploy = waiting(&world, "60s");
    signal(&deploy, Signal::HUP);
    assert!(world.status("dev")["confirm_by"].is_string());
    signal(&deploy, Signal::INT);
    let ran = Ran::of(deploy.wait_with_output().unwrap());
    assert_eq!(ran.report().outcome, Outcome::RolledBack);
    assert_eq!(world.get("dev", "/").1, "v1");
}

/// Nobody comes after it, and still it is undone.
#[test]
fn a_guarded_deployment_that_is_killed_at_its_cutover_is_undone_at_once() {
    let world = world();
    for point in ["deploy:cutover.before-switch#1", "deploy:cutover.after-switch#1"] {
        let mut command = world.command("deploy", &["dev", "--confirm", "60s"]);
        let ran = Ran::of(command.env("DEPLOY_FAULT", point).output().unwrap());
        assert_eq!(ran.status, -1, "{}", ran.stdout);
        await_settled(&world);
        assert_eq!(world.get("dev", "/").1, "v1");
    }
}

#[test]
fn a_time_that_makes_no_sense_is_a_usage_error() {
    let world = World::new();
    for time in ["0s", "10", "soon", "-1s", ""] {
        assert_eq!(world.run("deploy", &["dev", &format!("--confirm={time}")]).status, 2, "{time}");
    }
    world.run("deploy", &["dev", "confirm"]).refused("nothing-to-confirm");
    world.run("deploy", &["confirm"]).refused("nothing-to-confirm");
}
