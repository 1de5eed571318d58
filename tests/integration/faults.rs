//! Every fault point of every command that changes something: the run is broken there in each way,
//! under load; then `status` says what happened, the next command, whichever it is, makes the
//! environment whole again, and the right commit can be deployed.
//!
//! Here each point of a deployment is broken in one way, the ways taking turns, and every fourth
//! of the rest; with `SOAK=1` each point in all ways.

pub(crate) mod scenario;
mod sources;
mod table;
mod trial;

use std::fs;
use std::path::Path;

use tests::disk::{Disk, with_own_mounts};
use tests::fault::{Act, Kind, deployment_of};
use tests::keepers::await_end_below;
use tests::load::{Load, Plan};
use tests::world::World;

use scenario::Scenario;
use table::Table;
use trial::Trial;

/// In the short form, how many points there are for each at which the disk fills up.
const FULL_STRIDE: usize = 10;

/// Breaks the share `shard` of a scenario's points in a world that has room, and reads and writes.
fn break_everywhere(mut scenario: Scenario, shard: (usize, usize)) {
    let world = World::new();
    let points = scenario.points(&world);
    let plan = Plan { fresh: 1, keep_alive: 1, write: 1, ..Plan::default() };
    let load = Load::start(world.listen("dev"), plan);
    let mut table = Table::new(scenario.name(), points.len());
    let stride = if is_long() { 1 } else { scenario.stride() } * shard.1;
    for (turn, (number, point)) in points.iter().enumerate().skip(shard.0).step_by(stride).enumerate() {
        let short = [Kind::ANYWHERE[turn % Kind::ANYWHERE.len()]];
        for kind in if is_long() { &Kind::ANYWHERE[..] } else { &short } {
            let trial = Trial { world: &world, point, kind: *kind, disk: None, number };
            table.add(*kind, &trial.run(&mut scenario));
        }
    }
    let tally = load.stop();
    tally.assert_nothing_lost();
    assert_eq!(world.get("dev", "/rows").1, tally.acknowledged.len().to_string(), "acknowledged writes");
    table.tell(&tally);
}

fn is_long() -> bool {
    std::env::var_os("SOAK").is_some()
}

#[test]
fn a_deploy_broken_at_every_point_is_recovered_by_the_next_command_first_half() {
    break_everywhere(Scenario::deploy(), (0, 2));
}

#[test]
fn a_deploy_broken_at_every_point_is_recovered_by_the_next_command_second_half() {
    break_everywhere(Scenario::deploy(), (1, 2));
}

#[test]
fn an_undo_broken_at_every_point_is_finished_by_the_next_command() {
    break_everywhere(Scenario::undo(), (0, 1));
}

#[test]
fn a_recovery_broken_at_every_point_is_finished_by_the_next_command() {
    break_everywhere(Scenario::recovery(), (0, 1));
}

#[test]
fn a_rollback_broken_at_every_point_is_recovered_by_the_next_command() {
    for scenario in Scenario::rollbacks() {
        break_everywhere(scenario, (0, 1));
    }
}

#[test]
fn a_standstill_broken_at_every_point_is_ended_by_the_next_command() {
    for scenario in Scenario::standstills() {
        break_everywhere(scenario, (0, 1));
    }
}

#[test]
fn migrations_and_backups_by_hand_broken_at_every_point_are_recovered_by_the_next_command() {
    for scenario in Scenario::by_hand() {
        break_everywhere(scenario, (0, 1));
    }
}

/// Reads go on while the disk is full; writes cannot.
fn fill_everywhere(mut scenario: Scenario) {
    let disk = Disk::small(112);
    let world = World::within(&disk.mount());
    let points = scenario.points(&world);
    let load = Load::start(world.listen("dev"), Plan { fresh: 1, keep_alive: 1, ..Plan::default() });
    let mut table = Table::new(scenario.name(), points.len());
    for (number, point) in points.iter().enumerate().step_by(if is_long() { 1 } else { FULL_STRIDE }) {
        let trial = Trial { world: &world, point, kind: Kind::NoSpace, disk: Some(&disk), number };
        table.add(Kind::NoSpace, &trial.run(&mut scenario));
    }
    let tally = load.stop();
    tally.assert_nothing_lost();
    table.tell(&tally);
    drop(world);
}

#[test]
fn a_deploy_whose_disk_fills_up_at_any_point_is_recovered_by_the_next_command() {
    with_own_mounts(
        "faults::a_deploy_whose_disk_fills_up_at_any_point_is_recovered_by_the_next_command",
        || fill_everywhere(Scenario::deploy()),
    );
}

#[test]
fn other_commands_whose_disk_fills_up_at_any_point_are_recovered_by_the_next_command() {
    with_own_mounts(
        "faults::other_commands_whose_disk_fills_up_at_any_point_are_recovered_by_the_next_command",
        || {
            for scenario in Scenario::others() {
                fill_everywhere(scenario);
            }
        },
    );
}

/// Room for the record is made where the log of what ran in the slot before is removed; here there
/// is none.
#[test]
fn a_keeper_without_room_for_its_record_leaves_nothing_running_in_its_slot() {
    with_own_mounts(
        "faults::a_keeper_without_room_for_its_record_leaves_nothing_running_in_its_slot",
        || {
            let disk = Disk::small(112);
            let world = World::within(&disk.mount());
            for version in ["v1", "v2"] {
                world.release(version);
                world.run("deploy", &["dev"]).ok();
            }
            let slot = world.state().join("dev/slots/blue");
            fs::remove_file(slot.join("app.log")).unwrap();
            world.release("v3");
            let full = Kind::NoSpace.at("deploy:instance.before-start#1", &disk.fill_command());
            let (ran, _) = Act::new("deploy", &["dev"]).run(&world, Some(&full));
            let problem = ran.report().problem.unwrap();
            assert_eq!((ran.status, problem.kind.as_str()), (1, "not-started"), "{ran:?}");
            assert!(problem.title.contains("could not write"), "{ran:?}");
            assert_eq!(world.get("dev", "/").1, "v2");
            // A keeper is told its slot, an instance its release.
            await_end_below(&slot);
            await_end_below(Path::new(&deployment_of(&ran).unwrap()));
            disk.empty();
            world.run("deploy", &["dev"]).ok();
            assert_eq!(world.get("dev", "/").1, "v3");
            drop(world);
        },
    );
}
