//! The way back: the warm instance, a cold release, or one that is built again; then cutover,
//! drain and proof. Journaled like a deployment, so that a killed rollback is undone or finished.

use std::time::Instant;

use common::chores;
use common::cli::Run;
use common::config::Strategy;
use common::exec::Sibling;
use common::guard::Guard;
use common::handover::{self, Retired};
use common::instance::Instance;
use common::journal::{self, Undo};
use common::ledger::{Beginning, Deployment, Kind, State};
use common::notify;
use common::readiness;
use common::release;
use common::report::{Outcome, Problem, Release};
use common::site::Site;
use common::standstill;
use common::supervisor::Condition;

use crate::ladder::{self, Choice, Rung};
use crate::schema;

/// Why a rollback happens.
pub(crate) enum Reason {
    Asked,
    /// This deployment failed a check.
    Failed(String),
}

struct Trip<'a> {
    run: &'a mut Run,
    site: Site,
    id: String,
    previous: Option<Deployment>,
    begun: Instant,
    /// What was written since may go.
    discard: bool,
    /// Ends a standstill at once when this run is killed.
    guard: Option<Guard>,
}

/// Makes `target`'s release serve again.
pub(crate) fn go(
    run: &mut Run,
    site: Site,
    target: &Deployment,
    reason: Reason,
    discard: bool,
) -> Result<(), Problem> {
    let begun = Instant::now();
    let previous = site.ledger.serving(&site.environment)?;
    if let Reason::Failed(failed) = &reason {
        site.ledger.withdraw(failed)?;
    }
    let id = site.ledger.new_id(&target.revision)?;
    if matches!(reason, Reason::Asked) {
        run.begin(&site.environment, Some(&id));
    }
    run.report.previous = previous.as_ref().map(|row| row.revision.clone());
    run.report.release = Some(Release {
        revision: target.revision.clone(),
        branch: target.branch.clone(),
        tree: target.tree.clone(),
    });
    site.ledger.begin(&Beginning {
        id: &id,
        environment: &site.environment,
        kind: Kind::Rollback,
        revision: &target.revision,
        branch: target.branch.as_deref(),
        tree: target.tree.as_deref(),
        replaced: previous.as_ref().map(|row| row.id.as_str()),
        restores: Some(&target.id),
        log_file: run.report.log_file.as_deref(),
    })?;
    notify::send_soon(&site.config, &site.ledger);
    let mut trip = Trip { run, site, id, previous, begun, discard, guard: None };
    let result = trip.travel(target);
    trip.end(result, &reason)
}

impl Trip<'_> {
    fn travel(&mut self, target: &Deployment) -> Result<(), Problem> {
        let warm = self.warm_instance(target);
        self.run.detail("warm", warm.is_some());
        let release = match &warm {
            Some(instance) => instance.release.clone(),
            None => self.release(target)?,
        };
        let choice = ladder::choose(self.run, &self.site, &release, self.discard)?;
        choice.tell(self.run);
        let restarts = self.site.settings().strategy == Strategy::Restart;
        let halted = self.previous.clone().filter(|_| restarts || choice.needs_standstill());
        let instance = match (&halted, warm) {
            (Some(previous), _) => {
                self.halt(previous, &choice)?;
                self.start(target, &release)?
            }
            (None, Some(instance)) => instance,
            (None, None) => self.start(target, &release)?,
        };
        self.cut_over(&instance, halted.is_none())?;
        self.verify()
    }

    /// Ends what serves while requests wait, and takes back what the target cannot live with.
    fn halt(&mut self, previous: &Deployment, choice: &Choice) -> Result<(), Problem> {
        self.run.report.changed = true;
        self.guard = Some(Guard::start(&self.site, &self.id)?);
        let (site, id) = (&self.site, &self.id);
        let undo = Undo::Resume { deployment: previous.id.clone() };
        let begin = || standstill::begin(site, previous);
        let halted = self.run.step("standstill", || journal::record(site, id, &undo, begin))?;
        self.run.detail("drain", halted.drained);
        tell_retired(self.run, &halted.retired);
        if matches!(choice.rung, Rung::Salvage { .. }) {
            // A warm instance has the file open that is to be set aside.
            let slot = handover::idle_slot(&self.site)?;
            let retired = self.run.step("slot.retire", || handover::retire(&self.site, slot))?;
            tell_retired(self.run, &retired);
        }
        match &previous.release {
            Some(release) => schema::take_back(self.run, site, id, choice, release),
            None => Ok(()),
        }
    }

    /// Moves traffic; `beside` what served until now, or to the only instance there is.
    fn cut_over(&mut self, instance: &Instance, beside: bool) -> Result<(), Problem> {
        self.run.report.changed = true;
        let (site, id) = (&self.site, &self.id);
        let previous = self.previous.as_ref().filter(|_| beside).map(|row| row.id.clone());
        let undo = Undo::PointGateway { deployment: previous.clone() };
        self.run.step("cutover", || {
            journal::record(site, id, &undo, || {
                let database = site.place.database(site.settings());
                site.ledger.place(id, &instance.release, instance.slot, database.as_deref())?;
                handover::cut_over(site, instance, id)
            })
        })?;
        if !beside {
            return self.run.step("gateway.release", || site.gateway.release());
        }
        if let Some(previous) = previous {
            let drained = self.run.step("drain", || handover::drain(&self.site, &previous))?;
            self.run.detail("drain", drained);
        }
        Ok(())
    }

    /// The instance that still runs the target's release.
    fn warm_instance(&mut self, target: &Deployment) -> Option<Instance> {
        let site = &self.site;
        let release = target.release.as_deref()?;
        // An instance keeps the database that it was started with.
        let configured = site.place.database(site.settings());
        if target.database.as_ref().is_some_and(|used| configured.as_ref() != Some(used)) {
            return None;
        }
        let instance = common::layout::Slot::BOTH
            .into_iter()
            .filter_map(|slot| Instance::read(&site.place, slot))
            .find(|instance| instance.release == release)?;
        let runs = matches!(site.supervisor.condition(&site.place, instance.slot), Condition::Running { .. });
        let ready =
            runs && self.run.step("instance.warm", || readiness::await_ready(site, &instance)).is_ok();
        ready.then_some(instance)
    }

    /// The target's release directory, built again when it is gone.
    fn release(&mut self, target: &Deployment) -> Result<String, Problem> {
        let known = target.release.clone().filter(|release| self.site.place.release(release).is_dir());
        match known {
            Some(release) => Ok(release),
            None => self.rebuild(target),
        }
    }

    fn start(&mut self, target: &Deployment, release: &str) -> Result<Instance, Problem> {
        let slot = handover::idle_slot(&self.site)?;
        let (site, id) = (&self.site, &self.id);
        let retired = self.run.step("slot.retire", || handover::retire(site, slot))?;
        tell_retired(self.run, &retired);
        let instance = site.instance(slot, id, release, &target.revision)?;
        self.run.step("instance.start", || {
            journal::record(site, id, &Undo::StopInstance { slot }, || handover::start(site, &instance))
        })?;
        self.run.step("instance.ready", || readiness::await_ready(site, &instance))?;
        Ok(instance)
    }

    fn rebuild(&mut self, target: &Deployment) -> Result<String, Problem> {
        let (site, id) = (&self.site, &self.id);
        let undo = Undo::RemoveRelease { release: id.clone() };
        let app = &site.config.app;
        self.run.step("release.rebuild", || {
            journal::record(site, id, &undo, || {
                let dir = release::checkout(&site.repository()?, &site.place, id, &target.revision)?;
                if let Some(line) = &app.build {
                    release::run_build(line, &dir, &site.log, &site.lock)?;
                }
                release::link_shared(&site.place, &dir, &app.shared)?;
                release::seal(&dir)
            })
        })?;
        Ok(id.clone())
    }

    /// Identity and health through the public address; the checks of its own time it passed already.
    fn verify(&mut self) -> Result<(), Problem> {
        let deadlines = &self.site.settings().deadlines;
        let left = deadlines.rollback.0.saturating_sub(self.begun.elapsed());
        if left.is_zero() {
            let seconds = deadlines.rollback.0.as_secs();
            return Err(Problem::new("time-limit", format!("the rollback was not done within {seconds} s"))
                .hint(format!("status {}", self.site.environment)));
        }
        let limit = deadlines.verify.0.min(left);
        let report =
            self.site.run_sibling(&Sibling::find("verify")?, &["--only", "service,identity"], limit)?;
        let verdict = report.verdict();
        self.run.adopt(report);
        verdict?;
        self.site.ledger.set_verified(&self.site.environment, &self.id)
    }

    fn end(self, result: Result<(), Problem>, reason: &Reason) -> Result<(), Problem> {
        common::interrupt::shield();
        let Self { run, site, id, previous, guard: _guard, .. } = self;
        let outcome = match (&result, reason) {
            (Ok(()), Reason::Asked) => Outcome::Succeeded,
            (Ok(()), Reason::Failed(failed)) => {
                site.ledger.set_state(failed, State::RolledBack)?;
                retire_failed(run, &site, previous.as_ref());
                Outcome::RolledBack
            }
            (Err(problem), _) => undo(run, &site, &id, problem)?,
        };
        run.report.conclude(outcome);
        run.report.serving = site.serving_revision()?;
        let mut kept = run.report.clone();
        kept.deployment = Some(id.clone());
        match site.ledger.end(&id, &site.secrets.hide_in_report(&kept)) {
            Ok(warning) => warning.iter().for_each(|warning| run.warn(warning)),
            Err(problem) => run.warn(&problem.to_string()),
        }
        if matches!((&result, reason), (Ok(()), Reason::Asked)) {
            run.warn_all(&chores::retry(&site));
        }
        run.warn_all(&notify::send_soon(&site.config, &site.ledger));
        match result {
            Err(problem) if matches!(reason, Reason::Asked) => Err(problem),
            _ => Ok(()),
        }
    }
}

/// A failed release is not kept warm.
fn retire_failed(run: &mut Run, site: &Site, failed: Option<&Deployment>) {
    let serving = site.ledger.serving(&site.environment).ok().flatten().and_then(|row| row.slot);
    if let Some(slot) =
        failed.and_then(|row| row.slot).filter(|slot| serving.is_some_and(|other| other != *slot))
    {
        // The way back is done; an instance that does not end is said, not fatal.
        if let Ok(retired) = run.step("failed.retire", || handover::retire(site, slot)) {
            tell_retired(run, &retired);
        }
    }
}

fn tell_retired(run: &mut Run, retired: &Retired) {
    if !retired.is_clean() {
        run.detail("retired", retired);
    }
}

/// A way back that failed ends where it began, or needs a person.
fn undo(run: &mut Run, site: &Site, id: &str, problem: &Problem) -> Result<Outcome, Problem> {
    let Some(row) = site.ledger.deployment(id)? else { return Ok(Outcome::Broken) };
    let undone = journal::undo_all(site, "rollback", &row)?;
    undone.steps.into_iter().for_each(|step| run.push(step));
    let (state, outcome) = match undone.problem {
        Some(_) => (State::Broken, Outcome::Broken),
        None => (State::Failed, Outcome::Failed),
    };
    run.report.problem = Some(problem.clone());
    site.ledger.set_state(id, state)?;
    Ok(outcome)
}
