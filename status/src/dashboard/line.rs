//! Lines of tables: a deployment, a step of one, a backup.

use common::backups::Backup;
use common::git::short;
use common::ledger::{Deployment, ErrorGroup, State};
use common::report::Status;

use super::moment::{Moment, length, size};
use crate::facts::TimedStep;
use crate::serving::View;

/// The width of a step's timeline, in its own units.
const WIDTH: u64 = 1000;

/// One deployment.
pub(super) struct Line {
    pub(super) id: String,
    pub(super) environment: String,
    pub(super) kind: &'static str,
    pub(super) revision: String,
    pub(super) branch: Option<String>,
    pub(super) state: &'static str,
    pub(super) words: String,
    pub(super) began: Option<Moment>,
    pub(super) took: String,
    pub(super) who: Option<String>,
    pub(super) why: Option<String>,
    pub(super) is_running: bool,
}

impl Line {
    pub(super) fn of(row: &Deployment, view: View) -> Self {
        let is_full = view == View::Full;
        let took = row.duration_ms().map(|taken| length(taken.unsigned_abs()));
        Self {
            id: row.id.clone(),
            environment: row.environment.clone(),
            kind: row.kind.word(),
            revision: short(&row.revision).to_owned(),
            branch: row.branch.clone(),
            state: row.state.word(),
            words: row.state.word().replace('_', " "),
            began: Moment::of_ms(row.started_ms),
            is_running: row.ended_ms.is_none(),
            took: took.unwrap_or_else(|| "not yet ended".to_owned()),
            who: Some(row.who.clone()).filter(|_| is_full),
            why: row.forced_reason.clone().filter(|_| is_full),
        }
    }
}

/// The states to choose from, and which one is chosen.
pub(super) fn choices(chosen: Option<State>) -> Vec<(&'static str, bool)> {
    State::ALL.into_iter().map(|state| (state.word(), Some(state) == chosen)).collect()
}

/// One step, and where it stands in the time of its deployment.
pub(super) struct StepLine {
    pub(super) tool: String,
    pub(super) name: String,
    pub(super) status: &'static str,
    pub(super) took: String,
    pub(super) begin: u64,
    pub(super) width: u64,
    pub(super) problem: Option<String>,
    pub(super) detail: Option<String>,
}

impl StepLine {
    pub(super) fn all(steps: &[TimedStep], view: View) -> Vec<Self> {
        let whole = steps.last().map_or(1, |last| (last.after_ms + last.step.duration_ms).max(1));
        let line = |timed: &TimedStep| {
            let step = &timed.step;
            let problem = step.problem.as_ref().filter(|_| view == View::Full);
            Self {
                tool: step.tool.to_string(),
                name: step.name.clone(),
                status: word(step.status),
                took: length(step.duration_ms),
                begin: timed.after_ms * WIDTH / whole,
                width: (step.duration_ms * WIDTH / whole).max(3),
                problem: problem.map(|problem| problem.title.clone()),
                detail: problem.and_then(|problem| problem.detail.clone()),
            }
        };
        steps.iter().map(line).collect()
    }
}

pub(super) fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "passed",
        Status::Failed => "failed",
        Status::Skipped => "skipped",
    }
}

/// One backup.
pub(super) struct BackupLine {
    pub(super) id: String,
    pub(super) made: Moment,
    pub(super) reason: String,
    pub(super) size: String,
    pub(super) is_verified: bool,
}

impl BackupLine {
    pub(super) fn of(backup: &Backup) -> Self {
        let manifest = &backup.manifest;
        Self {
            id: manifest.id.clone(),
            made: Moment::at(manifest.created_at),
            reason: manifest.reason.clone(),
            size: size(backup.bytes()),
            is_verified: manifest.verified.holds(),
        }
    }
}

/// One kind of error in one release.
pub(super) struct ErrorLine {
    pub(super) title: String,
    pub(super) release: String,
    pub(super) count: u64,
    pub(super) last: Option<Moment>,
}

impl ErrorLine {
    pub(super) fn of(release: &str, group: &ErrorGroup) -> Self {
        Self {
            title: group.title.clone(),
            release: release.to_owned(),
            count: group.count,
            last: Moment::of_ms(group.last_ms),
        }
    }
}
