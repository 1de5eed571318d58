//! Old processes that will not go: found and named, never mistaken for the new release.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::world::World;

#[test]
fn an_old_process_that_refuses_to_die_is_killed_and_said() {
    let world = World::new();
    world.write("behaviour.json", "{\"ignore_sigterm\": true}");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let stubborn = world.serving_pid("dev");
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    world.release("v3");
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(report.details["deploy"]["retired"]["killed"], true, "{:?}", report.details);
    assert!(!Path::new(&format!("/proc/{stubborn}")).exists());
    assert_eq!(world.get("dev", "/").1, "v3");
}

/// Nobody waits for its end then, and no record names it any more.
#[test]
fn an_old_process_whose_keeper_is_killed_while_it_ends_it_is_killed_and_said() {
    let world = World::new();
    // Else a shell stands between, and ends at once.
    world.configure("run = \"python3", "run = \"exec python3");
    world.write("behaviour.json", "{\"ignore_sigterm\": true}");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let stubborn = world.serving_pid("dev");
    world.mend("v2");
    world.run("deploy", &["dev"]).ok();
    world.release("v3");
    let record = world.state().join("dev/slots/blue/keeper.json");
    let report = std::thread::scope(|scope| {
        let deployed = scope.spawn(|| world.run("deploy", &["dev"]));
        kill_process(stopping_keeper(&record), Signal::KILL).unwrap();
        deployed.join().unwrap().ok().report()
    });
    assert_eq!(report.details["deploy"]["retired"]["killed"], true, "{:?}", report.details);
    let left = fs::read(format!("/proc/{stubborn}/cmdline")).unwrap_or_default();
    assert!(left.is_empty(), "{}", String::from_utf8_lossy(&left));
    assert_eq!(world.get("dev", "/").1, "v3");
}

/// A keeper that has asked its child to end, and waits.
fn stopping_keeper(record: &Path) -> Pid {
    let begun = Instant::now();
    loop {
        let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
        if record["state"] == "stopping" {
            return Pid::from_raw(i32::try_from(record["pid"].as_i64().unwrap()).unwrap()).unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "it was not asked to end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_orphan_that_keeps_the_old_port_is_found_named_and_ended() {
    let world = World::new();
    world.write("behaviour.json", "{\"orphan_worker\": true}");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.mend("v2");
    world.run("deploy", &["dev"]).ok();
    world.release("v3");
    let report = world.run("deploy", &["dev"]).ok().report();
    let kept = &report.details["deploy"]["retired"]["kept_port"];
    let kept = kept.as_array().unwrap_or_else(|| panic!("nothing was named: {:?}", report.details));
    assert!(kept.iter().any(|name| name.as_str().unwrap().contains("app.py")), "{kept:?}");
    for _ in 0..20 {
        assert_eq!(world.get("dev", "/").1, "v3");
    }
}

#[test]
fn an_instance_that_writes_another_database_is_not_the_right_one() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let before = world.footprint("dev");
    world.write("verify.toml", "[routes]\n\"/rows\" = \"200\"\n");
    world.faulty("{\"database\": \"stray.db\"}");
    let report = world.run("deploy", &["dev"]);
    assert_eq!(report.status, 1, "{}", report.stdout);
    let after = world.footprint("dev");
    assert_eq!((after.serving, after.answer), (before.serving, before.answer));
}
