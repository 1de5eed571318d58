//! A run that is killed at any point of a switch: something serves all the time, and the next command
//! brings ledger, our file and what nginx has loaded together again.

use std::fs;

use tests::fault::Act;
use tests::load::{Load, Plan};
use tests::ran::Ran;

use super::{assert_serves, serving};

/// The points from just before the switch to the end of draining.
fn points_of_a_switch(passed: &[String]) -> Vec<String> {
    let at = |name: &str| passed.iter().position(|point| point.starts_with(name)).unwrap();
    passed[at("deploy:cutover.before-switch#")..=at("deploy:drain#")].to_vec()
}

fn kill_at_every_point(switch: &str) {
    let Some((world, _nginx)) = serving(switch) else { return };
    let deploy = Act::new("deploy", &["dev"]);
    world.release("v2");
    let (ran, passed) = deploy.run(&world, None);
    ran.ok();
    let points = points_of_a_switch(&passed);
    let both = ["nginx.before-reload", "nginx.after-reload"];
    let reloads = both.iter().all(|name| points.iter().any(|point| point.contains(name)));
    assert_eq!(reloads, switch == "reload", "{points:?}");
    let load = Load::start(world.listen("dev"), Plan { fresh: 2, slow: 2, ..Plan::default() });
    // The way of one kill takes as long as a deployment or two.
    let stride = if std::env::var_os("SOAK").is_some() { 1 } else { 3 };
    let first = usize::try_from(std::process::id()).unwrap() % stride;
    for (number, point) in points.iter().skip(first).step_by(stride).enumerate() {
        world.release(&format!("k{number}"));
        let (ran, _) = deploy.run(&world, Some(&format!("{point}=abort")));
        assert_ne!(ran.status, 0, "{point} was not passed");
        // Whichever command comes next.
        match number % 3 {
            0 => drop(world.run("rollback", &["dev", "--wait", "20"])),
            1 => drop(world.run("deploy", &["dev", "--wait", "20"]).ok()),
            _ => drop(world.run("backup", &["dev", "create"])),
        }
        let serving = world.get("dev", "/").1;
        assert_serves(&world, &serving);
    }
    world.release("end");
    world.run("deploy", &["dev"]).ok();
    assert_serves(&world, "end");
    load.stop().assert_nothing_lost();
    tests::tell(&format!(
        "{switch}: killed at every {stride}. of {} points of a switch, lost 0",
        points.len()
    ));
}

#[test]
fn a_kill_at_every_point_of_a_switch_by_reload_is_recovered() {
    kill_at_every_point("reload");
}

#[test]
fn a_kill_at_every_point_of_a_switch_by_symlink_is_recovered() {
    kill_at_every_point("symlink");
}

/// The file is written and nginx not told; then it loads it all the same, as for somebody else.
#[test]
fn a_reload_by_somebody_else_after_a_kill_is_undone() {
    let Some((world, nginx)) = serving("reload") else { return };
    world.release("v2");
    let mut deploy = world.command("deploy", &["dev"]);
    deploy.env("DEPLOY_FAULT", "deploy:nginx.before-reload#1=abort");
    assert_ne!(Ran::of(deploy.output().unwrap()).status, 0);
    assert_eq!(world.get("dev", "/").1, "v1");
    nginx.reload();
    while world.get("dev", "/").1 != "v2" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    world.run("rollback", &["dev", "--wait", "20"]);
    assert_serves(&world, "v1");
}

/// nginx takes the test of its configuration and then does not load it: an address is taken.
#[test]
fn a_reload_that_never_takes_effect_fails_and_the_release_before_stays() {
    let Some((world, nginx)) = serving("reload") else { return };
    let (taken, _claim) = tests::ports::claim();
    let _stranger = std::net::TcpListener::bind(taken).unwrap();
    fs::write(nginx.path().join("conf.d/theirs.conf"), format!("server {{ listen {taken}; }}\n")).unwrap();
    world.release("v2");
    let report = world.run("deploy", &["dev"]);
    let report = report.report();
    assert!(!report.success, "{report:?}");
    assert_serves(&world, "v1");
    fs::remove_file(nginx.path().join("conf.d/theirs.conf")).unwrap();
    world.run("deploy", &["dev"]).ok();
    assert_serves(&world, "v2");
}
