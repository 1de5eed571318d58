//! The event log: the ledger's readable twin, one JSON line per ended deployment.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use jiff::Timestamp;
use serde_json::json;

use super::{Deployment, Ledger};
use crate::durable;
use crate::layout::create_private_dir;
use crate::report::{OrProblem, Problem, Report};

impl Ledger {
    /// Appends one line; on disk when this returns.
    pub(super) fn log_event(&self, deployment: &Deployment, report: &Report) -> Result<(), Problem> {
        let steps: Vec<_> = report
            .steps
            .iter()
            .map(|step| json!({"tool": step.tool, "name": step.name, "status": step.status, "duration_ms": step.duration_ms}))
            .collect();
        let line = json!({
            "id": deployment.id,
            "environment": deployment.environment,
            "kind": deployment.kind,
            "revision": deployment.revision,
            "branch": deployment.branch,
            "tree": deployment.tree,
            "state": deployment.state,
            "outcome": report.outcome,
            "who": deployment.who,
            "forced_reason": deployment.forced_reason,
            "started_at": Timestamp::from_millisecond(deployment.started_ms).ok().map(|at| at.to_string()),
            "duration_ms": report.duration_ms,
            "problem": report.problem.as_ref().map(|problem| &problem.title),
            "steps": steps,
        });
        let title = || format!("cannot write {}", self.event_log.display());
        if let Some(dir) = self.event_log.parent() {
            create_private_dir(dir)?;
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.event_log)
            .or_problem("state-unwritable", title)?;
        file.write_all(format!("{line}\n").as_bytes())
            .and_then(|()| durable::sync_file(&file))
            .or_problem("state-unwritable", title)
    }
}
