//! A reboot brings back what served, without any command of ours.

use std::time::{Duration, Instant};

use tests::host::Host;
use tests::world::World;

use super::{enabled, serving_unit};

const SOON: Duration = Duration::from_secs(20);

pub(super) fn await_answer(world: &World, wanted: &str) {
    let begun = Instant::now();
    loop {
        let answer = tests::http::request(world.listen("dev"), "GET", "/");
        if answer.as_ref().is_ok_and(|(status, text)| (*status, text.as_str()) == (200, wanted)) {
            return;
        }
        assert!(begun.elapsed() < SOON, "{answer:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_reboot_leads_to_the_release_that_served() {
    let Some(mut host) = Host::boot() else { return };
    let mut world = World::on(&host, "systemd");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    for served in ["v2", "v1"] {
        host.reboot();
        world.reenter(&host);
        await_answer(&world, served);
        world.run("status", &["dev"]).ok();
        world.run("verify", &["dev"]).ok();
        let active = host
            .says("systemctl list-units --state=active --plain --no-legend 'tinyapp-dev@*' | cut -d' ' -f1");
        assert_eq!((active.as_str(), enabled(&host)), (serving_unit(&world).as_str(), serving_unit(&world)));
        if served == "v2" {
            world.run("rollback", &["dev", "--last"]).ok();
        }
    }
    world.release("v3");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v3");
}
