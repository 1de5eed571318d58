//! `status deliver`: sends the notifications that wait. Commands that change something start it by
//! themselves and wait for nothing.

use common::cli::Run;
use common::config::Config;
use common::notify;
use common::report::Problem;

/// Sends what waits; with `at_once` also what failed a moment ago.
///
/// # Errors
/// `not-delivered` when something is left, `locked`, `interrupted`.
pub(crate) fn deliver(run: &mut Run, config: &Config, at_once: bool) -> Result<(), Problem> {
    let sent = notify::deliver(config, at_once)?;
    run.tell(format!("{} notifications delivered", sent.delivered));
    run.detail("delivered", sent.delivered);
    if sent.problems.is_empty() {
        return Ok(());
    }
    Err(Problem::new("not-delivered", "a notification did not reach its receiver")
        .detail(sent.problems.join("\n"))
        .hint("status deliver")
        .retryable())
}
