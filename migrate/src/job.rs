//! One migration to run in one direction: its text, and what becomes of its row in the tracking
//! table. Owns the writing of that table.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, Result, named_params};

use common::migrations::{Applied, Directives, Kind, Migration, UNFINISHED};
use common::report::now;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS main.migrations (
    version      INTEGER PRIMARY KEY,
    name         TEXT NOT NULL,
    checksum     TEXT NOT NULL,
    down         TEXT,
    applied_at   TEXT NOT NULL,
    duration_ms  INTEGER NOT NULL,
    deployment   TEXT,
    tool_version TEXT NOT NULL,
    kind         TEXT NOT NULL DEFAULT 'sql',
    environment  TEXT,
    sequence     INTEGER,
    unfinished   INTEGER,
    phase        TEXT
)";
/// What older releases did not have.
const NEWER: [(&str, &str); 5] = [
    ("kind", "TEXT NOT NULL DEFAULT 'sql'"),
    ("environment", "TEXT"),
    ("sequence", "INTEGER"),
    (UNFINISHED, "INTEGER"),
    ("phase", "TEXT"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// What is run and recorded.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) version: i64,
    /// None: it runs again whenever it changes, and only the other tool's table has it.
    pub(crate) number: Option<i64>,
    /// The version as the layout writes it.
    pub(crate) label: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) direction: Direction,
    /// For people: the file the text came from.
    pub(crate) file: String,
    /// What is run; empty for a baseline.
    pub(crate) text: Arc<str>,
    /// The up file as other tools see it.
    pub(crate) original: Arc<str>,
    /// Of the text that is run.
    pub(crate) directives: Directives,
    /// Statements that a run before this one has done; outside of transactions only.
    pub(crate) done: usize,
    row: Row,
}

#[derive(Debug, Clone)]
enum Row {
    Insert { checksum: String, down: Option<Arc<str>>, deployment: Option<String> },
    Delete { down: Option<Arc<str>>, deployment: Option<String> },
}

/// What a row says beside its migration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp<'a> {
    pub(crate) environment: &'a str,
    pub(crate) sequence: i64,
    pub(crate) duration_ms: u64,
}

impl Job {
    /// Applies `migration` and records it with `deployment`.
    pub(crate) fn apply(migration: &Migration, deployment: Option<&str>) -> Self {
        Self {
            version: migration.version,
            number: migration.number(),
            label: migration.label.clone(),
            name: migration.name.clone(),
            kind: migration.kind,
            direction: Direction::Up,
            file: migration.file.clone(),
            text: migration.up.clone(),
            original: migration.original.clone(),
            directives: migration.directives.clone(),
            done: 0,
            row: Row::Insert {
                checksum: migration.checksum.clone(),
                down: migration.down.clone(),
                deployment: deployment.map(str::to_owned),
            },
        }
    }

    /// Records `migration` without running it.
    pub(crate) fn record(migration: &Migration, deployment: Option<&str>) -> Self {
        Self { text: Arc::default(), ..Self::apply(migration, deployment) }
    }

    /// Undoes `applied` by `text` and forgets it.
    pub(crate) fn undo(applied: &Applied, text: Arc<str>, file: Option<&Migration>) -> Self {
        let ending = if applied.kind == Kind::Python { "py" } else { "down.sql" };
        let named = || format!("{:03}_{}.{ending}", applied.version, applied.name);
        Self {
            version: applied.version,
            number: Some(applied.version),
            label: file.map_or_else(|| applied.version.to_string(), |file| file.label.clone()),
            name: applied.name.clone(),
            kind: applied.kind,
            direction: Direction::Down,
            file: file.map_or_else(named, |file| file.down_file.clone()),
            directives: Directives::read(applied.kind, &text).unwrap_or_default(),
            text,
            original: Arc::default(),
            done: 0,
            row: Row::Delete {
                down: applied.down.as_deref().map(Arc::from),
                deployment: applied.deployment.clone(),
            },
        }
    }

    /// Whether it runs outside of transactions.
    pub(crate) fn is_outside(&self) -> bool {
        self.directives.no_transaction && self.kind == Kind::Sql
    }

    /// Writes or deletes the row; in the transaction of the migration itself.
    pub(crate) fn write_row(&self, db: &Connection, stamp: Stamp<'_>) -> Result<()> {
        match &self.row {
            _ if self.number.is_none() => Ok(()),
            Row::Insert { checksum, .. } => self.insert(db, stamp, checksum, None),
            Row::Delete { .. } => forget(db, self.version),
        }
    }

    /// Notes how far it came outside of transactions; `prefix` is the checksum of what is done.
    pub(crate) fn mark(&self, db: &Connection, stamp: Stamp<'_>, done: usize, prefix: &str) -> Result<()> {
        let done = i64::try_from(done).unwrap_or(i64::MAX);
        let unfinished = if self.direction == Direction::Up { done } else { -1 - done };
        self.insert(db, stamp, prefix, Some(unfinished))
    }

    fn insert(
        &self,
        db: &Connection,
        stamp: Stamp<'_>,
        checksum: &str,
        unfinished: Option<i64>,
    ) -> Result<()> {
        let (Row::Insert { down, deployment, .. } | Row::Delete { down, deployment, .. }) = &self.row;
        db.prepare(
            "INSERT OR REPLACE INTO main.migrations(version, name, checksum, down, applied_at, duration_ms, deployment, tool_version, kind, environment, sequence, unfinished, phase)
             VALUES (:version, :name, :checksum, :down, :at, :ms, :deployment, :tool, :kind, :environment, :sequence, :unfinished, :phase)",
        )?
        .execute(named_params! {
            ":version": self.version, ":name": self.name, ":checksum": checksum, ":down": down,
            ":at": now().to_string(), ":ms": i64::try_from(stamp.duration_ms).unwrap_or(i64::MAX),
            ":deployment": deployment, ":tool": env!("CARGO_PKG_VERSION"), ":kind": self.kind.word(),
            ":environment": stamp.environment, ":sequence": stamp.sequence, ":unfinished": unfinished,
            ":phase": self.directives.after.then_some("after"),
        })
        .map(drop)
    }
}

/// Makes the tracking table when there is none, and adds what an older release's lacks. The result
/// is the last place in the order of applied migrations.
pub(crate) fn prepare_table(db: &Connection) -> Result<i64> {
    db.execute_batch(TABLE)?;
    let known: HashSet<String> = db
        .prepare("SELECT name FROM pragma_table_info('migrations')")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_>>()?;
    for (column, kind) in NEWER.iter().filter(|(column, _)| !known.contains(*column)) {
        db.execute_batch(&format!("ALTER TABLE main.migrations ADD COLUMN {column} {kind}"))?;
    }
    db.query_row("SELECT ifnull(max(sequence), 0) FROM main.migrations", [], |row| row.get(0))
}

/// Forgets a row that another tool has undone.
pub(crate) fn forget(db: &Connection, version: i64) -> Result<()> {
    db.execute("DELETE FROM main.migrations WHERE version = ?1", [version]).map(drop)
}
