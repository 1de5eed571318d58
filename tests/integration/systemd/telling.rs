//! The status server as a unit, and a hardened gateway that still reaches it.

use tests::host::Host;
use tests::ports;
use tests::world::World;

#[test]
fn the_status_server_is_a_unit_that_a_boot_brings_back_and_the_gateway_reaches() {
    let Some(mut host) = Host::boot() else { return };
    let mut world = World::on(&host, "systemd");
    let (own, _claim) = ports::claim();
    world.configure("[environments.dev]\n", &format!("[status]\nlisten = \"{own}\"\n\n[environments.dev]\n"));
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(host.says("systemctl is-active tinyapp-status"), "active");
    let healthy =
        |world: &World| world.try_get("dev", "/_deploy/health").is_some_and(|(status, _)| status == 200);
    let await_health = |world: &World, host: &Host| {
        let begun = std::time::Instant::now();
        while !healthy(world) {
            let told = world.try_get("dev", "/_deploy/health");
            assert!(
                begun.elapsed().as_secs() < 60,
                "{told:?}: {}",
                host.sh("journalctl -u tinyapp-status -n 20").stdout
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    await_health(&world, &host);
    let first = host.says("systemctl show -P MainPID tinyapp-status");
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(host.says("systemctl show -P MainPID tinyapp-status"), first, "it is left alone");
    let table = format!("[status]\nlisten = \"{own}\"\n");
    world.configure(&table, "");
    world.run("deploy", &["dev"]).ok();
    assert_ne!(host.sh("systemctl is-active tinyapp-status").stdout.trim(), "active");
    world.configure("[environments.dev]\n", &format!("{table}[environments.dev]\n"));
    world.run("deploy", &["dev"]).ok();
    host.reboot();
    world.reenter(&host);
    await_health(&world, &host);
}

#[test]
fn a_unit_of_that_name_that_somebody_else_wrote_is_left_alone() {
    let Some(host) = Host::boot() else { return };
    let world = World::on(&host, "systemd");
    host.sh("printf '[Service]\\nExecStart=/bin/sleep 1000\\n' > /etc/systemd/system/tinyapp-status.service");
    host.sh("systemctl daemon-reload && systemctl start tinyapp-status");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(host.says("systemctl is-active tinyapp-status"), "active");
}
