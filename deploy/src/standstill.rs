//! Deploying in a standstill: when it is needed, and what the report says of it.

use std::time::Instant;

use common::config::{Environment, Strategy};
use common::guard::Guard;
use common::journal::Undo;
use common::report::Problem;
use common::standstill;
use serde_json::json;

use crate::arguments::DeployOptions;
use crate::attempt::Attempt;
use crate::schema::Rehearsed;

/// One under way.
#[derive(Debug)]
pub(crate) struct Standstill {
    begun: Instant,
    reason: String,
    /// Ends it at once when this run is killed.
    _guard: Guard,
}

/// Why the new instance cannot run beside the one that serves; `None` when it can.
pub(crate) fn reason(
    settings: &Environment,
    options: &DeployOptions,
    rehearsed: &Rehearsed,
) -> Option<String> {
    let objections = rehearsed.objections();
    asked_for(settings, options).map(str::to_owned).or_else(|| {
        (!objections.is_empty()).then(|| {
            format!("the serving release could not live with the migrated schema: {}", objections.join("; "))
        })
    })
}

/// What the configuration or the command line says, whatever the migrations do.
fn asked_for(settings: &Environment, options: &DeployOptions) -> Option<&'static str> {
    match settings.strategy {
        _ if options.hold => Some("--hold was asked for"),
        Strategy::Restart => Some("strategy is restart"),
        Strategy::BlueGreen => None,
    }
}

/// Ends the instance that serves, while requests wait.
pub(crate) fn begin(attempt: &mut Attempt<'_>, reason: &str) -> Result<(), Problem> {
    let Some(previous) = attempt.previous.clone() else { return Ok(()) };
    attempt.run.note(&format!("requests wait while the serving release ends: {reason}"));
    let begun = Instant::now();
    let guard = Guard::start(&attempt.site, &attempt.id)?;
    let undo = Undo::Resume { deployment: previous.id.clone() };
    let halted = attempt.change("standstill", &undo, |site| standstill::begin(site, &previous))?;
    attempt.standstill = Some(Standstill { begun, reason: reason.to_owned(), _guard: guard });
    attempt.run.detail("drain", halted.drained);
    if !halted.retired.is_clean() {
        attempt.run.detail("retired", &halted.retired);
    }
    Ok(())
}

/// Lets waiting requests go on, to the new instance, and says how long they waited at most.
pub(crate) fn end(attempt: &mut Attempt<'_>) -> Result<(), Problem> {
    if attempt.standstill.is_none() {
        return Ok(());
    }
    attempt.step("gateway.release", |site, _| site.gateway.release())?;
    if let Some(Standstill { begun, reason, .. }) = &attempt.standstill {
        let held_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        attempt.run.detail("standstill", json!({"reason": reason, "held_ms": held_ms}));
    }
    Ok(())
}
