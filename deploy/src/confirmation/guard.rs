//! What a guard does (`common::guard` starts it): it sleeps until the run that it guards ends, and
//! finishes what a dead one left, or undoes what nobody confirmed in time.

use std::time::{Duration, Instant};

use common::cli::Run;
use common::config::Config;
use common::interrupt;
use common::layout::Place;
use common::ledger::{self, Deployment, Ledger};
use common::recovery;
use common::report::{OrProblem, Problem, now};
use common::site::enter;

use super::POLL;

/// Working children of a killed deployment may hold the lock for as long as they work.
const WAIT_FOR_LOCK: Duration = Duration::from_secs(3600);

const UNREADABLE: Duration = Duration::from_secs(60);
/// Before it is tried again to undo what could not be undone.
const RETRY: Duration = Duration::from_secs(1);

/// What the guard process does: sleeps until the deployment's run ends, and finishes what a dead one
/// left, back or forward, as soon as that is decided.
///
/// # Errors
/// `interrupted`, or a ledger that stays unreadable; the next command that takes the lock tries again.
pub(crate) fn watch(run: &mut Run, config: &Config, environment: &str, id: &str) -> Result<(), Problem> {
    // Ctrl-C and a closing terminal are meant for the deployment.
    let _ = rustix::process::setsid();
    run.begin(environment, Some(id));
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())
        .or_problem("not-started", || "lost the deployment".into())?;
    let mut until = None;
    while let Some(row) = patiently(|| unended(config, id))? {
        let Some(by_ms) = row.confirm_by_ms.filter(|_| row.is_confirmable()) else {
            if settle(config, environment).is_ok() {
                return Ok(());
            }
            interrupt::check()?;
            std::thread::sleep(RETRY);
            continue;
        };
        // Measured, not read from the clock again: that may step back.
        let until = *until.get_or_insert_with(|| Instant::now() + time_to(by_ms));
        if Instant::now() >= until {
            drop(ledger::ensure(config, WAIT_FOR_LOCK)?);
            patiently(|| Ledger::open(config)?.give_up_waiting(id))?;
        }
        interrupt::check()?;
        std::thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

/// A ledger that cannot be read just now may be lost and made again at this moment: no reason to
/// leave a release to itself.
fn patiently<T>(ask: impl Fn() -> Result<T, Problem>) -> Result<T, Problem> {
    let begun = Instant::now();
    loop {
        match ask() {
            Err(_) if begun.elapsed() < UNREADABLE => std::thread::sleep(POLL),
            answer => return answer,
        }
    }
}

fn unended(config: &Config, id: &str) -> Result<Option<Deployment>, Problem> {
    let Some(ledger) = Ledger::open_read_only(config)? else { return Ok(None) };
    Ok(ledger.deployment(id)?.filter(|row| row.ended_ms.is_none()))
}

fn time_to(by_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(by_ms - now().as_millisecond()).unwrap_or(0))
}

fn settle(config: &Config, environment: &str) -> Result<(), Problem> {
    let place = Place::new(config, environment);
    let (lock, sound) = enter(config, &place, &format!("the guard of {environment}"), WAIT_FOR_LOCK)?;
    recovery::recover_under(config, environment, "deploy", lock, sound).map(drop)
}
