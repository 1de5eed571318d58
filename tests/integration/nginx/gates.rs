//! What keeps a deployment from beginning: each is named, with a command, and nothing has changed.

use std::fs;

use tests::nginx::Nginx;
use tests::ran::Ran;
use tests::world::World;

use super::{assert_serves, serving};

/// The plan, the doctor and the deployment all refuse, and what served serves.
fn refused(world: &World, kind: &str) -> String {
    world.run("deploy", &["dev", "--plan"]).refused(kind);
    let doctor = world.run("deploy", &["doctor"]);
    let kinds: Vec<String> =
        doctor.report().steps.into_iter().filter_map(|step| Some(step.problem?.kind)).collect();
    assert!(kinds.contains(&kind.to_owned()), "{kinds:?}");
    let report = world.run("deploy", &["dev"]).refused(kind);
    assert!(!report.changed);
    let problem = report.problem.unwrap();
    assert!(problem.hint.is_some(), "{problem:?}");
    problem.detail.unwrap_or_default()
}

#[test]
fn nobody_includes_our_file_or_its_address_is_another_or_its_block_an_old_one() {
    let world = World::new();
    let Some(mut nginx) = Nginx::configured(&world, "reload") else { return };
    world.release("v1");
    refused(&world, "nginx-not-included");
    world.run("deploy", &["init", "--nginx", "dev"]).ok();
    refused(&world, "nginx-not-included");
    let block = world.state().join("dev/gateway/server.conf");
    nginx.include(&block);
    refused(&world, "nginx-stopped");
    nginx.start(&world);
    let text = fs::read_to_string(&block).unwrap();
    fs::write(&block, text.replace("/_deploy/gateway", "/_deploy/other")).unwrap();
    nginx.reload_until(&world, "/_deploy/other", 200);
    refused(&world, "nginx-unproved");
    let elsewhere = tests::ports::claim();
    let listen = format!("listen {};", world.listen("dev"));
    fs::write(&block, text.replace(&listen, &format!("listen {};", elsewhere.0))).unwrap();
    nginx.reload();
    while std::net::TcpStream::connect(world.listen("dev")).is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    refused(&world, "nginx-elsewhere");
    let stranger = std::net::TcpListener::bind(world.listen("dev")).unwrap();
    refused(&world, "port-taken");
    drop(stranger);
    fs::write(&block, text).unwrap();
    nginx.reload();
    while world.try_get("dev", "/_deploy/gateway").is_none_or(|(status, _)| status != 200) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    world.run("deploy", &["dev"]).ok();
    assert_serves(&world, "v1");
}

#[test]
fn a_file_of_ours_that_somebody_edited_or_a_broken_one_of_theirs() {
    let Some((world, nginx)) = serving("reload") else { return };
    world.release("v2");
    let ours = world.state().join("dev/gateway/nginx.conf");
    let text = fs::read_to_string(&ours).unwrap();
    fs::write(&ours, format!("{text}# a word\n")).unwrap();
    refused(&world, "nginx-edited");
    fs::write(&ours, &text).unwrap();
    let theirs = nginx.path().join("conf.d/theirs.conf");
    fs::write(&theirs, "server { listen 127.0.0.1:1; no_such_directive on; }\n").unwrap();
    let detail = refused(&world, "nginx-refuses");
    assert!(detail.contains("no_such_directive"), "{detail}");
    fs::remove_file(&theirs).unwrap();
    assert_eq!(world.get("dev", "/").1, "v1");
    world.run("deploy", &["dev"]).ok();
    assert_serves(&world, "v2");
}

/// Broken after the gates, just before the switch.
#[test]
fn a_configuration_that_breaks_meanwhile_leaves_the_former_file_and_release() {
    let Some((world, nginx)) = serving("reload") else { return };
    let ours = world.state().join("dev/gateway/nginx.conf");
    let before = fs::read_to_string(&ours).unwrap();
    let theirs = nginx.path().join("conf.d/theirs.conf");
    world.release("v2");
    let fault = format!("deploy:cutover.before-switch#1=run:echo 'oops;' > {}", theirs.display());
    let mut deploy = world.command("deploy", &["dev"]);
    let ran = Ran::of(deploy.env("DEPLOY_FAULT", fault).output().unwrap());
    let report = ran.ended_with(1, "nginx-refuses");
    assert!(report.problem.unwrap().detail.unwrap().contains("oops"));
    assert_eq!(fs::read_to_string(&ours).unwrap(), before);
    fs::remove_file(&theirs).unwrap();
    assert_serves(&world, "v1");
    world.run("deploy", &["dev"]).ok();
    assert_serves(&world, "v2");
}

#[test]
fn a_socket_that_nginx_may_not_use_is_found_before_traffic_moves() {
    if !rustix::process::getuid().is_root() {
        return tests::skipped("nginx's workers are another user only where root starts it");
    }
    let Some((world, _nginx)) = serving("symlink") else { return };
    world.faulty("{\"socket_umask\": 127}");
    let report = world.run("deploy", &["dev"]).ended_with(1, "socket-refused");
    let detail = report.problem.unwrap().detail.unwrap();
    assert!(detail.contains("green/app.sock: mode 0600"), "{detail}");
    assert_serves(&world, "v1");
    world.mend("v2");
    world.run("deploy", &["dev"]).ok();
    assert_serves(&world, "v2");
}

#[test]
fn a_command_that_is_not_there_and_an_environment_without_nginx() {
    let Some((world, nginx)) = serving("reload") else { return };
    world.configure(&nginx.command(), "/nowhere/nginx");
    world.release("v2");
    refused(&world, "nginx-missing");
    assert_eq!(world.run("deploy", &["init", "--nginx", "prod"]).status, 2);
}

#[test]
fn the_doctor_says_which_way_suits_the_app() {
    let Some((world, _nginx)) = serving("reload") else { return };
    let advice =
        |world: &World| world.run("deploy", &["doctor"]).report().details["deploy"]["notes"].to_string();
    assert!(advice(&world).contains("suits any app"), "{}", advice(&world));
    world.configure("python3 -S -E app.py", "gunicorn --bind $BIND wsgi:app");
    assert!(advice(&world).contains("gunicorn can listen on a unix socket"), "{}", advice(&world));
}
