//! Not one lost request under systemd, whatever the gateway.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use tests::campaign;
use tests::host::Host;
use tests::load::Tally;
use tests::nginx::Nginx;
use tests::world::World;

/// The long form is run by hand: `SOAK=1 cargo test`. The short one has the faults behind the cutover.
fn count() -> (usize, usize) {
    if std::env::var_os("SOAK").is_some() { (0, 50) } else { (campaign::SHORT - 2, 2) }
}

fn measure(world: &World, gateway: &str, lost_at_most_races: bool) {
    let (first, rounds) = count();
    let tally: Tally = campaign::measure(world, "dev", first, rounds);
    let races = if lost_at_most_races { tally.assert_only_races_lost() } else { 0 };
    if !lost_at_most_races {
        tally.assert_nothing_lost();
    }
    let operations = rounds * 4;
    tests::tell(&format!(
        "systemd, {gateway}: {operations} operations, requests {:?}, lost 0, races {races}",
        tally.ok
    ));
}

#[test]
fn nothing_is_lost_under_systemd() {
    let Some(host) = Host::boot() else { return };
    measure(&World::on(&host, "systemd"), "builtin", false);
}

fn behind_nginx(switch: &str, lost_at_most_races: bool) {
    let Some(host) = Host::boot() else { return };
    // nginx's workers are not root, and pass here to the sockets.
    fs::set_permissions(host.dir(), Permissions::from_mode(0o755)).unwrap();
    let world = World::on(&host, "systemd");
    let Some(_nginx) = Nginx::serving(&world, switch) else { return };
    measure(&world, &format!("nginx by {switch}"), lost_at_most_races);
}

#[test]
fn nothing_is_lost_under_systemd_behind_nginx_by_reload_but_races_for_idle_connections() {
    behind_nginx("reload", true);
}

#[test]
fn nothing_is_lost_under_systemd_behind_nginx_by_symlink() {
    behind_nginx("symlink", false);
}
