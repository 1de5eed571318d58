//! The nginx gateway, with a real nginx in both its ways: deployments, rollbacks, and what an
//! operator may have done to it. What must hold before anything is changed is in `nginx/gates.rs`,
//! what a kill at any moment leaves in `nginx/broken.rs`, the load in `nginx/traffic.rs`.

mod broken;
mod gates;
mod telling;
mod traffic;

use std::fs;
use std::thread::JoinHandle;
use std::time::Duration;

use common::report::Outcome;
use tests::nginx::Nginx;
use tests::ran::Ran;
use tests::world::World;

/// A world whose `dev` nginx serves, without a release yet.
fn world(switch: &str) -> Option<(World, Nginx)> {
    let world = World::new();
    let nginx = Nginx::serving(&world, switch)?;
    Some((world, nginx))
}

/// The same with v1, verified.
fn serving(switch: &str) -> Option<(World, Nginx)> {
    let (world, nginx) = world(switch)?;
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    Some((world, nginx))
}

/// Both the gateway and the ledger say that this release serves, and it does.
fn assert_serves(world: &World, version: &str) {
    assert_eq!(world.get("dev", "/"), (200, version.into()));
    let status = world.status("dev");
    assert_eq!(status["gateway"]["active"]["deployment"], status["deployment"], "{status}");
    assert_eq!((&status["identity"], &status["unfinished"]), (&"new".into(), &serde_json::json!([])));
}

fn serve_two_releases(switch: &str) {
    let Some((world, nginx)) = world(switch) else { return };
    assert_eq!(world.get("dev", "/").0, 503);
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    assert_serves(&world, "v1");
    world.release("v2");
    let second = world.run("deploy", &["dev"]).ok().report();
    assert_serves(&world, "v2");
    let drain = &second.details["deploy"]["drain"];
    assert_eq!((&drain["drained"], &drain["requests_cut"]), (&true.into(), &0.into()), "{drain}");
    assert_eq!(world.run("status", &["dev"]).status, 0);
    let loaded: serde_json::Value = serde_json::from_str(&world.get("dev", "/_deploy/gateway").1).unwrap();
    if switch == "reload" {
        assert_eq!(loaded["active"]["deployment"], second.deployment.unwrap().as_str());
    } else {
        assert_eq!(loaded["sockets"], nginx.sockets().to_str().unwrap());
        assert_eq!(
            fs::read_link(nginx.sockets().join("current.sock")).unwrap().to_str(),
            Some("green/app.sock")
        );
    }
    let back = world.run("rollback", &["dev", "--last"]).ok().report();
    assert_eq!(back.details["rollback"]["warm"], true);
    assert_serves(&world, "v1");
    // The third goes where v2 was.
    world.release("v3");
    world.run("deploy", &["dev"]).ok();
    let back = world.run("rollback", &["dev", "--to-commit", &second.serving.unwrap()]).ok().report();
    assert_eq!(back.details["rollback"]["warm"], false);
    assert_serves(&world, "v2");
}

#[test]
fn deployments_and_rollbacks_warm_and_cold_by_reload() {
    serve_two_releases("reload");
}

#[test]
fn deployments_and_rollbacks_warm_and_cold_by_symlink() {
    serve_two_releases("symlink");
}

fn fail_a_release(switch: &str) {
    let Some((world, _nginx)) = world(switch) else { return };
    world.write("verify.toml", "[routes]\n\"/\" = \"200 v\"\n");
    world.faulty("{\"status\": {\"/\": 500}}");
    let first = world.run("deploy", &["dev"]);
    assert_eq!((first.status, first.report().outcome), (1, Outcome::Failed));
    let (status, page) = world.get("dev", "/");
    assert_eq!((status, page.as_str()), (503, "not available at the moment\n"));
    world.mend("v1");
    world.run("deploy", &["dev"]).ok();
    world.faulty("{\"die_after_ms\": 0}");
    assert_eq!(world.run("deploy", &["dev"]).status, 1);
    assert_serves(&world, "v1");
}

#[test]
fn a_failed_release_leaves_what_was_by_reload() {
    fail_a_release("reload");
}

#[test]
fn a_failed_release_leaves_what_was_by_symlink() {
    fail_a_release("symlink");
}

#[test]
fn nothing_serves_is_said_with_a_time_to_come_back() {
    let Some((world, _nginx)) = world("reload") else { return };
    let (status, head) = tests::http::head(world.listen("dev"), "/").unwrap();
    assert_eq!(status, 503);
    assert!(head.to_lowercase().contains("\r\nretry-after: 5"), "{head}");
    assert_eq!(world.get("dev", "/_deploy/health").0, 404);
}

/// Another way of switching, also back, is taken by the next deployment without a gap.
#[test]
fn the_way_of_switching_may_change_between_deployments() {
    let Some((world, _nginx)) = serving("reload") else { return };
    for (from, to, version) in [("reload", "symlink", "v2"), ("symlink", "reload", "v3")] {
        world.configure(&format!("switch = \"{from}\""), &format!("switch = \"{to}\""));
        let load = tests::load::Load::start(
            world.listen("dev"),
            tests::load::Plan { fresh: 2, ..tests::load::Plan::default() },
        );
        world.release(version);
        world.run("deploy", &["dev"]).ok();
        load.wait_for(2);
        assert_serves(&world, version);
        world.run("rollback", &["dev", "--last"]).ok();
        load.wait_for(2);
        load.stop().assert_nothing_lost();
        world.run("deploy", &["dev"]).ok();
        assert_serves(&world, version);
    }
}

#[test]
fn the_address_that_proves_a_switch_is_for_this_host_alone() {
    let Some((world, _nginx)) = serving("reload") else { return };
    let address = world.listen("dev");
    let url = format!("http://{address}/_deploy/gateway");
    let ask = |from: &str| {
        let args = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--interface", from, &url];
        let output = std::process::Command::new("curl").args(args).output().expect("curl");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!((ask("127.0.0.1"), ask("127.0.0.2")), ("200".into(), "404".into()));
}

#[test]
fn a_watch_counts_what_nginx_answers() {
    let Some((world, _nginx)) = serving("symlink") else { return };
    world.configure("gateway = \"nginx\"\n", "gateway = \"nginx\"\nwatch = \"20s\"\n");
    world.release("v2");
    let mut deploy = world.command("deploy", &["dev"]);
    let deploy = deploy.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let deploy = deploy.spawn().unwrap();
    while world.get("dev", "/").1 != "v2" {
        std::thread::sleep(Duration::from_millis(5));
    }
    while world.get("dev", "/").1 == "v2" {
        world.get("dev", "/boom");
    }
    let report = Ran::of(deploy.wait_with_output().unwrap()).refused("watch-failed");
    assert!(report.details["deploy"]["watch"]["server_errors"].as_u64().unwrap() >= 5, "{report:?}");
    assert_serves(&world, "v1");
    assert_eq!(world.status("dev")["gateway"].get("requests"), None, "it counts only while it is watched");
}

#[test]
fn a_lost_ledger_learns_from_nginx_what_serves() {
    for switch in ["reload", "symlink"] {
        let Some((world, mut nginx)) = serving(switch) else { return };
        let serving = world.status("dev")["deployment"].clone();
        for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm", "deployments.log"] {
            let _ = fs::remove_file(world.state().join(file));
        }
        assert_eq!(world.status("dev")["deployment"], serving);
        // Our own file says it too.
        nginx.stop();
        assert_eq!(world.status("dev")["deployment"], serving);
        nginx.start(&world);
        world.release("v2");
        world.run("deploy", &["dev"]).ok();
        assert_serves(&world, "v2");
    }
}

#[test]
fn what_a_reboot_took_is_brought_back() {
    let Some((world, nginx)) = serving("symlink") else { return };
    tests::keepers::end_below(&world.state());
    tests::keepers::await_end_below(&world.state());
    fs::remove_dir_all(nginx.sockets()).unwrap();
    assert_eq!(world.get("dev", "/").0, 503);
    world.run("backup", &["dev", "create"]);
    assert_serves(&world, "v1");
}

/// Requests longer than `drain` are not cut by nginx, but when their instance is told to end; an app
/// that then finishes them is better than it must be.
#[test]
fn what_is_not_answered_when_the_old_instance_ends_is_counted() {
    for switch in ["reload", "symlink"] {
        let Some((world, _nginx)) = serving(switch) else { return };
        world.configure(
            "gateway = \"nginx\"\n",
            "gateway = \"nginx\"\ndrain = \"300ms\"\nkeep_warm = false\n",
        );
        world.release("v2");
        let body = world.path().join("body");
        // From just before the switch, and longer than what comes until the old instance ends.
        let url = format!("http://{}/slow/5000", world.listen("dev"));
        let ask = format!("curl --silent --output {} {url} & sleep 0.5", body.display());
        let mut deploy = world.command("deploy", &["dev"]);
        deploy.env("DEPLOY_FAULT", format!("deploy:cutover.before-switch#1=run:{ask}"));
        let report = Ran::of(deploy.output().unwrap()).ok().report();
        let (drain, retired) = (&report.details["deploy"]["drain"], &report.details["deploy"]["retired"]);
        assert_eq!((&drain["drained"], &drain["in_flight"]), (&false.into(), &1.into()), "{drain}");
        assert_eq!(retired["requests_cut"], 1, "{retired}");
        // The tiny app finishes it all the same before it ends.
        assert_eq!(fs::read_to_string(body).unwrap(), "v1");
        assert_serves(&world, "v2");
    }
}

/// A request that has reached the instance when this returns.
fn ask_slowly(world: &World, milliseconds: u32) -> JoinHandle<std::io::Result<(u16, String)>> {
    let (public, path) = (world.listen("dev"), format!("/slow/{milliseconds}"));
    let private = world.status("dev")["instance"]["address"].as_str().unwrap().parse().unwrap();
    let long = std::thread::spawn(move || tests::http::request(public, "GET", &path));
    while common::identity::connections(&private).unwrap() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    long
}

#[test]
fn a_long_request_is_answered_by_the_release_that_took_it() {
    for switch in ["reload", "symlink"] {
        let Some((world, _nginx)) = serving(switch) else { return };
        world.release("v2");
        let long = ask_slowly(&world, 2500);
        let report = world.run("deploy", &["dev"]).ok().report();
        let drain = &report.details["deploy"]["drain"];
        assert_eq!((&drain["drained"], &drain["in_flight"]), (&true.into(), &0.into()), "{drain}");
        assert_eq!(long.join().unwrap().unwrap(), (200, "v1".into()));
        assert_serves(&world, "v2");
    }
}

/// nginx cannot keep requests waiting; a run that is killed meanwhile leaves nothing closed for good.
#[test]
fn maintenance_is_a_page_and_ends_with_the_next_command() {
    for switch in ["reload", "symlink"] {
        let Some((world, _nginx)) = serving(switch) else { return };
        let config = common::config::load(Some(&world.checkout().join("deploy.toml"))).unwrap();
        let place = common::layout::Place::new(&config, "dev");
        let gateway = common::gateway::Gateway::of(&place, &config.environments["dev"]);
        assert!(!gateway.can_hold());
        gateway.hold(Duration::from_secs(1)).unwrap();
        let (status, head) = tests::http::head(world.listen("dev"), "/").unwrap();
        assert!(status == 503 && head.to_lowercase().contains("\r\nretry-after: 5"), "{head}");
        assert_eq!(gateway.status().unwrap().active, None);
        gateway.release().unwrap();
        assert_serves(&world, "v1");
        gateway.hold(Duration::from_secs(1)).unwrap();
        assert_eq!(world.get("dev", "/").0, 503);
        world.run("backup", &["dev", "create"]);
        assert_serves(&world, "v1");
    }
}

/// Two releases never run at once: nginx shows a page meanwhile.
#[test]
fn a_standstill_behind_nginx_ends_with_the_new_release() {
    for switch in ["reload", "symlink"] {
        let Some((world, _nginx)) = serving(switch) else { return };
        world.release("v2");
        world.run("deploy", &["dev", "--hold"]).ok();
        assert_serves(&world, "v2");
        world.write("verify.toml", "[routes]\n\"/\" = \"200 v\"\n");
        world.faulty("{\"status\": {\"/\": 500}}");
        assert_eq!(world.run("deploy", &["dev", "--hold"]).status, 1);
        assert_serves(&world, "v2");
    }
}
