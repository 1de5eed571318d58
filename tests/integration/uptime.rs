//! `status watch`: what it keeps, what it tells, and that nothing is told twice.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::fault::Act;
use tests::keepers;
use tests::ran::Ran;
use tests::receiver::await_senders;
use tests::world::World;

fn world() -> World {
    let world = World::new();
    world.configure("[environments.dev]\n", "[environments.dev]\nnotify = [\"command cat >> ../told\"]\n");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    await_senders(&world);
    world
}

/// Events that the watch has told so far, oldest first.
fn told(world: &World) -> Vec<String> {
    await_senders(world);
    let text = fs::read_to_string(world.path().join("told")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| line["event"].as_str().unwrap().to_owned()).skip(2).collect()
}

fn look(world: &World) -> Value {
    world.run("status", &["dev", "watch", "--once"]).ok().report().details["status"]["dev"].clone()
}

/// The same by a clock that is so many minutes ahead.
fn look_later(world: &World, minutes: u64) -> Value {
    let mut command = world.command("status", &["watch", "--once"]);
    let ran = Ran::of(command.env("DEPLOY_CLOCK_MS", (minutes * 60_000).to_string()).output().unwrap());
    ran.ok().report().details["status"]["dev"].clone()
}

#[test]
fn what_goes_down_and_comes_back_is_told_once_each_also_by_killed_watches() {
    let world = world();
    assert_eq!((look(&world)["health"].as_str(), told(&world).len()), (Some("up"), 0));
    keepers::end_below(&world.state());
    assert_eq!(look(&world)["health"], "up", "one look is no proof");
    look(&world);
    let once = Act::new("status", &["dev", "watch", "--once"]);
    assert_eq!(once.run(&world, Some("status:ledger.before-commit#1")).0.status, -1);
    assert_eq!(once.run(&world, Some("status:ledger.after-commit#1")).0.status, -1);
    let seen = look(&world);
    assert_eq!(seen["health"], "down", "{seen}");
    assert!(seen["reason"].as_str().unwrap().starts_with("does not answer"), "{seen}");
    look(&world);
    assert_eq!(told(&world), ["down"]);

    world.run("backup", &["dev", "create"]).ok();
    (0..4).for_each(|_| drop(look(&world)));
    assert_eq!(told(&world), ["down"], "too soon after the change before");
    assert_eq!(look_later(&world, 5)["health"], "up");
    look_later(&world, 6);
    assert_eq!(told(&world), ["down", "up"]);

    let hour = &world.run("status", &["dev", "uptime"]).ok().report().details["status"]["dev"][0];
    assert_eq!((&hour["hours"], &hour["probes"]), (&1.into(), &10.into()));
    assert!((49.0..51.0).contains(&hour["up_percent"].as_f64().unwrap()), "{hour}");
    assert!(hour["p95_ms"].as_f64().unwrap() > 0.0, "{hour}");
    assert_eq!(world.status("dev")["uptime"]["probes"], 10);
}

const LONGEST: Duration = Duration::from_secs(60);

fn watching(world: &World) -> Child {
    let mut command = world.command("status", &["watch", "--interval", "1s"]);
    let watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (before, begun) = (probes(world), Instant::now());
    while probes(world) == before {
        assert!(begun.elapsed() < LONGEST, "the watch does not look");
    }
    watch
}

/// Asks it to end, and waits until it has.
fn end(mut watch: Child) -> Ran {
    kill_process(Pid::from_raw(i32::try_from(watch.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    let begun = Instant::now();
    while watch.try_wait().unwrap().is_none() {
        if begun.elapsed() > LONGEST {
            watch.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ran::of(watch.wait_with_output().unwrap())
}

fn probes(world: &World) -> u64 {
    world.status("dev")["uptime"]["probes"].as_u64().unwrap_or(0)
}

#[test]
fn only_one_watch_runs_and_a_signal_is_a_good_end() {
    let world = world();
    let mut killed = watching(&world);
    world.run("status", &["watch", "--once"]).refused("locked");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let report = end(watching(&world)).ok().report();
    assert_eq!(report.details["status"]["dev"]["health"], "up");
    assert!(told(&world).is_empty());
}

#[test]
fn a_signal_ends_a_watch_that_needs_longer_than_its_interval() {
    let world = world();
    world.faulty(r#"{"delay_ms": {"/healthz": 1100}}"#);
    world.run("deploy", &["dev"]).ok();
    end(watching(&world)).ok();
}

#[test]
fn what_answers_and_is_wrong_is_degraded() {
    let world = world();
    let serving = world.state().join("dev/slots/blue/instance.json");
    let record = fs::read_to_string(&serving).unwrap();
    let deployment = world.status("dev")["deployment"].as_str().unwrap().to_owned();
    let other = deployment.replace('Z', "X");
    fs::write(
        &serving,
        record.replace(&format!("\"release\":\"{deployment}\""), &format!("\"release\":\"{other}\"")),
    )
    .unwrap();
    (0..3).for_each(|_| drop(look(&world)));
    let seen = look(&world);
    assert_eq!(
        (&seen["health"], &seen["reason"]),
        (&"degraded".into(), &"is served by old processes".into())
    );
    assert_eq!(told(&world), ["degraded"]);
}

#[test]
fn a_watch_needs_no_deployment_and_prints_its_unit() {
    let world = World::new();
    world.run("status", &["watch", "--once"]).ok();
    assert!(!world.state().exists(), "looking made something");
    let unit = world.run("status", &["dev", "watch", "--unit", "--interval", "30s"]).ok().report();
    let text = unit.details["status"]["unit"]["text"].as_str().unwrap();
    let file = world.checkout().join("deploy.toml");
    let line = format!(" dev watch --interval=30s --json --config \"{}\"\n", file.display());
    assert!(text.contains("ExecStart=\"/") && text.contains(&line), "{text}");
}
