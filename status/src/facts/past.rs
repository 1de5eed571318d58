//! The past for people: a row of the history, and one deployment with its steps, its log's end and
//! its report.

use std::path::Path;

use common::exec;
use common::ledger::{Deployment, Ledger};
use common::report::{Problem, Step, quoted};
use common::secrets::Secrets;
use serde::Serialize;
use serde_json::{Value, json};

use super::time;

/// One row of the history.
pub(crate) fn event(row: &Deployment) -> Value {
    json!({
        "environment": row.environment,
        "id": row.id,
        "kind": row.kind,
        "state": row.state,
        "outcome": row.outcome,
        "revision": row.revision,
        "branch": row.branch,
        "who": row.who,
        "forced_reason": row.forced_reason,
        "started_at": time(row.started_ms),
        "duration_ms": row.duration_ms(),
        "log_file": row.log_file,
    })
}

/// All that is known of one deployment.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) deployment: Value,
    pub(crate) steps: Vec<TimedStep>,
    /// The last lines of its log; the programs that it ran wrote them.
    pub(crate) log: Option<String>,
    /// What it ended with.
    pub(crate) report: Option<Value>,
    #[serde(skip)]
    pub(crate) row: Deployment,
}

/// A step, and when it began after the beginning of its deployment, without the time between steps.
#[derive(Debug, Serialize)]
pub(crate) struct TimedStep {
    pub(crate) after_ms: u64,
    #[serde(flatten)]
    pub(crate) step: Step,
}

/// Looks a deployment up, but for its log.
///
/// # Errors
/// Usage (exit 2) when there is none of that id; those of the ledger.
pub(crate) fn show(ledger: Option<&Ledger>, environment: Option<&str>, id: &str) -> Result<Shown, Problem> {
    let found = ledger.map(|ledger| ledger.deployment(id).map(|row| (ledger, row))).transpose()?;
    let (ledger, row) = match found {
        Some((ledger, Some(row))) if environment.is_none_or(|name| row.environment == name) => (ledger, row),
        _ => {
            let place = environment.unwrap_or("all");
            return Err(Problem::usage(format!("there is no deployment '{id}'"))
                .hint(format!("status {} history", quoted(place))));
        }
    };
    Ok(Shown {
        deployment: event(&row),
        steps: timed(ledger.steps_after(id, 0)?),
        log: None,
        report: ledger.report_of(id)?,
        row,
    })
}

impl Shown {
    /// The end of its log, without any secret; nothing when the log is gone.
    pub(crate) fn read_log(&mut self, secrets: &Secrets) {
        let text = self.row.log_file.as_deref().map(|path| exec::tail(Path::new(path), 0));
        self.log = text.filter(|text| !text.is_empty()).map(|text| secrets.hide(&text));
    }
}

pub(crate) fn timed(steps: Vec<Step>) -> Vec<TimedStep> {
    let mut after_ms = 0;
    let time = |step: Step| {
        let began = after_ms;
        after_ms += step.duration_ms;
        TimedStep { after_ms: began, step }
    };
    steps.into_iter().map(time).collect()
}
