//! Journal entries: what was begun, and how to undo it. `journal` gives them meaning.

use rusqlite::{OptionalExtension, params};

use super::{Ledger, unreadable, unwritable};
use crate::fault;
use crate::report::Problem;

/// One step that changes something outside the ledger.
#[derive(Debug, Clone)]
pub struct JournalRow {
    pub number: i64,
    pub step: String,
    /// The undo, as JSON.
    pub undo: String,
}

impl Ledger {
    /// Writes an entry before its step acts; on disk when this returns.
    pub fn journal_begin(&self, deployment: &str, step: &str, undo: &str) -> Result<i64, Problem> {
        self.durably(|db| {
            db.query_row(
                "INSERT INTO journal SELECT ?1, 1 + ifnull(max(number), 0), ?2, ?3, 'begun' FROM journal WHERE deployment = ?1
                 RETURNING number",
                params![deployment, step, undo],
                |row| row.get(0),
            )
        })
    }

    /// Marks an entry as done; it still has to be undone when the deployment fails.
    pub fn journal_done(&self, deployment: &str, number: i64) -> Result<(), Problem> {
        self.mark(deployment, number, "done")
    }

    /// Marks an entry as undone.
    pub fn journal_undone(&self, deployment: &str, number: i64) -> Result<(), Problem> {
        self.mark(deployment, number, "undone")
    }

    /// Entries that still have to be undone, newest first.
    pub fn journal_open(&self, deployment: &str) -> Result<Vec<JournalRow>, Problem> {
        let read = || {
            let mut statement = self.db.prepare(
                "SELECT number, step, undo FROM journal WHERE deployment = ?1 AND state NOT IN ('undone', 'past') ORDER BY number DESC",
            )?;
            let rows = statement.query_map([deployment], |row| {
                Ok(JournalRow { number: row.get(0)?, step: row.get(1)?, undo: row.get(2)? })
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| unreadable(&error))
    }

    /// How the step `step` of a deployment is undone, as JSON, whatever became of it since.
    pub fn undo_of(&self, deployment: &str, step: &str) -> Result<Option<String>, Problem> {
        self.db
            .query_row(
                "SELECT undo FROM journal WHERE deployment = ?1 AND step = ?2 ORDER BY number DESC LIMIT 1",
                [deployment, step],
                |row| row.get(0),
            )
            .optional()
            .map_err(|error| unreadable(&error))
    }

    /// Losing a mark in a power cut harms nothing: every undo may find nothing to do.
    fn mark(&self, deployment: &str, number: i64, state: &str) -> Result<(), Problem> {
        fault::point("ledger.before-mark");
        let marked = self
            .db
            .execute(
                "UPDATE journal SET state = ?3 WHERE deployment = ?1 AND number = ?2",
                params![deployment, number, state],
            )
            .map(drop)
            .map_err(|error| unwritable(&error));
        fault::point("ledger.after-mark");
        marked
    }
}
