//! Not one lost request: deployments, good and bad, and rollbacks behind nginx, under a load that
//! never retries. A reload closes idle connections, which a client may be about to use: that race is
//! nginx's own, counted apart, and must not happen in the symlink way.

use tests::campaign;
use tests::load::{Load, Plan, Tally};

use super::{serving, world};

/// Of the faults, those behind the cutover, where the gateway comes in.
const BEHIND_THE_CUTOVER: usize = campaign::SHORT - 2;

/// The long form is run by hand: `SOAK=1 cargo test`.
fn is_long() -> bool {
    std::env::var_os("SOAK").is_some()
}

/// Good deployments, failing ones and rollbacks; gives how many as well.
fn switch_under_load(switch: &str) -> Option<(usize, Tally)> {
    let (world, _nginx) = world(switch)?;
    let (first, rounds) = if is_long() { (0, 50) } else { (BEHIND_THE_CUTOVER, 2) };
    Some((rounds * 4, campaign::measure(&world, "dev", first, rounds)))
}

#[test]
fn nothing_is_lost_by_symlink() {
    let Some((count, tally)) = switch_under_load("symlink") else { return };
    tally.assert_nothing_lost();
    tests::tell(&format!("symlink: {count} operations, requests {:?}, lost 0", tally.ok));
}

#[test]
fn nothing_is_lost_by_reload_but_races_for_idle_connections() {
    let Some((count, tally)) = switch_under_load("reload") else { return };
    let races = tally.assert_only_races_lost();
    tests::tell(&format!("reload: {count} operations, requests {:?}, lost 0, races {races}", tally.ok));
}

/// What old nginx does with idle connections at a reload, and newer does not.
#[test]
fn a_newer_nginx_closes_no_idle_connection_that_is_about_to_be_used() {
    let Some((world, nginx)) = serving("reload") else { return };
    let load = Load::start(world.listen("dev"), Plan { keep_alive: 16, ..Plan::default() });
    let reloads = if is_long() { 200 } else { 10 };
    for _ in 0..reloads {
        nginx.reload();
        load.wait_for(20);
    }
    let tally = load.stop();
    let races = tally.assert_only_races_lost();
    let block = std::fs::read_to_string(world.state().join("dev/gateway/server.conf")).unwrap();
    let is_newer = block.contains("\n    keepalive_min_timeout");
    assert!(races == 0 || !is_newer, "{races} races");
    tests::tell(&format!("{reloads} reloads, requests {:?}, races {races}, newer: {is_newer}", tally.ok));
}
