//! The journal: what a deployment has begun, and how to undo it.
//!
//! An entry is on disk before its step acts. A failed deployment undoes its entries newest first;
//! recovery after a crash does exactly the same. Each undo is idempotent.

mod undo;

use serde::{Deserialize, Serialize};

use crate::fault;
use crate::layout::Slot;
use crate::ledger::{Deployment, Ledger};
use crate::report::{Problem, Step};
use crate::site::Site;
use crate::space;

/// How one step is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "snake_case")]
pub enum Undo {
    /// The release directory did not exist.
    RemoveRelease { release: String },
    /// The database file did not exist.
    RemoveDatabase,
    /// Migrations ran; `grew` when old code lives on with them.
    UndoMigrations { grew: bool },
    /// Migrations were taken back; `release` has them.
    RedoMigrations { release: String },
    /// The database was damaged, and is set aside for one that was salvaged; `release` has the
    /// migrations of the damaged one.
    PutBackDatabase { release: String },
    /// The slot was idle.
    StopInstance { slot: Slot },
    /// Traffic went to the instance of `deployment`, or nowhere.
    PointGateway { deployment: Option<String> },
    /// The instance of `deployment` served, and had to end before the change.
    Resume { deployment: String },
}

impl Undo {
    /// Whether undoing this means that users or data were touched.
    fn touches_service(&self) -> bool {
        !matches!(self, Self::RemoveRelease { .. } | Self::StopInstance { .. })
    }

    fn step(&self) -> &'static str {
        match self {
            Self::RemoveRelease { .. } => "undo.release",
            Self::RemoveDatabase | Self::PutBackDatabase { .. } => "undo.database",
            Self::UndoMigrations { .. } | Self::RedoMigrations { .. } => "undo.migrations",
            Self::StopInstance { .. } => "undo.instance",
            Self::PointGateway { .. } => "undo.cutover",
            Self::Resume { .. } => "undo.standstill",
        }
    }
}

/// Writes an entry, acts, and marks the entry done.
///
/// # Errors
/// The action's own problem; the entry then stays open.
pub fn record<T>(
    site: &Site,
    deployment: &str,
    undo: &Undo,
    act: impl FnOnce() -> Result<T, Problem>,
) -> Result<T, Problem> {
    let text = serde_json::to_string(undo).unwrap_or_default();
    let number = site.ledger.journal_begin(deployment, undo.step(), &text)?;
    fault::point(undo.step());
    let value = act()?;
    fault::point(undo.step());
    site.ledger.journal_done(deployment, number)?;
    Ok(value)
}

/// Whether old code lives on with what a deployment's migrations did; nothing is known of a lost
/// journal, nor of migrations that no deployment ran.
///
/// # Errors
/// `ledger-unreadable`.
pub fn grew(ledger: &Ledger, deployment: &str) -> Result<Option<bool>, Problem> {
    let step = Undo::UndoMigrations { grew: true }.step();
    let undo = ledger.undo_of(deployment, step)?.and_then(|text| serde_json::from_str(&text).ok());
    Ok(match undo {
        Some(Undo::UndoMigrations { grew }) => Some(grew),
        _ => None,
    })
}

/// What undoing came to.
#[derive(Debug, Default)]
pub struct Undone {
    pub steps: Vec<Step>,
    /// Users or data had been touched before.
    pub touched_service: bool,
    /// The first undo that failed; the others were tried all the same, unless traffic could not be
    /// moved.
    pub problem: Option<Problem>,
}

/// Undoes all open entries of a deployment, newest first.
///
/// # Errors
/// `ledger-unreadable`; a failing undo is told in [`Undone::problem`] instead.
pub fn undo_all(site: &Site, tool: &str, deployment: &Deployment) -> Result<Undone, Problem> {
    let mut undone = Undone::default();
    for row in site.ledger.journal_open(&deployment.id)? {
        let undo: Undo = serde_json::from_str(&row.undo).map_err(|error| {
            Problem::new("ledger-unreadable", "a journal entry makes no sense").detail(error.to_string())
        })?;
        let begun = std::time::Instant::now();
        // An entry that cannot be marked is undone once more by a later command, and the others now.
        fault::point("undo.before");
        let result = undo::apply(site, deployment, &undo)
            .inspect(|_| fault::point("undo.after"))
            .and_then(|note| site.ledger.journal_undone(&deployment.id, row.number).map(|()| note))
            .map_err(space::explain);
        let step = Step::new(
            tool.to_owned(),
            undo.step(),
            u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        );
        undone.touched_service |= undo.touches_service();
        match result {
            Ok(note) => {
                undone.steps.push(match note {
                    Some(note) => step.target(note),
                    None => step,
                });
            }
            Err(problem) => {
                undone.steps.push(step.fail(problem.clone()));
                undone.problem.get_or_insert(problem);
                if matches!(undo, Undo::PointGateway { .. }) || undo::is_stuck(site, deployment, &undo)? {
                    // Traffic goes to what the other entries would stop and remove.
                    break;
                }
            }
        }
    }
    Ok(undone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_the_way_to_disk_and_back() {
        let undo = Undo::PointGateway { deployment: Some("a".into()) };
        let text = serde_json::to_string(&undo).unwrap();
        assert_eq!(serde_json::from_str::<Undo>(&text).unwrap(), undo);
        assert!(text.contains("\"undo\":\"point_gateway\""), "{text}");
    }
}
