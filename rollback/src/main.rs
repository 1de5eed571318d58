//! `rollback`: undoes a failed deployment, or goes back to an earlier verified one.
//!
//! From a report on stdin it acts only when the ledger agrees that there is something to undo; a
//! good report passes through untouched. From flags it does as asked. `decision` says whether to
//! act, `target` where to go, `ladder` what the schema needs for it, `return_trip` goes there and
//! `schema` takes migrations back; `plan` only tells.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arguments;
mod decision;
mod ladder;
mod plan;
mod return_trip;
mod salvage;
mod schema;
mod target;

use std::process::ExitCode;

use arguments::Arguments;
use common::cli::{self, Run};
use common::interrupt;
use common::ledger::State;
use common::recovery;
use common::report::{Outcome, Problem};
use common::site::Site;
use decision::Decision;
use return_trip::Reason;
use target::Wish;

fn main() -> ExitCode {
    cli::main::<Arguments>("rollback", story)
}

fn story(arguments: Arguments, run: &mut Run) -> Result<(), Problem> {
    match &arguments.environment {
        Some(environment) => as_asked(run, &arguments, environment),
        None => from_report(run, &arguments),
    }
}

/// Somebody wants an earlier release: success is success.
fn as_asked(run: &mut Run, arguments: &Arguments, environment: &str) -> Result<(), Problem> {
    let config = arguments.shared.load()?;
    config.environment(environment)?;
    run.report.environment = Some(environment.to_owned());
    let wish = Wish::of(arguments);
    let site = open(run, config, environment, arguments)?;
    if arguments.plan {
        return plan::tell(run, &site, &wish, arguments.discard_writes);
    }
    let declined = site.ledger.awaiting(environment)?;
    if let Some(declined) = &declined {
        site.ledger.give_up_waiting(&declined.id)?;
    }
    recover(run, &site)?;
    if let (Some(declined), Wish::Last) = (declined, &wish)
        && let Some(told) = tell_declined(run, &site, &declined.id)?
    {
        return told;
    }
    let target = run.step("target", || target::find(&site, &wish))?;
    if let Some(serving) = target::serving(&site, &target)? {
        run.begin(environment, Some(&serving.id));
        run.report.serving = Some(serving.revision);
        run.skip("rollback", "this release serves already");
        return Ok(());
    }
    return_trip::go(run, site, &target, Reason::Asked, arguments.discard_writes)
}

/// What waited to be confirmed has gone back: that was the wish. `None` when it could not.
fn tell_declined(run: &mut Run, site: &Site, declined: &str) -> Result<Option<Result<(), Problem>>, Problem> {
    let Some(row) = site.ledger.deployment(declined)? else { return Ok(None) };
    let told = match row.state {
        _ if row.confirmed_ms.is_some() => {
            Err(Problem::new("confirmed", "the deployment was confirmed just now")
                .hint(format!("rollback {}", site.environment)))
        }
        State::RolledBack | State::Failed => Ok(()),
        _ => return Ok(None),
    };
    run.begin(&site.environment, Some(declined));
    run.report.serving = site.serving_revision()?;
    Ok(Some(told))
}

/// A chain's last word: acts only on a failed deployment that is still the newest.
fn from_report(run: &mut Run, arguments: &Arguments) -> Result<(), Problem> {
    arguments.refuse_wishes()?;
    // Ctrl-C reaches the whole chain; the rollback of what it interrupted must still happen.
    interrupt::shield();
    let received = cli::read_report("rollback")?;
    let mut candidate = Decision::from_report(&received);
    run.follow(received);
    if candidate.is_pass() {
        return Ok(());
    }
    let config = arguments.shared.load()?;
    let environment = candidate.environment(&config)?;
    let site = open(run, config, &environment, arguments)?;
    recover(run, &site)?;
    candidate.ask_ledger(&site)?;
    match candidate {
        Decision::Undo { deployment, .. } => {
            let target = run.step("target", || target::before(&site, &deployment))?;
            return_trip::go(run, site, &target, Reason::Failed(deployment), false)
        }
        Decision::UndoMigrations { operation } => schema::undo(run, &site, &operation),
        Decision::AlreadyUndone { outcome } => {
            run.report.conclude(outcome);
            run.report.serving = site.serving_revision()?;
            run.skip("rollback", "the ledger says that this deployment is undone already");
            Ok(())
        }
        Decision::Pass { reason } => {
            run.report.serving = site.serving_revision()?;
            run.skip("rollback", reason);
            run.report.worsen(Outcome::Failed);
            Ok(())
        }
    }
}

fn open(
    run: &mut Run,
    config: common::config::Config,
    environment: &str,
    arguments: &Arguments,
) -> Result<Site, Problem> {
    let site = Site::open(config, environment, "rollback", arguments.wait())?;
    run.hide(&site.secrets);
    run.report.log_file = Some(site.log.path().display().to_string());
    Ok(site)
}

fn recover(run: &mut Run, site: &Site) -> Result<(), Problem> {
    let recovered = run.step("recover", || recovery::recover(site))?;
    recovered.notes.iter().for_each(|note| run.warn(note));
    run.report.changed |= !recovered.notes.is_empty();
    if !recovered.notes.is_empty() {
        run.detail("recovered", &recovered.notes);
    }
    recovery::refuse_unconfirmed(&site.ledger, &site.environment)
}
