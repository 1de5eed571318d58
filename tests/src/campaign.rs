//! Many deployments in a row under a load that never retries: good ones, ones that fail at every
//! stage, and rollbacks. Nothing may be lost, whatever the gateway and the supervisor are.

use std::fs;
use std::time::Instant;

use common::report::Outcome;

use crate::fault::Act;
use crate::load::{Answer, Cutover, Load, Plan, Tally};
use crate::world::World;

/// How a deployment is made to fail, by the stage that notices.
const FAULTS: [Fault; 10] = [
    Fault::Gate,
    Fault::File("broken-build", "", "build-failed"),
    Fault::File("broken-tests", "", "tests-failed"),
    Fault::File("migrations/002_broken.up.sql", "INSERT INTO nowhere VALUES (1);\n", "migration-failed"),
    Fault::File("behaviour.json", "{\"exit_at_start\": 1}", "instance-exited"),
    Fault::File("behaviour.json", "{\"health_status\": 500}", "instance-unhealthy"),
    Fault::File("behaviour.json", "{\"status\": {\"/\": 500}}", "route-status"),
    Fault::File("behaviour.json", "{\"ignore_sigterm\": true, \"status\": {\"/\": 500}}", "route-status"),
    // Behind the cutover: interrupted, and killed, which the next command undoes.
    Fault::Signal("deploy:drain#1=sigterm"),
    Fault::Signal("deploy:cutover.after-switch#1=abort"),
];

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// A file that nobody committed.
    Gate,
    /// A file of the revision, its text, and the problem that it leads to.
    File(&'static str, &'static str, &'static str),
    /// A line of `DEPLOY_FAULT`.
    Signal(&'static str),
}

/// How many rounds show every fault once.
pub const SHORT: usize = FAULTS.len();

/// Each round is four operations: a good deployment, one that fails, a good one, a rollback.
///
/// # Panics
/// When one does not end as it should, or anything is lost or stale.
pub fn run(world: &World, environment: &str, rounds: usize) -> Tally {
    let tally = measure(world, environment, 0, rounds);
    tally.assert_nothing_lost();
    crate::tell(&format!("{} operations, requests {:?}, lost 0", rounds * 4, tally.ok));
    tally
}

/// The same, beginning with the fault of this number; what was lost is for the caller to judge.
///
/// # Panics
/// When an operation does not end as it should, or an answer is stale.
pub fn measure(world: &World, environment: &str, first: usize, rounds: usize) -> Tally {
    prepare(world);
    let mut campaign = Campaign { world, environment, version: 0, cutovers: Vec::new(), tries: Vec::new() };
    campaign.deploy();
    let load = Load::start(world.listen(environment), Plan { write: 1, ..Plan::mixed() });
    load.wait_for(1);
    for round in first..first + rounds {
        campaign.deploy();
        load.wait_for(1);
        campaign.fail(FAULTS[round % FAULTS.len()]);
        load.wait_for(1);
        campaign.deploy();
        campaign.back();
        load.wait_for(1);
    }
    let mut tally = load.stop();
    tally.answers.retain(|answer| !campaign.tries.iter().any(|tried| tried.accounts_for(answer)));
    assert_eq!(tally.stale_answers_among(&campaign.cutovers), [], "an old release answered after a new one");
    let rows = world.get(environment, "/rows").1;
    assert_eq!(rows, tally.acknowledged.len().to_string(), "acknowledged writes");
    tally
}

fn prepare(world: &World) {
    world.write("verify.toml", "[routes]\n\"/\" = \"200 v\"\n");
    world.configure("ready_timeout = \"20s\"", "ready_timeout = \"3s\"");
    let run = "run = \"python3 -S -E app.py\"";
    let gates = "build = \"test ! -e broken-build\"\ntest = \"test ! -e broken-tests\"";
    world.configure(run, &format!("{run}\n{gates}"));
}

struct Campaign<'a> {
    world: &'a World,
    environment: &'a str,
    version: usize,
    /// What should answer from when on.
    cutovers: Vec<Cutover>,
    tries: Vec<Tried>,
}

/// A release that served for a moment and was sent back: meanwhile it answered, and rightly.
struct Tried {
    revision: String,
    from: Instant,
    to: Instant,
}

impl Tried {
    fn accounts_for(&self, answer: &Answer) -> bool {
        answer.marker == self.revision && (self.from..self.to).contains(&answer.asked_at)
    }
}

impl Campaign<'_> {
    fn deploy(&mut self) {
        self.version += 1;
        let revision = self.world.release(&format!("v{}", self.version));
        self.world.run("deploy", &[self.environment]).ok();
        self.cutovers.push(Cutover::now(revision));
    }

    fn back(&mut self) {
        let report = self.world.run("rollback", &[self.environment]).ok().report();
        self.cutovers.push(Cutover::now(report.serving.expect("a revision that serves")));
    }

    fn fail(&mut self, fault: Fault) {
        let world = self.world;
        let before = world.get(self.environment, "/").1;
        match fault {
            Fault::Gate => {
                world.write("uncommitted", "");
                world.run("deploy", &[self.environment]).refused("dirty-tree");
                fs::remove_file(world.checkout().join("uncommitted")).expect("the file");
            }
            Fault::File(name, text, kind) => {
                world.write(name, text);
                world.publish("faulty");
                world.run("deploy", &[self.environment]).refused(kind);
                world.git(&["rm", "--quiet", name]);
            }
            Fault::Signal(line) => self.break_off(line),
        }
        assert_eq!(world.get(self.environment, "/").1, before, "{fault:?}");
    }

    fn break_off(&mut self, line: &str) {
        let from = Instant::now();
        let revision = self.world.release("v-broken-off");
        let (ran, _) = Act::new("deploy", &[self.environment]).run(self.world, Some(line));
        assert_ne!(ran.status, 0, "{}", ran.stdout);
        let next = self.world.run("backup", &[self.environment, "create"]);
        assert_eq!(next.ok().report().outcome, Outcome::Succeeded);
        self.tries.push(Tried { revision, from, to: Instant::now() });
    }
}

/// Nothing is lost while `act` runs, and every acknowledged write is there afterwards.
///
/// # Panics
/// When something is.
pub fn under_load<T>(world: &World, act: impl FnOnce() -> T) -> T {
    let before: usize = world.get("dev", "/rows").1.parse().expect("a number");
    let first_write = i64::try_from(before).expect("few rows") * 1000 + 1;
    let plan = Plan { fresh: 1, keep_alive: 1, slow: 1, write: 1, first_write, ..Plan::default() };
    let load = Load::start(world.listen("dev"), plan);
    load.wait_for(1);
    let result = act();
    load.wait_for(1);
    let tally = load.stop();
    tally.assert_nothing_lost();
    let rows: usize = world.get("dev", "/rows").1.parse().expect("a number");
    assert_eq!(rows, before + tally.acknowledged.len(), "acknowledged writes");
    result
}
