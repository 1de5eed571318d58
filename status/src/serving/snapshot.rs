//! How all environments stand at one moment: what `status all` knows, and how their deployments go.

use common::ledger::{Figures, State};
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
    /// Rows of the ledger by state.
    pub(crate) counts: Vec<(State, u64)>,
}

impl Snapshot {
    /// Looks; an edited deploy.toml is read first.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(crate) fn take(source: &Source) -> Result<Self, Problem> {
        source.look_again();
        let setting = source.setting();
        let environments = source.ask(|ledger| {
            let found = facts::gather(&setting.config, ledger, &setting.names())?;
            let complete = |facts: Facts| {
                let name = facts.environment.clone();
                let (figures, counts) = match ledger {
                    Some(ledger) => (ledger.figures(&name)?, ledger.counts(&name)?),
                    None => (Figures::default(), Vec::new()),
                };
                Ok(Seen { facts, figures, counts })
            };
            found.into_iter().map(complete).collect::<Result<_, Problem>>()
        })?;
        Ok(Self { at: now(), environments })
    }

    /// Those of these names.
    pub(crate) fn of<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a Seen> {
        self.environments.iter().filter(|seen| names.contains(&seen.facts.environment))
    }
}
