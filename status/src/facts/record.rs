//! What the ledger says of one environment, and the record of the instance that serves.

use common::config::{Config, Environment};
use common::instance::Instance;
use common::layout::Place;
use common::ledger::{ChoreRow, Deployment, Ledger, Selection, Verification};
use common::notify::Overdue;
use common::report::Problem;
use serde_json::{Value, json};

use super::{event, time};
use crate::uptime::{self, Figures};

/// So many of the newest rows come along.
const SHOWN: u32 = 5;

/// One environment, without a look at anything that runs.
pub(crate) struct Record<'a> {
    pub(super) place: Place,
    pub(super) settings: &'a Environment,
    /// Whether there is a ledger at all.
    pub(super) is_known: bool,
    pub(super) serving: Option<Deployment>,
    pub(super) instance: Option<Instance>,
    pub(super) forced: Option<Value>,
    pub(super) lost: Option<String>,
    pub(super) last_verification: Option<Value>,
    pub(super) unfinished: Vec<String>,
    pub(super) confirm_by: Option<String>,
    pub(super) chores: Vec<Value>,
    pub(super) uptime: Option<Figures>,
    pub(super) notifications: Vec<Overdue>,
    pub(super) last: Vec<Value>,
}

impl<'a> Record<'a> {
    pub(super) fn read(
        config: &'a Config,
        ledger: Option<&Ledger>,
        name: &str,
        overdue: &[Overdue],
    ) -> Result<Self, Problem> {
        let nothing = Self {
            place: Place::new(config, name),
            settings: config.environment(name)?,
            is_known: ledger.is_some(),
            serving: None,
            instance: None,
            forced: None,
            lost: None,
            last_verification: None,
            unfinished: Vec::new(),
            confirm_by: None,
            chores: Vec::new(),
            uptime: None,
            notifications: overdue.iter().filter(|found| found.environment == name).cloned().collect(),
            last: Vec::new(),
        };
        match ledger {
            Some(ledger) => nothing.fill(ledger, name),
            None => Ok(nothing),
        }
    }

    fn fill(self, ledger: &Ledger, name: &str) -> Result<Self, Problem> {
        let serving = ledger.serving(name)?;
        Ok(Self {
            instance: serving.as_ref().and_then(|row| Instance::read(&self.place, row.slot?)),
            forced: serving.clone().map(|row| forced(ledger, row)).transpose()?.flatten(),
            lost: ledger.lost().map(str::to_owned),
            last_verification: ledger.last_verification(name)?.as_ref().map(verification),
            unfinished: ledger.unfinished(name)?.into_iter().map(|row| row.id).collect(),
            confirm_by: ledger
                .awaiting(name)?
                .filter(Deployment::is_confirmable)
                .and_then(|row| time(row.confirm_by_ms?)),
            chores: ledger.postponed_chores(name)?.iter().map(chore).collect(),
            uptime: uptime::figures(ledger, name, uptime::DAY)?,
            last: ledger.history(name, &Selection::newest(SHOWN))?.iter().map(event).collect(),
            serving,
            ..self
        })
    }
}

fn verification(found: &Verification) -> Value {
    json!({
        "at": time(found.at_ms), "passed": found.passed, "deployment": found.deployment,
        "duration_ms": found.duration_ms,
    })
}

fn chore(row: &ChoreRow) -> Value {
    json!({
        "deployment": row.deployment, "chore": row.chore, "problem": row.problem, "since": time(row.since_ms),
    })
}

/// A rollback to a forced release serves it again.
fn forced(ledger: &Ledger, serving: Deployment) -> Result<Option<Value>, Problem> {
    let origin = ledger.origin(serving)?.filter(|row| row.forced_reason.is_some());
    Ok(origin.map(|row| {
        json!({"reason": row.forced_reason, "deployment": row.id, "who": row.who, "at": time(row.started_ms)})
    }))
}
