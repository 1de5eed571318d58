//! What is broken: a command, and the world that it needs each time.

use std::collections::BTreeSet;

use tests::fault::{Act, deployment_of};
use tests::world::World;

/// A point behind the cutover: everything that a deployment can undo is there to be undone.
const LATE: &str = "deploy:drain#1";
/// More releases than are kept.
const MANY: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Deploy,
    /// A deployment whose migration the serving release could not live with.
    Standstill,
    /// The way back from it.
    StandstillRollback,
    /// The same from a migration that has no way back of its own.
    InPlaceRollback,
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

pub(crate) struct Scenario {
    case: Case,
    /// The revisions of all releases, oldest first.
    revisions: Vec<String>,
    /// The deployment that the command is to recover.
    pub(crate) killed: Option<String>,
}

impl Scenario {
    fn new(case: Case) -> Self {
        Self { case, revisions: Vec::new(), killed: None }
    }

    pub(crate) fn deploy() -> Self {
        Self::new(Case::Deploy)
    }

    pub(crate) fn undo() -> Self {
        Self::new(Case::Undo)
    }

    pub(crate) fn recovery() -> Self {
        Self::new(Case::Recovery)
    }

    pub(crate) fn rollbacks() -> [Self; 3] {
        [Case::WarmRollback, Case::ColdRollback, Case::RebuildingRollback].map(Self::new)
    }

    pub(crate) fn standstills() -> [Self; 3] {
        [Case::Standstill, Case::StandstillRollback, Case::InPlaceRollback].map(Self::new)
    }

    pub(crate) fn by_hand() -> [Self; 2] {
        [Case::Migrate, Case::Backup].map(Self::new)
    }

    /// All but the deployment.
    pub(crate) fn others() -> Vec<Self> {
        [Self::undo(), Self::recovery()].into_iter().chain(Self::rollbacks()).chain(Self::by_hand()).collect()
    }

    /// In the short form, how many points there are for each that is tried.
    pub(crate) fn stride(&self) -> usize {
        if self.case == Case::Deploy { 1 } else { 4 }
    }

    pub(crate) fn name(&self) -> String {
        format!("{:?}", self.case)
    }

    /// Deploys the first releases and gives the points that the command passes when nothing goes
    /// wrong, each once.
    pub(crate) fn points(&mut self, world: &World) -> Vec<String> {
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
    pub(crate) fn prepare(&mut self, world: &World) -> String {
        match self.case {
            Case::Deploy | Case::Undo | Case::Standstill => self.release(world),
            Case::Recovery => {
                self.release(world);
                let (killed, _) = Act::new("deploy", &["dev", "--wait", "60"]).run(world, Some(LATE));
                self.killed = deployment_of(&killed);
            }
            Case::WarmRollback
            | Case::ColdRollback
            | Case::RebuildingRollback
            | Case::StandstillRollback
            | Case::InPlaceRollback => {
                self.release(world);
                world.run("deploy", &["dev", "--wait", "60"]).ok();
            }
            Case::Migrate => {
                world.run("migrate", &["dev", "up"]).ok();
                world.run("migrate", &["dev", "down", "--steps", "1"]).ok();
            }
            Case::Backup => {}
        }
        world.git(&["rev-parse", "HEAD"])
    }

    /// The command to break.
    pub(crate) fn act(&self) -> Act {
        let back =
            |to: usize| Act::new("rollback", &["dev", "--to-commit", &self.revisions[to], "--wait", "60"]);
        match self.case {
            Case::Deploy | Case::Standstill => Act::new("deploy", &["dev", "--wait", "60"]),
            Case::Undo => {
                let mut act = Act::new("deploy", &["dev", "--wait", "60"]);
                act.faults.push(format!("{LATE}=sigterm"));
                act
            }
            Case::Recovery | Case::Backup => Act::new("backup", &["dev", "create", "--wait", "60"]),
            Case::WarmRollback | Case::StandstillRollback | Case::InPlaceRollback => {
                back(self.revisions.len() - 2)
            }
            Case::ColdRollback => back(self.revisions.len() - 3),
            Case::RebuildingRollback => back(1),
            Case::Migrate => Act::new("migrate", &["dev", "up", "--wait", "60"]),
        }
    }

    /// Publishes a release with one more migration.
    fn release(&mut self, world: &World) {
        let number = self.revisions.len() + 2;
        let (up, down) = self.migration(number);
        world.write(&format!("migrations/{number:03}_m.up.sql"), &up);
        if self.case != Case::InPlaceRollback {
            world.write(&format!("migrations/{number:03}_m.down.sql"), &down);
        }
        self.revisions.push(world.release(&format!("v{number}")));
    }

    /// One that adds, or one that takes away what the serving release has.
    fn migration(&self, number: usize) -> (String, String) {
        let alone = matches!(self.case, Case::Standstill | Case::StandstillRollback | Case::InPlaceRollback);
        let before = number - 1;
        if alone && number > 2 {
            let rename = |from, to| format!("ALTER TABLE m RENAME COLUMN a{from} TO a{to};\n");
            return (rename(before, number), rename(number, before));
        }
        let table = if alone { String::from("m") } else { format!("m{number}") };
        (format!("CREATE TABLE {table}(a{number});\n"), format!("DROP TABLE {table};\n"))
    }
}
