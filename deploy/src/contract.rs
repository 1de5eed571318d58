//! The second half of a change that takes something away: migrations of `phase: after`, once no
//! older release can run any more.
//!
//! They are never undone by a failing deployment: the release that serves was written for them.

use common::handover;
use common::report::Problem;

use crate::attempt::Attempt;

/// Runs what the serving release has deferred, before the new one brings its own. The instance
/// before it stops for good.
///
/// # Errors
/// Why the instance did not stop, or those of `migrate up`.
pub(crate) fn settle(attempt: &mut Attempt<'_>) -> Result<(), Problem> {
    let Some(serving) = attempt.previous.clone() else { return Ok(()) };
    let Some(release) = serving.release else { return Ok(()) };
    let idle = handover::idle_slot(&attempt.site)?;
    let retired = attempt.step("contract.retire", |site, _| handover::retire(site, idle))?;
    if !retired.is_clean() {
        attempt.run.detail("retired", &retired);
    }
    // Theirs is the record: undoing this deployment leaves them alone.
    attempt
        .sibling("migrate", &["up", "--contract", "--release", &release, "--deployment", &serving.id])
        .map(drop)
}

/// Runs what the release that was just verified has deferred: rehearsed and backed up like others.
///
/// # Errors
/// Whatever failed; the release serves all the same, and the next deployment tries again.
pub(crate) fn at_once(attempt: &mut Attempt<'_>) -> Result<(), Problem> {
    if attempt.site.place.database(attempt.site.settings()).is_none_or(|path| !path.exists()) {
        return Ok(());
    }
    let id = attempt.id.clone();
    let rehearsed = attempt.sibling("migrate", &["rehearse", "--contract", "--release", &id])?;
    let is_pending =
        |facts: &serde_json::Value| facts["pending"].as_array().is_some_and(|list| !list.is_empty());
    if !rehearsed.details.get("migrate").is_some_and(is_pending) {
        attempt.skip("contract", "no migration is deferred");
        return Ok(());
    }
    attempt.sibling("backup", &["create", "--reason", "deploy", "--deployment", &id])?;
    let idle = handover::idle_slot(&attempt.site)?;
    attempt.step("contract.retire", |site, _| handover::retire(site, idle))?;
    attempt.sibling("migrate", &["up", "--contract", "--release", &id, "--deployment", &id]).map(drop)
}
