//! kill -9 at any moment: something always serves, and the next command recovers by itself.

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::report::Outcome;
use rustix::process::{Pid, Signal, kill_process};
use tests::fault::Act;
use tests::load::{Load, Plan};
use tests::world::{World, steps};

const KILLS: u32 = 20;

#[test]
fn a_deploy_killed_at_twenty_moments_never_stops_the_service() {
    let world = World::new();
    world.release("v0");
    world.run("deploy", &["dev"]).ok();
    let whole = {
        world.release("v1");
        let begun = Instant::now();
        world.run("deploy", &["dev"]).ok();
        begun.elapsed()
    };
    let load = Load::start(world.listen("dev"), Plan { write: 1, ..Plan::mixed() });
    for number in 0..KILLS {
        world.release(&format!("k{number}"));
        let mut deploy =
            world.command("deploy", &["dev"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * number / KILLS);
        deploy.kill().unwrap();
        deploy.wait().unwrap();
        assert_eq!(world.get("dev", "/healthz").0, 200, "after kill {number}");
        recover(&world, number);
    }
    let revision = world.release("end");
    world.run("deploy", &["dev", "--wait", "60"]).ok();
    let tally = load.stop();
    tally.assert_nothing_lost();
    assert_eq!(world.status("dev")["revision"], revision.as_str());
    assert_eq!(world.get("dev", "/rows").1, tally.acknowledged.len().to_string(), "acknowledged writes");
}

/// The next command, whichever it is, finishes what the crash left; then all agree.
fn recover(world: &World, number: u32) {
    if number.is_multiple_of(2) {
        world.run("deploy", &["dev", "--wait", "60"]).ok();
    } else {
        // A target or none: what counts is that the environment is whole afterwards.
        world.run("rollback", &["dev", "--wait", "60"]).ok();
    }
    let status = world.status("dev");
    assert_eq!(status["unfinished"], serde_json::json!([]), "after kill {number}");
    assert_eq!(status["identity"], "new", "after kill {number}");
    assert_eq!(status["gateway"]["active"]["deployment"], status["deployment"], "after kill {number}");
}

#[test]
fn a_killed_gateway_comes_back_with_its_state_and_refuses_nobody() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    for _ in 0..5 {
        let gateway =
            world.status("dev")["gateway"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap();
        kill_process(Pid::from_raw(gateway).unwrap(), Signal::KILL).unwrap();
        // The listening socket is the keeper's: a connection made now waits instead of being refused.
        assert_eq!(world.get("dev", "/").1, "v1");
        assert_ne!(world.status("dev")["gateway"]["pid"], gateway);
    }
}

/// A gateway without a keeper serves on, and nobody would start it again.
#[test]
fn a_gateway_whose_keeper_was_killed_gets_another_and_loses_no_request() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let load = Load::start(world.listen("dev"), Plan { write: 1, ..Plan::mixed() });
    let next: [(&str, &[&str]); 3] =
        [("deploy", &["dev"]), ("backup", &["dev", "create"]), ("migrate", &["dev", "up"])];
    for (tool, args) in next {
        let gateway = world.status("dev")["gateway"]["pid"].clone();
        let record = std::fs::read(world.state().join("dev/gateway/keeper.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let keeper = record["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap();
        kill_process(Pid::from_raw(keeper).unwrap(), Signal::KILL).unwrap();
        while world.status("dev")["gateway_orphaned"] != true {
            std::thread::sleep(Duration::from_millis(5));
        }
        let problem = world.run("status", &["dev"]).refused("unhealthy").problem.unwrap();
        assert!(problem.title.contains("whose keeper is gone"), "{problem:?}");
        assert!(world.run(tool, args).ok().stderr.contains("a new one has taken over"), "{tool}");
        let status = world.status("dev");
        assert_ne!(status["gateway"]["pid"], gateway, "{tool}");
        assert_eq!((&status["gateway_orphaned"], &status["identity"]), (&false.into(), &"new".into()));
    }
    let gateway = world.status("dev")["gateway"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    load.wait_for(2);
    load.stop().assert_nothing_lost();
    kill_process(Pid::from_raw(gateway.unwrap()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(world.get("dev", "/").1, "v1");
}

#[test]
fn a_gateway_of_another_build_is_upgraded_without_a_lost_request_also_by_a_run_that_is_killed() {
    let world = World::new();
    world.release("v1");
    world.deploy_by_other_installation("dev");
    let load = Load::start(world.listen("dev"), Plan { write: 1, ..Plan::mixed() });
    let first = world.status("dev")["gateway"]["pid"].clone();
    world.release("v2");
    let killed = Act::new("deploy", &["dev"]).run(&world, Some("deploy:gateway.keeper-ended#1=abort"));
    assert_eq!(killed.0.status, -1, "{}", killed.0.stderr);
    assert_eq!(world.status("dev")["gateway_orphaned"], true);
    let ran = world.run("deploy", &["dev"]);
    ran.ok();
    assert!(ran.stderr.contains("a new one has taken over"), "{}", ran.stderr);
    assert_ne!(world.status("dev")["gateway"]["pid"], first);

    let other = World::new();
    other.release("v1");
    other.deploy_by_other_installation("dev");
    let long = Load::start(other.listen("dev"), Plan { write: 1, ..Plan::mixed() });
    let first = other.status("dev")["gateway"]["pid"].clone();
    other.release("v2");
    let report = other.run("deploy", &["dev"]).ok().report();
    assert_eq!(steps(&report, "gateway.upgrade").len(), 1);
    assert_ne!(other.status("dev")["gateway"]["pid"], first);
    other.release("v3");
    let report = other.run("deploy", &["dev"]).ok().report();
    assert_eq!(steps(&report, "gateway.upgrade").len(), 0, "there is nothing to upgrade");
    for load in [load, long] {
        load.wait_for(2);
        load.stop().assert_nothing_lost();
    }
}

#[test]
fn a_killed_instance_is_started_again() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let first = world.serving_pid("dev");
    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    let begun = Instant::now();
    while world.get("dev", "/").0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_ne!(world.serving_pid("dev"), first);
}

#[test]
fn after_everything_was_killed_the_next_command_brings_the_service_back() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    tests::keepers::end_below(&world.state());
    let status = world.run("status", &["dev"]);
    assert_eq!(status.status, 1, "{}", status.stdout);
    world.run("rollback", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v1");
}

#[test]
fn a_stranger_on_the_recorded_port_is_not_taken_for_the_instance() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    tests::keepers::end_below(&world.state());
    tests::keepers::await_end_below(&world.state());
    let record = std::fs::read(world.state().join("dev/slots/blue/instance.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let stranger = std::net::TcpListener::bind(record["address"].as_str().unwrap()).unwrap();
    std::thread::spawn(move || {
        for stream in stranger.incoming().flatten() {
            use std::io::{Read, Write};
            let mut stream = stream;
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstranger");
        }
    });
    world.run("backup", &["dev", "create"]).ok();
    assert_eq!(world.get("dev", "/").1, "v1");
    assert_eq!(world.status("dev")["identity"], "new");
}

#[test]
fn ctrl_c_undoes_the_deployment_and_exits_by_the_signal() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let before = world.footprint("dev");
    world.configure("[app]\n", "[app]\nbuild = \"touch ../../../building; sleep 60\"\n");
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let deploy =
            world.command("deploy", &["dev"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        while !world.state().join("building").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_process(Pid::from_child(&deploy), signal).unwrap();
        let output = deploy.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(status));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["outcome"], &report["changed"]), (&"failed".into(), &false.into()));
        std::fs::remove_file(world.state().join("building")).unwrap();
    }
    let after = world.footprint("dev");
    assert_eq!(
        (after.serving, after.answer, after.releases),
        (before.serving, before.answer, before.releases)
    );
}

/// One release with a migration that is applied, and another one that waits in the next release.
fn migrating(world: &World) -> rusqlite::Connection {
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.run("migrate", &["dev", "down", "--steps", "1"]).ok();
    rusqlite::Connection::open(world.database("dev")).unwrap()
}

fn applied(database: &rusqlite::Connection) -> i64 {
    database.query_row("SELECT count(*) FROM migrations", [], |row| row.get(0)).unwrap()
}

fn newest(world: &World) -> serde_json::Value {
    let history = world.run("status", &["dev", "history"]).ok().report();
    history.details["status"]["dev"][0].clone()
}

#[test]
fn migrations_of_a_run_that_was_killed_after_their_commit_stand_and_can_be_undone() {
    let world = World::new();
    let database = migrating(&world);
    let before = applied(&database);
    let ran = world.sh("DEPLOY_FAULT='migrate:migration.after-commit#1=abort' migrate dev up | cat");
    assert_eq!(applied(&database), before + 1);
    world.run("backup", &["dev", "create"]).ok();
    let row = newest(&world);
    assert_eq!((&row["kind"], &row["state"]), (&"migrate".into(), &"serving".into()), "{row}");
    std::fs::write(world.path().join("report"), &ran.stdout).unwrap();
    let undone = world.sh(&format!("rollback < {}", world.path().join("report").display()));
    assert_eq!(undone.report().outcome, Outcome::RolledBack, "{}\n{}", undone.stdout, undone.stderr);
    assert_eq!(applied(&database), before);
    assert_eq!(newest(&world)["state"], "rolled_back");
}

#[test]
fn a_chain_undoes_the_migrations_of_a_run_that_was_killed_after_their_commit() {
    let world = World::new();
    let database = migrating(&world);
    let before = applied(&database);
    let chain = "DEPLOY_FAULT='migrate:migration.after-commit#1=abort' migrate dev up | verify | rollback";
    let ran = world.sh(chain);
    assert_eq!(ran.report().outcome, Outcome::RolledBack, "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(applied(&database), before);
}

#[test]
fn of_migrations_that_were_killed_before_their_commit_nothing_is_said_to_be_undone() {
    let world = World::new();
    let database = migrating(&world);
    let before = applied(&database);
    let chain = "DEPLOY_FAULT='migrate:migration.before-commit#1=abort' migrate dev up | rollback";
    let ran = world.sh(chain);
    assert_eq!(ran.report().outcome, Outcome::Failed, "{}", ran.stdout);
    assert!(ran.stderr.contains("was cut off; it had applied no migration"), "{}", ran.stderr);
    assert!(!ran.stdout.contains("undone already"), "{}", ran.stdout);
    assert_eq!((applied(&database), &newest(&world)["state"]), (before, &"failed".into()));
}

#[test]
fn of_a_killed_restore_nothing_is_said_to_be_undone() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let backup = world.run("backup", &["dev", "create"]).ok().report();
    let id = backup.details["backup"]["id"].as_str().unwrap_or_default().to_owned();
    let database = rusqlite::Connection::open(world.database("dev")).unwrap();
    database.execute_batch("CREATE TABLE later(a)").unwrap();
    let mut restore = world.command("backup", &["dev", "restore", &id, "--discard-writes"]);
    restore.env("DEPLOY_FAULT", "backup:restore.after-commit#1=abort");
    let cut = restore.output().unwrap();
    assert!(cut.status.code().is_none(), "{cut:?}");
    let next = world.run("backup", &["dev", "create"]);
    let told = "the restore has happened as a whole or not at all, and nothing was undone";
    assert!(next.ok().stderr.contains(told), "{}", next.stderr);
    let history = world.run("status", &["dev", "history"]).ok().report();
    assert!(!history.details["status"].to_string().contains("has been undone"));
}
