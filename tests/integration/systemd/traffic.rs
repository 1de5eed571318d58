//! Not one lost request under systemd.

use tests::host::Host;
use tests::soak;
use tests::world::World;

#[test]
fn nothing_is_lost_under_systemd() {
    let Some(host) = Host::boot() else { return };
    soak::soak(&World::on(&host, "systemd"), soak::rounds());
}
