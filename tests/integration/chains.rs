//! Pipelines under plain `sh`: the last command carries the truth.

use std::fs;
use std::process::{Command, Stdio};

use common::report::{Outcome, Report};
use tests::world::World;

/// v1 serves in dev, verified; later releases are checked against verify.toml.
fn serving() -> World {
    let world = World::new();
    world.write("verify.toml", "[routes]\n\"/\" = \"200 v\"\n");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world
}

#[test]
fn a_good_release_passes_through_the_whole_chain() {
    let world = serving();
    let revision = world.release("v2");
    let report = world.sh("deploy dev | verify | rollback").ok().report();
    assert_eq!(report.outcome, Outcome::Succeeded);
    assert_eq!(report.serving, Some(revision));
    for tool in ["deploy", "verify"] {
        assert!(report.steps.iter().any(|step| step.tool == tool), "{tool}");
    }
    assert_eq!(world.get("dev", "/").1, "v2");
}

#[test]
fn a_deployment_that_failed_by_itself_is_not_undone_twice() {
    let world = serving();
    world.faulty("{\"exit_at_start\": 1}");
    let ran = world.sh("deploy dev | verify | rollback");
    let report = ran.refused("instance-exited");
    assert_eq!((report.outcome, report.changed), (Outcome::Failed, false));
    assert_eq!(world.get("dev", "/").1, "v1");
    assert_eq!(world.status("dev")["state"], "verified");
}

#[test]
fn a_release_that_verify_finds_bad_is_undone_by_rollback() {
    let world = serving();
    world.write("VERSION", "nothing expected");
    world.publish("bad page");
    let ran = world.sh("deploy dev --no-verify | verify | rollback");
    let report = ran.report();
    assert_eq!((ran.status, report.outcome, report.success), (1, Outcome::RolledBack, false));
    assert_eq!(report.problem.unwrap().kind, "text-missing");
    assert_eq!(world.get("dev", "/").1, "v1");
    assert_eq!(world.status("dev")["identity"], "new");
    // The bad release is no target any more, and what serves is not undone once again.
    world.run("rollback", &["dev"]).refused("no-target");
}

#[test]
fn verify_completes_what_no_verify_left_open() {
    let world = serving();
    world.release("v2");
    world.run("deploy", &["dev", "--no-verify"]).ok();
    assert_eq!(world.status("dev")["state"], "serving");
    world.run("verify", &["dev"]).ok();
    assert_eq!(world.status("dev")["state"], "verified");
}

#[test]
fn a_deploy_that_is_killed_after_its_first_line_is_undone_by_the_end_of_the_chain() {
    let world = serving();
    world.configure(
        "[app]\n",
        "[app]\nbuild = \"touch ../../../building; while [ ! -e ../../../go ]; do sleep 0.02; done\"\n",
    );
    let rollback_output = world.path().join("out.json");
    let chain = format!(
        "(deploy dev & echo $! > {pid}; wait) | verify | rollback --wait 60 > {out}",
        pid = world.path().join("pid").display(),
        out = rollback_output.display()
    );
    let path = format!("{}:{}", tests::binaries::dir().display(), std::env::var("PATH").unwrap());
    let mut sh = Command::new("sh")
        .args(["-c", &chain])
        .current_dir(world.checkout())
        .env("PATH", path)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !world.state().join("building").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let pid: i32 = fs::read_to_string(world.path().join("pid")).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    fs::write(world.state().join("go"), "").unwrap();
    assert_eq!(sh.wait().unwrap().code(), Some(1));
    let report: Report = serde_json::from_str(&fs::read_to_string(rollback_output).unwrap()).unwrap();
    assert!(!report.success);
    assert_eq!(world.get("dev", "/").1, "v1");
    assert!(world.status("dev")["unfinished"].as_array().unwrap().is_empty());
    assert_eq!(world.footprint("dev").releases.len(), 1);
}

#[test]
fn backup_migrate_verify_rollback_is_a_chain_too() {
    let world = serving();
    let report = world.sh("backup dev | migrate up | verify | rollback").ok().report();
    assert_eq!(report.outcome, Outcome::Succeeded);
    for tool in ["backup", "verify"] {
        assert!(report.steps.iter().any(|step| step.tool == tool), "{tool}: {:?}", report.steps);
    }
}

#[test]
fn a_vanished_reader_never_stops_a_deployment_half_way() {
    let world = serving();
    world.release("v2");
    world.sh("deploy dev | true; sleep 0");
    let revision = world.git(&["rev-parse", "HEAD"]);
    // The reader is gone at once; the deployment goes on to its end.
    let begun = std::time::Instant::now();
    while world.status("dev")["revision"] != revision.as_str() || !world.status("dev")["lock"].is_null() {
        assert!(begun.elapsed().as_secs() < 30);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(world.status("dev")["state"], "verified");
}
