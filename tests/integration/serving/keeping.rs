//! How long it lives, and what it leaves alone.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::ran::Running;
use tests::stream::{Event, Stream};
use tests::world::World;

use super::Served;

fn kill(pid: &Value) {
    let pid = pid.as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn it_is_started_by_a_deployment_and_started_again_when_it_dies() {
    let served = Served::serving("");
    let first = served.keeper()["child"].clone();
    served.world.release("v2");
    served.world.run("deploy", &["dev"]).ok();
    assert_eq!(served.keeper()["child"], first, "one that runs as it should is left alone");
    kill(&first);
    let begun = Instant::now();
    while served.keeper()["child"] == first || served.keeper()["state"] != "running" {
        assert!(begun.elapsed() < Duration::from_secs(10), "nobody started it again");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(served.own("/_deploy/health?environment=dev").0, 200);
}

#[test]
fn a_deployment_that_has_nothing_to_do_brings_it_back_all_the_same() {
    let served = Served::serving("");
    let (keeper, child) = (served.keeper()["pid"].clone(), served.keeper()["child"].clone());
    kill(&keeper);
    kill(&child);
    served.world.run("deploy", &["dev"]).ok();
    assert_ne!(served.keeper()["pid"], keeper);
    assert_eq!(served.own("/_deploy/health?environment=dev").0, 200);
}

#[test]
fn another_build_and_another_address_start_it_anew_and_no_table_ends_it() {
    let served = Served::new("");
    served.world.release("v1");
    served.world.deploy_by_other_installation("dev");
    served.own("/_deploy/version");
    let before = served.keeper()["child"].clone();
    served.world.release("v2");
    served.world.run("deploy", &["dev"]).ok();
    assert_ne!(served.keeper()["child"], before);
    let (elsewhere, _claim) = tests::ports::claim();
    served.world.configure(&served.own.to_string(), &elsewhere.to_string());
    served.world.run("deploy", &["dev"]).ok();
    let moved = Served { own: elsewhere, ..served };
    assert_eq!(moved.own("/_deploy/health?environment=dev").0, 200);
    moved.world.configure(&format!("[status]\nlisten = \"{elsewhere}\"\n"), "");
    moved.world.run("deploy", &["dev"]).ok();
    assert_eq!(moved.keeper()["state"], "stopped");
    assert_eq!(moved.visit("/_deploy/health", &[]).0, 503);
}

#[test]
fn a_stream_ends_with_its_gateway_and_goes_on_at_the_next_one() {
    let served = Served::new("serve = false\npublic = [\"events\"]");
    let mut command = served.world.command("status", &["serve"]);
    let _by_hand = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    served.own("/_deploy/version");
    served.world.release("v1");
    served.world.deploy_by_other_installation("dev");
    let listen = served.world.listen("dev");
    let mut stream = Stream::open(listen, "/_deploy/events", &[]);
    served.world.release("v2");
    served.world.run("deploy", &["dev"]).ok();
    let told: Vec<_> = std::iter::from_fn(|| stream.take()).collect();
    let first = format!("Last-Event-ID: {}", told[0].id);
    let mut next = Stream::open(listen, "/_deploy/events", &[&first]);
    let rest = next.until(|event| event.data["deployment"]["outcome"].is_string());
    let steps = |events: &[Event]| {
        let steps = events.iter().filter(|event| event.kind == "step");
        steps.map(|event| event.data["number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let (before, after) = (steps(&told), steps(&rest));
    assert!(!before.is_empty() && after.len() >= before.len(), "{before:?} {after:?}");
    let all: Vec<u64> = (1..=after.len() as u64).collect();
    assert_eq!(after, all, "every step, once, in order");
    assert_eq!(before, all[..before.len()], "what was told is told in the same order");
}

#[test]
fn by_hand_it_makes_no_ledger_serves_once_and_ends_with_a_signal() {
    let world = World::new();
    let start = || {
        let mut command = world.command("status", &["serve", "--listen", "127.0.0.1:0"]);
        Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    let mut child = start();
    let mut told = std::io::BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut told, &mut line).unwrap();
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let host = format!("Host: {address}");
    let ask = |path: &str| tests::http::exchange(address.parse().unwrap(), "GET", path, &[&host]).unwrap();
    let (status, _, body) = ask("/_deploy/status?environment=dev");
    assert_eq!(status, 200, "{body}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["git_commit"], Value::Null);
    assert_eq!(ask("/_deploy/health").0, 503);
    world.run("status", &["serve"]).refused("status-served");
    assert_eq!(world.run("status", &["dev", "serve"]).status, 2);
    assert_eq!(world.run("status", &["serve", "--listen", "0.0.0.0:0"]).status, 1, "the lock comes first");
    assert!(!world.state().join("ledger.db").exists());
    kill_process(Pid::from_child(&child.0), Signal::TERM).unwrap();
    assert!(child.0.wait().unwrap().success());
    assert_eq!(world.run("status", &["serve", "--listen", "0.0.0.0:0"]).status, 2);
    let left: Vec<_> =
        fs::read_dir(world.state()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["status"]);
}

#[test]
fn an_edited_configuration_is_read_again_and_a_broken_one_changes_nothing() {
    let served = Served::serving("");
    assert_eq!(served.visit("/_deploy/version", &[]).0, 403);
    let file = served.world.checkout().join("deploy.toml");
    let text = fs::read_to_string(&file).unwrap();
    let opened = text.replace("[status]\n", "[status]\npublic = [\"version\"]\n");
    fs::write(&file, &opened).unwrap();
    assert_eq!(served.visit("/_deploy/version", &[]).0, 200, "at once");
    fs::write(&file, opened.replace("[environments.dev]", "[environments.dev")).unwrap();
    assert_eq!(served.visit("/_deploy/version", &[]).0, 200);
    fs::write(&file, text).unwrap();
    assert_eq!(served.visit("/_deploy/version", &[]).0, 403);
}

#[test]
fn a_stream_ends_when_its_listener_may_listen_no_more() {
    let served = Served::serving("public = [\"events\"]");
    let mut stream = Stream::open(served.world.listen("dev"), "/_deploy/events", &["Connection: close"]);
    served.world.configure("public = [\"events\"]", "");
    served.world.release("v2");
    served.world.run("deploy", &["dev"]).ok();
    assert!(stream.take().is_none(), "nothing is told any more");
    assert_eq!(served.visit("/_deploy/events", &[]).0, 403);
}

#[test]
fn a_server_that_cannot_listen_is_said_by_the_deployment_that_starts_it() {
    let served = Served::new("");
    let taken = std::net::TcpListener::bind(served.own).unwrap();
    served.world.release("v1");
    let deployed = served.world.run("deploy", &["dev"]);
    deployed.ok();
    assert!(deployed.stderr.contains("the status server does not run"), "{}", deployed.stderr);
    drop(taken);
    assert_eq!(served.own("/_deploy/health?environment=dev").0, 200);
}

#[test]
fn a_signal_ends_it_soon_although_somebody_listens() {
    let world = World::new();
    let mut command = world.command("status", &["serve", "--listen", "127.0.0.1:0"]);
    let mut child = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    let mut told = std::io::BufReader::new(child.0.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut told, &mut line).unwrap();
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let mut stream = Stream::open(address.parse().unwrap(), "/_deploy/events", &["Connection: close"]);
    let begun = Instant::now();
    kill_process(Pid::from_child(&child.0), Signal::TERM).unwrap();
    assert!(stream.take().is_none());
    assert!(child.0.wait().unwrap().success() && begun.elapsed() < Duration::from_secs(2));
}
