//! The dead man's switch: with `--confirm TIME` a proved release goes back by itself unless
//! somebody confirms it. `run` is the deployment's own stage, `guard` takes over when that run
//! dies, `answer` is `deploy ENV confirm`. The ledger arbitrates: one of them wins, once.

mod answer;
mod guard;

use std::time::{Duration, Instant};

pub(crate) use answer::run as answer;
use common::guard::Guard;
use common::interrupt;
use common::recovery::not_confirmed;
use common::report::{Problem, now};
use common::site::Site;
pub(crate) use guard::watch;

use crate::arguments::DeployOptions;
use crate::attempt::Attempt;

const POLL: Duration = Duration::from_millis(100);

/// Before traffic moves: from now on a guard watches over this run.
///
/// # Errors
/// `not-started`, `state-unwritable`.
pub(crate) fn prepare(attempt: &mut Attempt<'_>, options: &DeployOptions) -> Result<(), Problem> {
    if options.confirm.is_some() {
        attempt.site.ledger.demand_confirmation(&attempt.id)?;
        attempt.guard = Some(Guard::start(&attempt.site, &attempt.id)?);
    }
    Ok(())
}

/// Between verification and post-deployment: waits until somebody confirms.
///
/// # Errors
/// `not-confirmed` when the time is up, `interrupted`.
pub(crate) fn run(attempt: &mut Attempt<'_>, options: &DeployOptions) -> Result<(), Problem> {
    let Some(time) = options.confirm else { return Ok(()) };
    let id = attempt.id.clone();
    let until = Instant::now() + time;
    let by = now().saturating_add(time).unwrap_or_else(|_| now());
    attempt.site.ledger.await_confirmation(&id, by.as_millisecond())?;
    attempt
        .run
        .note(&format!("serving; goes back at {by} unless: deploy {} confirm", attempt.site.environment));
    attempt.run.detail("confirm_by", by.to_string());
    attempt.step("confirm", |site, _| await_answer(site, &id, until))
}

fn await_answer(site: &Site, id: &str, until: Instant) -> Result<(), Problem> {
    loop {
        let row = site.ledger.deployment(id)?;
        if row.is_some_and(|row| row.confirmed_ms.is_some()) {
            return Ok(());
        }
        if let Err(problem) = interrupt::check() {
            return if site.ledger.give_up_waiting(id)? { Err(problem) } else { Ok(()) };
        }
        if Instant::now() >= until && site.ledger.give_up_waiting(id)? {
            return Err(not_confirmed(&site.environment));
        }
        std::thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
    }
}
