//! One migration to run in one direction: its text, and what becomes of its row in the tracking
//! table. Owns the writing of that table.

use rusqlite::{Connection, Result, named_params};

use common::migrations::{Applied, Migration};
use common::report::now;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS main.migrations (
    version      INTEGER PRIMARY KEY,
    name         TEXT NOT NULL,
    checksum     TEXT NOT NULL,
    down         TEXT,
    applied_at   TEXT NOT NULL,
    duration_ms  INTEGER NOT NULL,
    deployment   TEXT,
    tool_version TEXT NOT NULL
)";

/// What is run and recorded.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) version: i64,
    pub(crate) name: String,
    /// For people: the file the text came from.
    pub(crate) file: String,
    /// SQL text; empty for a baseline.
    pub(crate) text: String,
    row: Row,
}

#[derive(Debug, Clone)]
enum Row {
    Insert { checksum: String, down: Option<String>, deployment: Option<String> },
    Delete,
}

impl Job {
    /// Applies `migration` and records it with `deployment`.
    pub(crate) fn apply(migration: &Migration, deployment: Option<&str>) -> Self {
        Self {
            version: migration.version,
            name: migration.name.clone(),
            file: migration.file.clone(),
            text: migration.up.clone(),
            row: Row::Insert {
                checksum: migration.checksum.clone(),
                down: migration.down.clone(),
                deployment: deployment.map(str::to_owned),
            },
        }
    }

    /// Records `migration` without running it.
    pub(crate) fn record(migration: &Migration, deployment: Option<&str>) -> Self {
        Self { text: String::new(), ..Self::apply(migration, deployment) }
    }

    /// Undoes `applied` by `text` and forgets it.
    pub(crate) fn undo(applied: &Applied, text: String) -> Self {
        Self {
            version: applied.version,
            name: applied.name.clone(),
            file: format!("{:03}_{}.down.sql", applied.version, applied.name),
            text,
            row: Row::Delete,
        }
    }

    /// Writes or deletes the row; in the transaction of the migration itself.
    pub(crate) fn write_row(&self, db: &Connection, duration_ms: u64) -> Result<()> {
        match &self.row {
            Row::Insert { checksum, down, deployment } => {
                db.prepare(
                    "INSERT INTO main.migrations(version, name, checksum, down, applied_at, duration_ms, deployment, tool_version)
                     VALUES (:version, :name, :checksum, :down, :at, :ms, :deployment, :tool)",
                )?
                .execute(named_params! {
                    ":version": self.version, ":name": self.name, ":checksum": checksum, ":down": down,
                    ":at": now().to_string(), ":ms": i64::try_from(duration_ms).unwrap_or(i64::MAX),
                    ":deployment": deployment, ":tool": env!("CARGO_PKG_VERSION"),
                })
            }
            Row::Delete => {
                db.prepare("DELETE FROM main.migrations WHERE version = ?1")?.execute([self.version])
            }
        }
        .map(drop)
    }
}

/// Makes the tracking table when there is none.
pub(crate) fn prepare_table(db: &Connection) -> Result<()> {
    db.execute_batch(TABLE)
}
