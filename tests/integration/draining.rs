//! The drain: long requests get their time, what is cut is counted and said, and the instance is
//! asked to end only when the gateway has let go of it.

use std::io::{Error, Read};
use std::thread::JoinHandle;

use common::report::Outcome;
use rustix::process::{Pid, Signal, kill_process};
use tests::world::{World, steps};

/// v1 serves with a short drain, and nothing stays warm.
fn world(drain: &str) -> World {
    let world = World::new();
    world.release("v1");
    let keys = format!("[environments.dev]\ndrain = \"{drain}\"\nkeep_warm = false\n");
    world.configure("[environments.dev]\n", &keys);
    world.run("deploy", &["dev"]).ok();
    world
}

/// A request of `ms` milliseconds that the instance has taken.
fn ask_slowly(world: &World, ms: u64) -> JoinHandle<Result<(u16, String), Error>> {
    let address = world.listen("dev");
    let asked = std::thread::spawn(move || tests::http::request(address, "GET", &format!("/slow/{ms}")));
    while world.status("dev")["gateway"]["in_flight"] == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    asked
}

#[test]
fn a_long_request_is_answered_before_its_instance_is_asked_to_end() {
    let world = world("30s");
    let long = ask_slowly(&world, 3000);
    world.release("v2");
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(long.join().unwrap().unwrap(), (200, "v1".into()));
    assert_eq!(report.details["deploy"]["drain"]["requests_cut"], 0);
    let place = |name: &str| report.steps.iter().position(|step| step.name == name).unwrap();
    assert!(place("drain") < place("previous.retire"));
    assert!(report.details["deploy"]["retired"].is_null(), "{:?}", report.details);
}

#[test]
fn what_the_limit_cuts_is_counted_and_a_kill_is_said() {
    let world = world("300ms");
    world.write("behaviour.json", "{\"ignore_sigterm\": true}");
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    let long = ask_slowly(&world, 60_000);
    world.mend("v3");
    let report = world.run("deploy", &["dev"]).ok().report();
    assert!(long.join().unwrap().is_err(), "it was cut");
    let drain = &report.details["deploy"]["drain"];
    assert_eq!((&drain["requests_cut"], &drain["drained"]), (&1.into(), &false.into()));
    assert_eq!(report.details["deploy"]["retired"]["killed"], true, "{:?}", report.details);
}

/// An undone deployment drains as well.
#[test]
fn what_an_undo_cuts_is_said() {
    let world = world("300ms");
    world.configure("drain =", "watch = \"60s\"\ndrain =");
    world.release("v2");
    let mut command = world.command("deploy", &["dev"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut deploy = command.spawn().unwrap();
    while world.get("dev", "/").1 != "v2" || world.status("dev")["state"] != "serving" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let long = ask_slowly(&world, 60_000);
    kill_process(Pid::from_raw(i32::try_from(deploy.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let mut text = String::new();
    deploy.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    deploy.wait().unwrap();
    assert!(long.join().unwrap().is_err(), "it was cut");
    let report: common::report::Report = serde_json::from_str(&text).unwrap();
    assert_eq!(report.outcome, Outcome::RolledBack);
    let undone = steps(&report, "undo.cutover");
    assert_eq!(undone[0].target.as_deref(), Some("1 requests were cut at the drain limit"));
    assert_eq!(world.get("dev", "/").1, "v1");
}
