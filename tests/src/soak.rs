//! The long way of any combination of supervisor and gateway: good and bad deployments and rollbacks,
//! under a load that never retries.

use crate::load::{Cutover, Load, Plan};
use crate::tell;
use crate::world::World;

/// Each fails at another stage.
const FAULTS: [&str; 4] = [
    "{\"exit_at_start\": 1}",
    "{\"status\": {\"/\": 500}}",
    "{\"die_after_ms\": 0}",
    "{\"health_status\": 500}",
];

/// How many rounds: the long form is run by hand, `SOAK=1 cargo test`.
pub fn rounds() -> usize {
    if std::env::var_os("SOAK").is_some() { 50 } else { 1 }
}

/// In each round four bad deployments, a good one after each, and two rollbacks; `dev` has served
/// nothing before.
///
/// # Panics
/// When a request is lost, an old release answers after a newer one, or a command ends otherwise than
/// it should.
pub fn soak(world: &World, rounds: usize) {
    world.write("verify.toml", "[routes]\n\"/\" = \"200 v\"\n");
    world.configure("ready_timeout = \"20s\"", "ready_timeout = \"5s\"");
    let first = world.release("v0");
    world.run("deploy", &["dev"]).ok();
    let load = Load::start(world.listen("dev"), Plan { write: 1, ..Plan::mixed() });
    let mut cutovers = vec![Cutover::now(&first)];
    for round in 0..rounds {
        for (number, fault) in FAULTS.iter().enumerate() {
            world.faulty(fault);
            let ran = world.run("deploy", &["dev"]);
            assert_eq!(ran.status, 1, "{fault}: {}", ran.stdout);
            let revision = world.mend(&format!("v{round}-{number}"));
            world.run("deploy", &["dev"]).ok();
            cutovers.push(Cutover::now(&revision));
            load.wait_for(1);
        }
        for _ in 0..2 {
            let serving =
                world.run("rollback", &["dev", "--last"]).ok().report().serving.expect("a revision");
            cutovers.push(Cutover::now(&serving));
            load.wait_for(1);
        }
    }
    let tally = load.stop();
    tally.assert_nothing_lost();
    assert_eq!(tally.stale_answers_among(&cutovers), []);
    let rows = world.get("dev", "/rows").1;
    assert_eq!(rows, tally.acknowledged.len().to_string(), "acknowledged writes");
    tell(&format!("{} cutovers, requests {:?}, lost 0", cutovers.len() - 1, tally.ok));
}
