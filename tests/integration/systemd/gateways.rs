//! The gateway as units: its upgrade, and a change of what keeps everything.

use tests::host::Host;
use tests::load::{Load, Plan};
use tests::world::World;

use super::enabled;

fn enabled_gateway(host: &Host) -> String {
    host.says("cd /etc/systemd/system && ls multi-user.target.wants | grep gateway || true")
}

#[test]
fn a_gateway_of_another_build_is_replaced_without_a_lost_request() {
    let Some(host) = Host::boot() else { return };
    let world = World::on(&host, "systemd");
    world.release("v1");
    world.deploy_by_other_installation("dev");
    assert_eq!(enabled_gateway(&host), "tinyapp-dev-gateway@a.service");
    let old = world.status("dev")["gateway"]["pid"].clone();
    let load = Load::start(world.listen("dev"), Plan::mixed());
    load.wait_for(2);
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    load.wait_for(3);
    assert_ne!(world.status("dev")["gateway"]["pid"], old);
    assert_eq!(enabled_gateway(&host), "tinyapp-dev-gateway@b.service");
    load.stop().assert_nothing_lost();
    world.run("status", &["dev"]).ok();
}

#[test]
fn a_renewal_that_was_cut_off_is_finished_by_the_next_command() {
    let Some(host) = Host::boot() else { return };
    let world = World::on(&host, "systemd");
    world.release("v1");
    world.deploy_by_other_installation("dev");
    let load = Load::start(world.listen("dev"), Plan::mixed());
    world.release("v2");
    let fault = "deploy:gateway.successor-started#1";
    let killed = world.command("deploy", &["dev"]).env("DEPLOY_FAULT", fault).output().unwrap();
    assert!(!killed.status.success());
    load.wait_for(2);
    world.run("verify", &["dev"]).ok();
    load.wait_for(2);
    assert_eq!(world.status("dev")["gateway_orphaned"], false);
    assert_eq!(enabled_gateway(&host), "tinyapp-dev-gateway@b.service");
    world.run("deploy", &["dev"]).ok();
    load.wait_for(2);
    load.stop().assert_nothing_lost();
}

/// The public address changes hands once each way, so that a connection may be refused there.
#[test]
fn the_supervisor_may_change_both_ways() {
    let Some(host) = Host::boot() else { return };
    let world = World::on(&host, "systemd");
    world.configure("supervisor = \"systemd\"\n", "");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.configure("ready_timeout", "supervisor = \"systemd\"\nready_timeout");
    assert_eq!(world.status("dev")["instance"]["condition"], "running");
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(
        (world.get("dev", "/").1.as_str(), enabled(&host).as_str()),
        ("v2", "tinyapp-dev@green.service")
    );
    world.run("status", &["dev"]).ok();
    world.release("v3");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(host.sh("pgrep -x deploy-keeper").stdout, "", "no keeper is left");
    world.configure("supervisor = \"systemd\"\n", "");
    world.release("v4");
    world.run("deploy", &["dev"]).ok();
    assert_eq!((world.get("dev", "/").1.as_str(), enabled(&host).as_str()), ("v4", ""));
    world.run("verify", &["dev"]).ok();
    assert_eq!(enabled_gateway(&host), "");
    world.release("v5");
    world.run("deploy", &["dev"]).ok();
    world.run("status", &["dev"]).ok();
}
