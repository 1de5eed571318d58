//! The ledger's own schema, versioned by `user_version`.

use rusqlite::{Connection, Result, TransactionBehavior};

const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE deployments (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    environment TEXT NOT NULL,
    kind        TEXT NOT NULL,
    state       TEXT NOT NULL,
    revision    TEXT NOT NULL,
    branch      TEXT,
    tree        TEXT,
    release     TEXT,
    slot        TEXT,
    replaced    TEXT,
    restores    TEXT,
    who         TEXT NOT NULL,
    started_ms  INTEGER NOT NULL,
    serving_ms  INTEGER,
    verified_ms INTEGER,
    ended_ms    INTEGER,
    outcome     TEXT,
    log_file    TEXT,
    report      TEXT
) STRICT;
CREATE INDEX deployments_of_environment ON deployments(environment, number);
CREATE INDEX deployments_of_revision ON deployments(environment, revision);
CREATE INDEX deployments_unfinished ON deployments(environment) WHERE ended_ms IS NULL;
CREATE INDEX deployments_broken ON deployments(environment) WHERE state = 'broken';
CREATE TABLE environments (
    name    TEXT PRIMARY KEY,
    serving TEXT
) STRICT;
CREATE TABLE steps (
    deployment  TEXT NOT NULL,
    number      INTEGER NOT NULL,
    tool        TEXT NOT NULL,
    name        TEXT NOT NULL,
    status      TEXT NOT NULL,
    duration_ms INTEGER NOT NULL,
    target      TEXT,
    problem     TEXT,
    PRIMARY KEY (deployment, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE journal (
    deployment TEXT NOT NULL,
    number     INTEGER NOT NULL,
    step       TEXT NOT NULL,
    undo       TEXT NOT NULL,
    state      TEXT NOT NULL,
    PRIMARY KEY (deployment, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE verifications (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT NOT NULL,
    deployment  TEXT NOT NULL,
    revision    TEXT NOT NULL,
    tree        TEXT,
    passed      INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    host        TEXT NOT NULL,
    report      TEXT
) STRICT;
CREATE INDEX verifications_of_tree ON verifications(environment, tree, number);
";

/// Brings the file to the current version.
pub(super) fn prepare(db: &Connection) -> Result<()> {
    db.pragma_update(None, "synchronous", "NORMAL")?;
    if is_current(db)? {
        return Ok(());
    }
    db.pragma_update(None, "journal_mode", "WAL")?;
    let transaction = rusqlite::Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    if version(&transaction)? == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()
}

/// Whether the file has the current version's tables.
pub(super) fn is_current(db: &Connection) -> Result<bool> {
    version(db).map(|version| version == VERSION)
}

fn version(db: &Connection) -> Result<i64> {
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
}
