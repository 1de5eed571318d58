//! What is killed under systemd: instances, gateways, and a deployment at any point.

use std::time::{Duration, Instant};

use super::{enabled, main_pid, serving, serving_unit};

const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_killed_instance_or_gateway_is_started_again_and_status_tells() {
    let Some((host, world)) = serving() else { return };
    let pid = main_pid(&host, "tinyapp-dev@blue");
    host.says(&format!("kill -9 {pid}"));
    let begun = Instant::now();
    while world.status("dev")["instance"]["restarts"] != 1 {
        assert!(begun.elapsed() < SOON, "{}", world.status("dev"));
    }
    assert_ne!(main_pid(&host, "tinyapp-dev@blue"), pid);
    world.run("verify", &["dev"]).ok();
    let gateway = world.status("dev")["gateway"]["pid"].to_string();
    host.says(&format!("kill -9 {gateway}"));
    // Connections wait in the socket of the unit.
    assert_eq!(world.get("dev", "/"), (200, "v1".into()));
    assert_ne!(world.status("dev")["gateway"]["pid"].to_string(), gateway);
    world.run("status", &["dev"]).ok();
}

#[test]
fn a_deployment_killed_anywhere_is_undone_by_the_next_command() {
    let Some((host, world)) = serving() else { return };
    world.release("v2");
    for point in [
        "instance.before-start",
        "undo.instance#2",
        "instance.ready",
        "cutover.before-switch",
        "cutover.after-switch",
        "drain",
        "remove.before",
        "remove.after",
    ] {
        let point = if point.contains('#') { point.to_owned() } else { format!("{point}#1") };
        let killed =
            world.command("deploy", &["dev"]).env("DEPLOY_FAULT", format!("deploy:{point}")).output();
        let killed = killed.unwrap();
        assert!(!killed.status.success(), "{point}: {}", String::from_utf8_lossy(&killed.stdout));
        assert_eq!(world.get("dev", "/").0, 200, "{point}");
        world.run("verify", &["dev"]).ok();
        assert_eq!(world.get("dev", "/").1, "v1", "{point}");
        assert_eq!(enabled(&host), serving_unit(&world), "{point}");
        world.run("status", &["dev"]).ok();
    }
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v2");
}
