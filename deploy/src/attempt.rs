//! One attempt to make a revision serve: what the stages share, how their steps are recorded, and
//! what happens to them all in the end.

use std::time::Instant;

use common::cli::Run;
use common::guard::Guard;
use common::interrupt;
use common::journal::{self, Undo};
use common::ledger::{Beginning, Deployment, Kind, State};
use common::notify;
use common::recovery;
use common::report::{Outcome, Problem, Release, Report, Step};
use common::site::Site;

use crate::siblings::Siblings;
use crate::source::Source;
use crate::standstill::Standstill;

/// A running deployment.
pub(crate) struct Attempt<'a> {
    pub(crate) run: &'a mut Run,
    pub(crate) site: Site,
    pub(crate) source: Source,
    pub(crate) id: String,
    siblings: Siblings,
    /// Undoes this attempt when its run dies unconfirmed.
    pub(crate) guard: Option<Guard>,
    /// What served has ended, and requests wait for the new instance.
    pub(crate) standstill: Option<Standstill>,
    /// What served when the attempt began.
    pub(crate) previous: Option<Deployment>,
}

impl<'a> Attempt<'a> {
    /// Recovers what a crash left and records that this attempt is running.
    pub(crate) fn begin(run: &'a mut Run, site: Site, source: Source) -> Result<Self, Problem> {
        let siblings = Siblings::find(&site)?;
        let id = site.ledger.new_id(&source.revision)?;
        run.hide(&site.secrets);
        run.report.log_file = Some(site.log.path().display().to_string());
        run.report.release = Some(Release {
            revision: source.revision.clone(),
            branch: Some(source.branch.clone()),
            tree: Some(source.tree.clone()),
        });
        run.begin(&site.environment, Some(&id));
        recover(run, &site)?;
        let previous = site.ledger.serving(&site.environment)?;
        run.report.previous = previous.as_ref().map(|deployment| deployment.revision.clone());
        run.report.serving.clone_from(&run.report.previous);
        let attempt = Self { run, site, source, id, siblings, guard: None, standstill: None, previous };
        attempt.site.ledger.begin(&attempt.beginning())?;
        let undelivered = notify::send_soon(&attempt.site.config, &attempt.site.ledger);
        attempt.run.warn_all(&undelivered);
        Ok(attempt)
    }

    fn beginning(&self) -> Beginning<'_> {
        Beginning {
            id: &self.id,
            environment: &self.site.environment,
            kind: Kind::Deploy,
            revision: &self.source.revision,
            branch: Some(&self.source.branch),
            tree: Some(&self.source.tree),
            replaced: self.previous.as_ref().map(|deployment| deployment.id.as_str()),
            restores: None,
            log_file: self.run.report.log_file.as_deref(),
        }
    }

    /// Runs a step that only looks.
    pub(crate) fn step<T>(
        &mut self,
        name: &str,
        act: impl FnOnce(&Site, &Source) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let (site, source) = (&self.site, &self.source);
        let result = self.run.step(name, || act(site, source));
        self.record_last_step();
        result
    }

    /// Runs a step that changes something: its undo is on disk before it acts.
    pub(crate) fn change<T>(
        &mut self,
        name: &str,
        undo: &Undo,
        act: impl FnOnce(&Site) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.run.report.changed = true;
        let (site, id) = (&self.site, &self.id);
        let result = self.run.step(name, || journal::record(site, id, undo, || act(site)));
        self.record_last_step();
        result
    }

    /// Runs another tool; its steps and facts become part of our report, its problem ours.
    pub(crate) fn sibling(&mut self, tool: &str, args: &[&str]) -> Result<Report, Problem> {
        let report = self.siblings.run(&self.site, tool, args)?;
        for step in &report.steps {
            self.record(step);
        }
        self.run.adopt(report.clone());
        report.verdict().map(|()| report)
    }

    /// Says why a step is not done.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.run.skip(name, reason);
        self.record_last_step();
    }

    /// Into the ledger, with what the run pushed last.
    pub(crate) fn record_last_step(&self) {
        if let Some(step) = self.run.report.steps.last() {
            self.record(step);
        }
    }

    fn record(&self, step: &Step) {
        // A step missing from the ledger is no reason to fail a deployment.
        drop(self.site.ledger.record_step(&self.id, &self.site.secrets.hide_in_step(step)));
    }

    /// The row of this attempt.
    pub(crate) fn row(&self) -> Result<Deployment, Problem> {
        self.site.ledger.deployment(&self.id)?.ok_or_else(|| {
            Problem::new("ledger-unreadable", format!("the ledger lost deployment {}", self.id))
                .hint("status all")
        })
    }

    /// Ends the attempt: a failed one is undone first, then the ledger hears of it. The outcome
    /// stands in the report.
    pub(crate) fn end(mut self, result: Result<(), Problem>) -> Result<(), Problem> {
        interrupt::shield();
        if let Err(problem) = result {
            let reached = self.row()?.serving_ms.is_some();
            self.run.report.problem = Some(problem.clone());
            // What has to be confirmed has to be proved first.
            if problem.kind == "unverified" && reached && self.guard.is_none() {
                self.run.report.worsen(Outcome::Unverified);
            } else {
                self.undo(reached)?;
            }
        }
        self.run.report.serving = self.site.serving_revision()?;
        self.run.conclude(None);
        let report = self.site.secrets.hide_in_report(&self.run.report);
        match self.site.ledger.end(&self.id, &report) {
            Ok(warning) => warning.iter().for_each(|warning| self.run.warn(warning)),
            // Recovery ends it by the state it has: what was verified stays.
            Err(problem) => self.run.warn(&problem.to_string()),
        }
        // What could not be delivered before was told at the beginning.
        drop(notify::send_soon(&self.site.config, &self.site.ledger));
        Ok(())
    }

    fn undo(&mut self, reached: bool) -> Result<(), Problem> {
        let begun = Instant::now();
        let row = self.row()?;
        let undone = journal::undo_all(&self.site, "deploy", &row)?;
        for step in undone.steps {
            self.run.push(step);
            self.record_last_step();
        }
        let (state, outcome) = match (&undone.problem, undone.touched_service && self.previous.is_some()) {
            (Some(problem), _) => {
                self.run.warn(&format!("could not undo everything: {problem}"));
                (State::Broken, Outcome::Broken)
            }
            (None, true) => (State::RolledBack, Outcome::RolledBack),
            (None, false) => (State::Failed, Outcome::Failed),
        };
        self.run.detail("undo_ms", u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        self.run.report.changed = undone.touched_service && (outcome != Outcome::Failed || reached);
        self.run.report.conclude(outcome);
        self.site.ledger.set_state(&self.id, state)
    }
}

/// Finishes what a crash left, and says so.
fn recover(run: &mut Run, site: &Site) -> Result<(), Problem> {
    let recovered = run.step("recover", || recovery::recover(site))?;
    for note in &recovered.notes {
        run.warn(note);
    }
    if !recovered.notes.is_empty() {
        run.detail("recovered", &recovered.notes);
    }
    recovery::refuse_unconfirmed(&site.ledger, &site.environment)
}

/// What a ledger row says of its release.
pub(crate) fn release_of(row: &Deployment) -> Release {
    Release { revision: row.revision.clone(), branch: row.branch.clone(), tree: row.tree.clone() }
}
