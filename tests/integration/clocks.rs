//! The clock is set back or forward between commands, or differs between hosts: what is newest,
//! what was verified since and what may go is decided by order, not by time.

use std::fs;

use serde_json::Value;
use tests::ran::Ran;
use tests::world::World;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// Runs a tool whose clock, and that of the tools it runs, is off by so many milliseconds.
fn at(world: &World, shift: i64, tool: &str, args: &[&str]) -> Ran {
    Ran::of(world.command(tool, args).env("DEPLOY_CLOCK_MS", shift.to_string()).output().unwrap())
}

fn history(world: &World) -> Vec<Value> {
    let report = world.run("status", &["dev", "history"]).ok().report();
    report.details["status"]["dev"].as_array().unwrap().clone()
}

#[test]
fn what_was_deployed_last_is_the_newest_whatever_the_clock_said() {
    let world = World::new();
    let ids: Vec<String> = [("v1", 0), ("v2", -HOUR), ("v3", -2 * DAY), ("v4", HOUR), ("v5", -HOUR)]
        .into_iter()
        .map(|(version, shift)| {
            world.release(version);
            at(&world, shift, "deploy", &["dev"]).ok().report().deployment.unwrap()
        })
        .collect();
    let known: Vec<Value> = history(&world).iter().map(|row| row["id"].clone()).collect();
    assert_eq!(known, ids.iter().rev().map(|id| Value::from(id.as_str())).collect::<Vec<_>>());
    for version in ["v4", "v3", "v2", "v1"] {
        at(&world, -DAY, "rollback", &["dev"]).ok();
        assert_eq!(world.get("dev", "/").1, version);
    }
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(world.state().join(format!("ledger.db{suffix}")));
    }
    assert_eq!(history(&world)[4]["id"], ids[4].as_str(), "the order of a ledger that was made again");
    world.release("v6");
    at(&world, -DAY, "deploy", &["dev"]).ok();
    world.run("rollback", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v5");
}

/// A deployment that passed, and then fails a check of which the ledger keeps nothing: the report
/// of the chain, made by a clock that is off by `shift`.
fn failed_later(world: &World, shift: i64) -> Ran {
    let release = "../state/dev/releases/$(ls -t ../state/dev/releases | head -1)";
    let spoil = format!(
        "chmod -R u+w {release} && printf '[routes]\\n\"/\" = \"200 v9\"\\n' > {release}/verify.toml"
    );
    world.sh(&format!(
        "deploy dev --again > ../deployed.json; {spoil}; DEPLOY_CLOCK_MS={shift} verify --only service,identity,routes < ../deployed.json > ../failed.json"
    ))
}

/// The deployment's own verification seemed newer than the report of a later failure.
#[test]
fn a_failure_found_by_a_clock_that_was_set_back_is_undone() {
    for shift in [-HOUR, HOUR] {
        let world = World::new();
        world.release("v1");
        world.run("deploy", &["dev"]).ok();
        world.release("v2");
        assert_eq!(failed_later(&world, shift).status, 1);
        let chain = world.sh("rollback < ../failed.json");
        assert_eq!(chain.status, 1, "{}", chain.stdout);
        assert_eq!(chain.report().outcome.word(), "rolled_back", "{shift}: {}", chain.stdout);
        assert_eq!(world.get("dev", "/").1, "v1", "{shift}");
    }
}

#[test]
fn a_failure_before_a_later_verification_is_not_undone_whatever_the_clock_said() {
    for shift in [-HOUR, HOUR] {
        let world = World::new();
        world.release("v1");
        world.run("deploy", &["dev"]).ok();
        world.release("v2");
        assert_eq!(failed_later(&world, 0).status, 1);
        world.sh("rm ../state/dev/releases/$(ls -t ../state/dev/releases | head -1)/verify.toml").ok_shell();
        at(&world, shift, "verify", &["dev"]).ok();
        let chain = world.sh("rollback < ../failed.json");
        assert_eq!((chain.status, chain.report().outcome.word()), (1, "failed"), "{shift}: {}", chain.stdout);
        assert_eq!(world.get("dev", "/").1, "v2", "{shift}");
    }
}

#[test]
fn evidence_has_an_age_or_is_refused() {
    let world = World::new();
    world.release("v1");
    at(&world, HOUR, "deploy", &["dev"]).ok();
    let report = world.run("deploy", &["prod", "--promote"]).refused("no-evidence");
    assert!(report.problem.unwrap().title.contains("ahead of this host's clock"));
    world.run("verify", &["dev"]).ok();
    at(&world, 8 * DAY, "deploy", &["prod", "--promote"]).refused("no-evidence");
    at(&world, -10_000, "deploy", &["prod", "--promote"]).ok();
    assert_eq!(world.get("prod", "/").1, "v1");
}

#[test]
fn the_newest_backup_stays_whatever_the_clock_said() {
    let world = World::new();
    world.configure("[environments.dev]\n", "[environments.dev]\nbackups = { keep = 2 }\n");
    world.run("deploy", &["dev"]).ok();
    let made: Vec<String> = [0, HOUR, -HOUR, -DAY, DAY, -2 * DAY]
        .into_iter()
        .map(|shift| {
            let report = at(&world, shift, "backup", &["dev", "create"]).ok().report();
            report.details["backup"]["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let report = world.run("backup", &["dev", "list"]).ok().report();
    let listed = report.details["backup"]["backups"].as_array().unwrap().clone();
    let listed: Vec<&str> = listed.iter().map(|backup| backup["id"].as_str().unwrap()).collect();
    assert_eq!(listed, [made[5].as_str(), made[4].as_str()]);
}

#[test]
fn no_time_is_negative() {
    let world = World::new();
    world.release("v1");
    at(&world, HOUR, "deploy", &["dev"]).ok();
    let status = world.status("dev");
    assert!(status["instance"]["uptime_ms"].as_i64().unwrap() >= 0, "{status}");
    assert_eq!(status["instance"]["condition"], "running");
    for row in history(&world) {
        assert!(row["duration_ms"].as_i64().unwrap() >= 0, "{row}");
    }
    // A step in the middle of a run: it began an hour ahead of its end.
    world.release("v2");
    let fault = world
        .command("deploy", &["dev"])
        .env("DEPLOY_CLOCK_MS", HOUR.to_string())
        .env("DEPLOY_FAULT", "deploy:tidy#1")
        .output();
    drop(fault.unwrap());
    world.run("rollback", &["dev"]).ok();
    for row in history(&world) {
        assert!(row["duration_ms"].as_i64().unwrap() >= 0, "{row}");
    }
}

/// A restarted instance counts once it has lived for a while: by the kernel's time, not the wall's.
#[test]
fn an_instance_that_was_started_again_settles_under_any_clock() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let first = world.serving_pid("dev");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(first).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let begun = std::time::Instant::now();
    let condition = || {
        let report = at(&world, -DAY, "status", &["dev"]).report();
        report.details["status"]["dev"]["instance"]["condition"].clone()
    };
    while condition() != "running" {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    }
    assert!(begun.elapsed() >= std::time::Duration::from_millis(1500), "it had not settled yet");
}
