//! Not one lost request: many cutovers and rollbacks under a load that never retries.

use std::sync::Mutex;

use tests::campaign;
use tests::load::{Cutover, Load, Plan};
use tests::world::World;

/// The long form is run by hand: `SOAK=1 cargo test`.
fn rounds() -> usize {
    if std::env::var_os("SOAK").is_some() { 500 } else { 50 }
}

/// Heavy tests of this file take turns: each fills both processors.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn nothing_is_lost_through_fifty_cutovers_and_fifty_rollbacks() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let world = World::new();
    world.release("even");
    let even = world.run("deploy", &["dev"]).ok().report().serving.unwrap();
    let odd = world.release("odd");
    world.run("deploy", &["dev"]).ok();
    let load = Load::start(world.listen("dev"), Plan { slow_path: "/slow/300".into(), ..Plan::mixed() });
    let mut cutovers = vec![Cutover::now(&odd)];
    load.wait_for(1);
    for _ in 0..rounds() {
        world.run("rollback", &["dev", "--to-commit", &even]).ok();
        cutovers.push(Cutover::now(&even));
        load.wait_for(1);
        world.run("rollback", &["dev", "--to-commit", &odd]).ok();
        cutovers.push(Cutover::now(&odd));
        load.wait_for(1);
    }
    let tally = load.stop();
    tally.assert_nothing_lost();
    assert_eq!(tally.stale_answers_among(&cutovers), [], "an old release answered after a new one");
    tests::tell(&format!("{} cutovers, requests {:?}, lost 0", 2 * rounds(), tally.ok));
}

#[test]
fn nothing_is_lost_through_good_and_bad_deployments_and_rollbacks() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let rounds = if std::env::var_os("SOAK").is_some() { 50 } else { campaign::SHORT };
    campaign::run(&World::new(), "dev", rounds);
}

#[test]
fn a_five_second_request_is_answered_by_the_release_that_took_it() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let address = world.listen("dev");
    let long = std::thread::spawn(move || tests::http::request(address, "GET", "/slow/5000").unwrap());
    while world.status("dev")["gateway"]["in_flight"] == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    world.release("v2");
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(long.join().unwrap(), (200, "v1".into()));
    assert_eq!(report.details["deploy"]["drain"]["requests_cut"], 0);
    assert_eq!(report.details["deploy"]["drain"]["drained"], true);
    assert_eq!(world.get("dev", "/").1, "v2");
}
