//! Undoing a `migrate up`: a protected snapshot first, then exactly the migrations of that
//! operation, last one first, and a look at the service afterwards.

use std::time::Duration;

use common::cli::Run;
use common::exec::Sibling;
use common::ledger::State;
use common::report::{Outcome, Problem};
use common::site::Site;

const DATA_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Takes the migrations of `operation` back; the report then says `rolled_back`.
///
/// # Errors
/// When the snapshot, the way down or the proof failed: nothing is half undone.
pub(crate) fn undo(run: &mut Run, site: &Site, operation: &str) -> Result<(), Problem> {
    let protect = ["create", "--reason", "pre-rollback", "--protect", "--deployment", operation];
    tool(run, site, "backup", &protect, DATA_LIMIT)?;
    tool(run, site, "migrate", &["down", "--deployment", operation], DATA_LIMIT)?;
    site.ledger.set_state(operation, State::RolledBack)?;
    run.report.conclude(Outcome::RolledBack);
    run.report.serving = site.serving_revision()?;
    let limit = site.settings().deadlines.verify.0;
    if let Err(problem) = tool(run, site, "verify", &["--only", "service,identity,database"], limit) {
        run.warn(&format!("after the way back: {problem}"));
    }
    Ok(())
}

fn tool(
    run: &mut Run,
    site: &Site,
    name: &'static str,
    args: &[&str],
    limit: Duration,
) -> Result<(), Problem> {
    let report = site.run_sibling(&Sibling::find(name)?, args, limit)?;
    let verdict = report.verdict();
    run.adopt(report);
    verdict
}
