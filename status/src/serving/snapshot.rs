//! How all environments stand at one moment: what `status all` knows, and how their deployments go.

use common::ledger::Figures;
use common::report::{Problem, now};
use jiff::Timestamp;

use super::source::Source;
use crate::facts::{self, Facts};

/// All environments, in the order of their names.
pub(crate) struct Snapshot {
    pub(crate) at: Timestamp,
    pub(crate) environments: Vec<Seen>,
}

/// One environment.
pub(crate) struct Seen {
    pub(crate) facts: Facts,
    pub(crate) figures: Figures,
}

impl Snapshot {
    /// Looks. Others may ask the ledger while apps, git and files are looked at.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(crate) fn take(source: &Source) -> Result<Self, Problem> {
        let setting = source.setting();
        let names = setting.names();
        let (records, figures) = source.ask(|ledger| {
            let figures =
                |name: &String| ledger.map_or_else(|| Ok(Figures::default()), |ledger| ledger.figures(name));
            let figures: Vec<Figures> = names.iter().map(figures).collect::<Result<_, _>>()?;
            Ok((facts::records(&setting.config, ledger, &names)?, figures))
        })?;
        let found = facts::look(&setting.config, records).into_iter().zip(figures);
        Ok(Self { at: now(), environments: found.map(|(facts, figures)| Seen { facts, figures }).collect() })
    }

    /// Those of these names.
    pub(crate) fn of<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a Seen> {
        self.environments.iter().filter(|seen| names.contains(&seen.facts.environment))
    }
}
