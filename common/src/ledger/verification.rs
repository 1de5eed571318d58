//! Verifications: the evidence that a promotion asks for.

use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::{Deployment, Ledger, event_log, unreadable};
use crate::lock;
use crate::report::{Problem, Report, now};

/// One full verification of a serving release.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verification {
    /// Order of insertion; clocks may step back, this never does.
    pub number: i64,
    pub environment: String,
    pub deployment: String,
    pub revision: String,
    pub tree: Option<String>,
    pub passed: bool,
    pub at_ms: i64,
    pub duration_ms: i64,
    pub host: String,
}

pub(super) const COLUMNS: &str =
    "number, environment, deployment, revision, tree, passed, at_ms, duration_ms, host";

impl Ledger {
    /// Saves a full verification of `deployment`, passed when the report says so.
    pub fn save_verification(&self, deployment: &Deployment, report: &Report) -> Result<(), Problem> {
        let host = lock::host();
        let text = serde_json::to_string(report).unwrap_or_default();
        self.durably(|db| {
            db.execute(
                "INSERT INTO verifications(environment, deployment, revision, tree, passed, at_ms, duration_ms, host, report)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    deployment.environment, deployment.id, deployment.revision, deployment.tree, report.success,
                    now().as_millisecond(), i64::try_from(report.duration_ms).unwrap_or(i64::MAX), host, text,
                ],
            )?;
            event_log::queue_verification(db, db.last_insert_rowid())
        })?;
        self.tell_later();
        Ok(())
    }

    /// The newest verification of a tree in an environment.
    pub fn evidence(&self, environment: &str, tree: &str) -> Result<Option<Verification>, Problem> {
        self.verification("environment = ?1 AND tree = ?2", &[&environment, &tree])
    }

    /// The newest verification in an environment.
    pub fn last_verification(&self, environment: &str) -> Result<Option<Verification>, Problem> {
        self.verification("environment = ?1", &[&environment])
    }

    fn verification(
        &self,
        condition: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Option<Verification>, Problem> {
        self.db
            .prepare(&format!(
                "SELECT {COLUMNS} FROM verifications WHERE {condition} ORDER BY number DESC LIMIT 1"
            ))
            .and_then(|mut statement| statement.query_row(values, from_row).optional())
            .map_err(|error| unreadable(&error))
    }
}

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Verification> {
    Ok(Verification {
        number: row.get(0)?,
        environment: row.get(1)?,
        deployment: row.get(2)?,
        revision: row.get(3)?,
        tree: row.get(4)?,
        passed: row.get(5)?,
        at_ms: row.get(6)?,
        duration_ms: row.get(7)?,
        host: row.get(8)?,
    })
}
