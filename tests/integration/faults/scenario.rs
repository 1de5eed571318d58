//! What is broken: a command, and the world that it needs each time.

use std::collections::BTreeSet;

use tests::fault::Act;
use tests::world::World;

/// A point behind the cutover: everything that a deployment can undo is there to be undone.
const LATE: &str = "deploy:drain#1";
/// More releases than are kept.
const MANY: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Deploy,
    /// A deployment that is interrupted late, and undoes itself.
    Undo,
    /// A backup that finds a deployment that was killed late.
    Recovery,
    WarmRollback,
    ColdRollback,
    /// To a release whose directory was removed long ago.
    RebuildingRollback,
    Migrate,
    Backup,
}

pub(super) struct Scenario {
    case: Case,
    /// The revisions of all releases, oldest first.
    revisions: Vec<String>,
}

impl Scenario {
    fn new(case: Case) -> Self {
        Self { case, revisions: Vec::new() }
    }

    pub(super) fn deploy() -> Self {
        Self::new(Case::Deploy)
    }

    pub(super) fn undo() -> Self {
        Self::new(Case::Undo)
    }

    pub(super) fn recovery() -> Self {
        Self::new(Case::Recovery)
    }

    pub(super) fn rollbacks() -> [Self; 3] {
        [Case::WarmRollback, Case::ColdRollback, Case::RebuildingRollback].map(Self::new)
    }

    pub(super) fn by_hand() -> [Self; 2] {
        [Case::Migrate, Case::Backup].map(Self::new)
    }

    /// All but the deployment.
    pub(super) fn others() -> Vec<Self> {
        [Self::undo(), Self::recovery()].into_iter().chain(Self::rollbacks()).chain(Self::by_hand()).collect()
    }

    pub(super) fn name(&self) -> String {
        format!("{:?}", self.case)
    }

    /// Deploys the first releases and gives the points that the command passes when nothing goes
    /// wrong, each once.
    pub(super) fn points(&mut self, world: &World) -> Vec<String> {
        for _ in 0..if self.case == Case::RebuildingRollback { MANY } else { 2 } {
            self.release(world);
            world.run("deploy", &["dev"]).ok();
        }
        self.prepare(world);
        let (_, points) = self.act().run(world, None);
        world.run("deploy", &["dev", "--wait", "60"]).ok();
        let mut seen = BTreeSet::new();
        points.into_iter().filter(|point| seen.insert(point.clone())).collect()
    }

    /// Makes the world ready for the command; gives the revision that should serve in the end.
    pub(super) fn prepare(&mut self, world: &World) -> String {
        match self.case {
            Case::Deploy | Case::Undo => self.release(world),
            Case::Recovery => {
                self.release(world);
                Act::new("deploy", &["dev", "--wait", "60"]).run(world, Some(LATE));
            }
            Case::WarmRollback | Case::ColdRollback | Case::RebuildingRollback => {
                self.release(world);
                world.run("deploy", &["dev", "--wait", "60"]).ok();
            }
            Case::Migrate => {
                world.run("migrate", &["dev", "down", "--steps", "1"]).ok();
            }
            Case::Backup => {}
        }
        world.git(&["rev-parse", "HEAD"])
    }

    /// The command to break.
    pub(super) fn act(&self) -> Act {
        let back =
            |to: usize| Act::new("rollback", &["dev", "--to-commit", &self.revisions[to], "--wait", "60"]);
        match self.case {
            Case::Deploy => Act::new("deploy", &["dev", "--wait", "60"]),
            Case::Undo => {
                let mut act = Act::new("deploy", &["dev", "--wait", "60"]);
                act.faults.push(format!("{LATE}=sigterm"));
                act
            }
            Case::Recovery | Case::Backup => Act::new("backup", &["dev", "create", "--wait", "60"]),
            Case::WarmRollback => back(self.revisions.len() - 2),
            Case::ColdRollback => back(self.revisions.len() - 3),
            Case::RebuildingRollback => back(0),
            Case::Migrate => Act::new("migrate", &["dev", "up", "--wait", "60"]),
        }
    }

    /// Publishes a release with one more additive migration.
    fn release(&mut self, world: &World) {
        let number = self.revisions.len() + 2;
        world.write(&format!("migrations/{number:03}_m.up.sql"), &format!("CREATE TABLE m{number}(a);\n"));
        world.write(&format!("migrations/{number:03}_m.down.sql"), &format!("DROP TABLE m{number};\n"));
        self.revisions.push(world.release(&format!("v{number}")));
    }
}
