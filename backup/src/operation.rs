//! A restore's row in the ledger: its id, when it began, how it ended.

use common::cli::Run;
use common::git;
use common::ledger::{Beginning, Kind, Ledger, State};
use common::report::{Problem, now};

use crate::site::Site;

pub(crate) struct Operation {
    pub(crate) id: String,
    ledger: Ledger,
}

impl Operation {
    /// Records that a restore is running; only under the lock.
    ///
    /// # Errors
    /// `state-unwritable`, `ledger-unreadable`.
    pub(crate) fn begin(site: &Site<'_>) -> Result<Self, Problem> {
        let ledger = Ledger::open(site.config)?;
        let serving = ledger.serving(site.name())?;
        let revision = serving.as_ref().map_or("", |deployment| deployment.revision.as_str());
        let name = if revision.is_empty() { "restore" } else { git::short(revision) };
        let stem = format!("{}-{name}", now().strftime("%Y%m%dT%H%M%SZ"));
        let mut id = stem.clone();
        let mut number = 1;
        while ledger.deployment(&id)?.is_some() {
            number += 1;
            id = format!("{stem}-{number}");
        }
        ledger.begin(&Beginning {
            id: &id,
            environment: site.name(),
            kind: Kind::Restore,
            revision,
            branch: serving.as_ref().and_then(|deployment| deployment.branch.as_deref()),
            tree: serving.as_ref().and_then(|deployment| deployment.tree.as_deref()),
            replaced: None,
            restores: None,
            log_file: None,
        })?;
        Ok(Self { id, ledger })
    }

    /// Records how it ended; the database is as it is, whether or not the ledger can be written.
    pub(crate) fn end(self, run: &mut Run, result: &Result<(), Problem>) {
        run.conclude(result.as_ref().err().cloned());
        let state = if result.is_ok() { State::Verified } else { State::Failed };
        let steps = run.report.steps.iter().map(|step| run.shown_step(step));
        let ended = self.ledger.conclude(&self.id, steps, state, &run.shown());
        if let Err(problem) = ended {
            run.warn(&problem.to_string());
        }
    }
}
