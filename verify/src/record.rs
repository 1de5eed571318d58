//! Keeping a full verification in the ledger: the evidence for a promotion, and what makes the
//! serving deployment a target for rollbacks.

use std::time::Duration;

use common::cli::Run;
use common::config::Config;
use common::ledger::{Ledger, State};
use common::report::{Outcome, Problem};
use common::site::enter;

use crate::leaving;
use crate::past::Leaving;
use crate::subject::Subject;

/// Records what this run came to, unless another command changes the environment meanwhile; then
/// `details.verify.not_recorded` says why.
///
/// # Errors
/// Why it is not in the ledger; nothing that fails the run.
pub(crate) fn keep(
    config: &Config,
    subject: &Subject,
    leaving: &Leaving,
    run: &mut Run,
) -> Result<(), Problem> {
    if run.report.outcome == Outcome::Unverified {
        return Err(Problem::unverified("what could not be checked is not recorded"));
    }
    let recorded = record(config, subject, leaving, run);
    run.detail("recorded", recorded.is_ok());
    if let Err(problem) = &recorded {
        run.detail("not_recorded", problem.to_string());
    }
    recorded
}

fn record(config: &Config, subject: &Subject, leaving: &Leaving, run: &mut Run) -> Result<(), Problem> {
    let environment = subject.place.environment();
    let (_lock, sound) = enter(config, &subject.place, &format!("verify {environment}"), Duration::ZERO)?;
    let ledger = Ledger::open_sound(config, sound)?;
    let serving = ledger.serving(environment)?;
    let named = subject.deployment.as_ref().map(|row| row.id.as_str());
    let Some(row) = serving.filter(|row| Some(row.id.as_str()) == named) else {
        return Err(Problem::new("superseded", "another deployment serves by now"));
    };
    ledger.save_verification(&row, &run.shown())?;
    // A verified one may have been withdrawn by a rollback that failed.
    if run.report.success && matches!(row.state, State::Serving | State::Verified) {
        ledger.set_verified(environment, &row.id)?;
    }
    if run.report.success {
        leaving::keep_passed(&ledger, subject, leaving, run);
    }
    Ok(())
}
