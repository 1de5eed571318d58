//! Finishing what a crash left. The next command that takes the lock calls this first: back to
//! what served before, or forward when only post-deployment was left; then it makes sure that what
//! should serve does. An operation on the database alone is looked up there, and not undone.

use std::iter;

use crate::chores;
use crate::config::Config;
use crate::database;
use crate::gateway::{Gateway, Target};
use crate::handover;
use crate::interrupt;
use crate::journal;
use crate::layout::Place;
use crate::ledger::{Deployment, Kind, Ledger, Sound, State};
use crate::lock::Lock;
use crate::migrations;
use crate::notify;
use crate::report::{Outcome, Problem, Report};
use crate::secrets::Secrets;
use crate::site::Site;

/// What was found and done.
#[derive(Default)]
pub struct Recovered {
    /// Sentences for people, one per thing done.
    pub notes: Vec<String>,
    /// The ledger, where it had to be opened: for writing.
    pub ledger: Option<Ledger>,
}

/// Finishes or undoes every run that never ended, then revives what should serve. One that still
/// may be confirmed is left alone.
///
/// # Errors
/// `broken` when something could not be undone: a person is needed.
pub fn recover(site: &Site) -> Result<Recovered, Problem> {
    let mut recovered = Recovered::default();
    recovered.notes.extend(tend(&site.ledger, &site.gateway, &site.environment)?);
    let settled = settle_all(site, &mut recovered.notes);
    notify::send_soon(&site.config, &site.ledger);
    settled?;
    let restored = interrupt::shielded(|| {
        let note = restore_service(site)?;
        handover::enable_serving(site).map(|()| note)
    });
    match restored {
        Ok(note) => recovered.notes.extend(note),
        // What served cannot serve any more: that must not keep a better release from coming.
        Err(problem) => {
            let note = format!("could not bring back what served: {problem}");
            recovered.notes.push(site.secrets.hide(&note));
        }
    }
    Ok(recovered)
}

/// Finishes or undoes what never ended.
fn settle_all(site: &Site, notes: &mut Vec<String>) -> Result<(), Problem> {
    for deployment in site.ledger.unfinished(&site.environment)? {
        interrupt::check()?;
        if deployment.is_confirmable() {
            continue;
        }
        let settled = interrupt::shielded(|| match deployment.kind {
            _ if deployment.is_settled() => finish(site, &deployment),
            Kind::Migrate => end_migration(site, &deployment),
            Kind::Restore => end_restore(site, &deployment),
            Kind::Deploy | Kind::Rollback => undo(site, &deployment),
        });
        match settled {
            Ok(note) => notes.push(site.secrets.hide(&note)),
            // It failed before as well: that must not keep a better release from coming.
            Err(problem) if deployment.state == State::Broken => {
                notes.push(site.secrets.hide(&format!("still cannot undo {}: {problem}", deployment.id)));
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(())
}

/// Recovers in a command that has taken only the lock, and gives the lock back; `sound` is the ledger
/// where it is open. A lock that a parent holds for us is left alone: the parent has recovered already.
///
/// # Errors
/// As [`recover`].
pub fn recover_under(
    config: &Config,
    environment: &str,
    tool: &str,
    lock: Lock,
    sound: Sound,
) -> Result<(Lock, Recovered), Problem> {
    if !lock.is_own() || !Ledger::has_rows(config)? {
        return Ok((lock, Recovered::default()));
    }
    let ledger = Ledger::open_sound(config, sound)?;
    let settings = config.environment(environment)?;
    let gateway = Gateway::of(&Place::new(config, environment), settings);
    let is_nowhere = || gateway.status().is_none_or(|status| status.active.is_none());
    let is_down = ledger.serving(environment)?.is_some() && is_nowhere();
    // Without its secrets it cannot be started; a backup is still wanted then.
    let is_needed =
        !ledger.unfinished(environment)?.is_empty() || (is_down && Secrets::of(config, settings).is_ok());
    if !is_needed {
        let notes = tend(&ledger, &gateway, environment)?;
        return Ok((lock, Recovered { notes, ledger: Some(ledger) }));
    }
    let site = Site::around(config.clone(), environment, tool, lock, ledger)?;
    let recovered = recover(&site)?;
    Ok((site.lock, Recovered { ledger: Some(site.ledger), ..recovered }))
}

/// What every command that changes something looks after, even when no run was cut off: what there
/// is to say about the ledger, and a gateway whose keeper is gone.
///
/// # Errors
/// `ledger-unreadable`.
pub fn tend(ledger: &Ledger, gateway: &Gateway, environment: &str) -> Result<Vec<String>, Problem> {
    let mut notes: Vec<String> = ledger.take_note(environment)?.into_iter().collect();
    if gateway.is_orphaned() {
        notes.push(match interrupt::shielded(|| gateway.renew()) {
            Ok(()) => "the gateway's keeper was gone: a new one has taken over".to_owned(),
            Err(problem) => format!("the gateway's keeper is gone, and no other can take over: {problem}"),
        });
    }
    Ok(notes)
}

fn finish(site: &Site, deployment: &Deployment) -> Result<String, Problem> {
    let mut warnings =
        if deployment.kind == Kind::Deploy { chores::run(site, deployment) } else { Vec::new() };
    let mut report = report_of(deployment);
    report.changed = true;
    report.serving = Some(deployment.revision.clone());
    report.details.insert("recovery".into(), serde_json::json!({ "warnings": warnings }));
    warnings.extend(site.ledger.end(&deployment.id, &site.secrets.hide_in_report(&report))?);
    let noun = if deployment.kind == Kind::Restore { "operation" } else { "deployment" };
    Ok(format!("finished {noun} {}, which was good when its run ended", deployment.id))
}

/// Its migrations are one transaction: they all stand, or none does. Nothing is undone here; those
/// that stand can be taken back like any others.
fn end_migration(site: &Site, operation: &Deployment) -> Result<String, Problem> {
    // Its own run has said that it was done; one that took migrations back leaves no rows.
    let stands = if operation.state == State::Serving { Ok(true) } else { has_migrations(site, operation) };
    let status = format!("migrate {} status", site.environment);
    let told = match &stands {
        Ok(true) => return end_operation(site, operation, None, "its migrations stand"),
        Ok(false) => "it had applied no migration",
        Err(_) => "whether its migrations stand cannot be told",
    };
    let detail = match stands {
        Err(problem) => problem.to_string(),
        Ok(_) => "if it was to take some back, that has happened as a whole or not at all".to_owned(),
    };
    let problem = Problem::new("cut-off", format!("the run was cut off; {told}"));
    end_operation(site, operation, Some(problem.detail(detail).hint(status)), told)
}

/// A restore is one transaction too, but the database does not say which one it was.
fn end_restore(site: &Site, operation: &Deployment) -> Result<String, Problem> {
    let told = "the restore has happened as a whole or not at all, and nothing was undone";
    let problem = Problem::new("cut-off", format!("the run was cut off; {told}"))
        .hint(format!("backup {} list", site.environment));
    end_operation(site, operation, Some(problem), told)
}

fn end_operation(
    site: &Site,
    operation: &Deployment,
    problem: Option<Problem>,
    told: &str,
) -> Result<String, Problem> {
    let mut report = report_of(operation);
    report.serving = site.serving_revision()?;
    report.changed = problem.is_none();
    let (state, outcome) = match &problem {
        None => (State::Serving, Outcome::Succeeded),
        Some(_) => (State::Failed, Outcome::Failed),
    };
    report.problem = problem;
    report.conclude(outcome);
    site.ledger.conclude(&operation.id, iter::empty(), state, &site.secrets.hide_in_report(&report))?;
    Ok(format!("operation {} was cut off; {told}", operation.id))
}

/// For writing: only so SQLite may take back what a kill left half written.
fn has_migrations(site: &Site, operation: &Deployment) -> Result<bool, Problem> {
    let Some(path) = site.place.database(site.settings()).filter(|path| path.exists()) else {
        return Ok(false);
    };
    let applied = migrations::read_applied(&database::open_existing(&path)?)?;
    Ok(applied.iter().any(|row| row.deployment.as_deref() == Some(operation.id.as_str())))
}

fn undo(site: &Site, deployment: &Deployment) -> Result<String, Problem> {
    let undone = journal::undo_all(site, "recovery", deployment)?;
    let mut report = report_of(deployment);
    report.steps = undone.steps;
    report.changed = undone.touched_service;
    report.serving = site.serving_revision()?;
    report.problem = Some(if deployment.was_proved_unconfirmed() {
        not_confirmed(&deployment.environment)
    } else {
        Problem::new("cut-off", "the run was cut off and has been undone")
    });
    let (state, outcome) = match (&undone.problem, undone.touched_service && report.serving.is_some()) {
        (Some(_), _) => (State::Broken, Outcome::Broken),
        (None, true) => (State::RolledBack, Outcome::RolledBack),
        (None, false) => (State::Failed, Outcome::Failed),
    };
    report.conclude(outcome);
    site.ledger.set_state(&deployment.id, state)?;
    site.ledger.end(&deployment.id, &site.secrets.hide_in_report(&report))?;
    match undone.problem {
        Some(problem) => Err(problem),
        None if deployment.was_proved_unconfirmed() => {
            Ok(format!("undid deployment {}, which nobody confirmed in time", deployment.id))
        }
        None => Ok(format!("undid deployment {}, which was cut off", deployment.id)),
    }
}

/// Refuses to build on a deployment that may still go back by itself.
///
/// # Errors
/// `unconfirmed` (retryable).
pub fn refuse_unconfirmed(ledger: &Ledger, environment: &str) -> Result<(), Problem> {
    let Some(awaiting) = ledger.awaiting(environment)?.filter(Deployment::is_confirmable) else {
        return Ok(());
    };
    Err(Problem::new("unconfirmed", format!("deployment {} waits to be confirmed", awaiting.id))
        .detail(format!("without that it goes back by itself; to undo it now: rollback {environment}"))
        .hint(format!("deploy {environment} confirm"))
        .retryable())
}

/// Why a good deployment went back.
pub fn not_confirmed(environment: &str) -> Problem {
    Problem::new("not-confirmed", "nobody confirmed the deployment in time")
        .hint(format!("deploy {environment} --confirm 5m"))
}

fn report_of(deployment: &Deployment) -> Report {
    let mut report = Report::new("recovery");
    report.environment = Some(deployment.environment.clone());
    report.deployment = Some(deployment.id.clone());
    report
}

/// Starts what should serve and does not: after a reboot, or when somebody killed it.
fn restore_service(site: &Site) -> Result<Option<String>, Problem> {
    let Some(serving) = site.ledger.serving(&site.environment)? else { return Ok(None) };
    if handover::serves(site, &serving) {
        return Ok(None);
    }
    let running = site.gateway.status();
    let instance = handover::revive(site, &serving)?;
    let pointed =
        running.and_then(|status| status.active).is_some_and(|target| target == Target::from(&instance));
    if pointed {
        return Ok(None);
    }
    site.gateway.ensure()?;
    site.gateway.switch(Some(&Target::from(&instance)))?;
    Ok(Some(format!("brought release {} back to service", serving.id)))
}
