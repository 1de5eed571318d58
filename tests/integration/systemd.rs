//! Whole deployments under a real systemd, on a host of the test's own.

use tests::host::Host;
use tests::world::World;

#[test]
fn deployments_run_in_units_and_a_failed_start_leaves_the_old_one_serving() {
    let Some(host) = Host::boot() else { return };
    let world = World::on(&host, "systemd");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v1");
    assert_eq!(host.says("systemctl is-active tinyapp-dev@blue"), "active");
}
