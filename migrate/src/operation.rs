//! A changing run as an operation in the ledger: begun before anything is changed, ended with the
//! report. A run on behalf of another tool (which holds the lock for us) is that tool's to record.

use common::cli::{Run, warn};
use common::ledger::{Beginning, Kind, Ledger, State};
use common::report::{Problem, now};

use crate::scene::Scene;

/// Id for a run that nobody named: UTC time, tool, process.
pub(crate) fn new_id() -> String {
    format!("{}-migrate-{}", now().strftime("%Y%m%dT%H%M%SZ"), std::process::id())
}

/// Runs `act` between the two entries of the ledger.
///
/// # Errors
/// Those of `act`; `state-unwritable` before anything is changed.
pub(crate) fn record(
    run: &mut Run,
    scene: &Scene,
    id: &str,
    act: impl FnOnce(&mut Run) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let Some(ledger) = scene.own_ledger() else { return act(run) };
    if ledger.deployment(id)?.is_some() {
        return act(run);
    }
    ledger.begin(&Beginning {
        id,
        environment: scene.environment(),
        kind: Kind::Migrate,
        revision: scene.serving.as_ref().map_or("", |deployment| deployment.revision.as_str()),
        branch: None,
        tree: None,
        replaced: None,
        restores: None,
        log_file: None,
    })?;
    let first_step = run.report.steps.len();
    let result = act(run);
    run.conclude(result.as_ref().err().cloned());
    // The database has changed or has not; a ledger that cannot say so does not alter that.
    if let Err(problem) = end(ledger, run, id, first_step) {
        warn(&format!("the ledger does not show how {id} ended: {problem}"));
    }
    result
}

fn end(ledger: &Ledger, run: &Run, id: &str, first_step: usize) -> Result<(), Problem> {
    let state = if run.report.success { State::Serving } else { State::Failed };
    let steps = run.report.steps[first_step..].iter().map(|step| run.shown_step(step));
    ledger.conclude(id, steps, state, &run.shown())?.iter().for_each(|warning| warn(warning));
    Ok(())
}
