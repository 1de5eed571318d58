//! The ledger's own schema, versioned by `user_version`.

use rusqlite::{Connection, Result, TransactionBehavior};

const VERSION: i64 = 9;

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

/// What each later version adds, oldest first; a new file goes the same way.
const UPGRADES: [&str; 8] = [
    "
ALTER TABLE deployments ADD COLUMN forced_reason TEXT;
ALTER TABLE deployments ADD COLUMN confirm_by_ms INTEGER;
ALTER TABLE deployments ADD COLUMN confirmed_ms INTEGER;
",
    "
CREATE TABLE chores (
    deployment TEXT NOT NULL,
    chore      TEXT NOT NULL,
    problem    TEXT NOT NULL,
    since_ms   INTEGER NOT NULL,
    PRIMARY KEY (deployment, chore)
) STRICT, WITHOUT ROWID;
",
    // An event log of before lacks much of what the ledger knows: an empty line asks for all of it.
    "
ALTER TABLE deployments ADD COLUMN database TEXT;
ALTER TABLE environments ADD COLUMN note TEXT;
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    line   TEXT NOT NULL
) STRICT;
INSERT INTO outbox(line) SELECT '' WHERE EXISTS (SELECT 1 FROM deployments);
",
    "
CREATE TABLE messages (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT NOT NULL,
    receiver    TEXT NOT NULL,
    body        TEXT NOT NULL,
    since_ms    INTEGER NOT NULL,
    tries       INTEGER NOT NULL DEFAULT 0,
    problem     TEXT,
    next_ms     INTEGER NOT NULL DEFAULT 0,
    given_up    INTEGER NOT NULL DEFAULT FALSE
) STRICT;
",
    "
CREATE TABLE probes (
    environment TEXT NOT NULL,
    length_ms   INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    probes      INTEGER NOT NULL,
    up          INTEGER NOT NULL,
    degraded    INTEGER NOT NULL,
    requests    INTEGER NOT NULL,
    errors      INTEGER NOT NULL,
    minutes     INTEGER NOT NULL,
    latency     TEXT NOT NULL,
    PRIMARY KEY (environment, length_ms, at_ms)
) STRICT, WITHOUT ROWID;
CREATE TABLE watches (
    environment TEXT PRIMARY KEY,
    state       TEXT NOT NULL
) STRICT;
",
    "
CREATE TABLE errors (
    environment TEXT NOT NULL,
    release     TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    title       TEXT NOT NULL,
    excerpt     TEXT NOT NULL,
    count       INTEGER NOT NULL,
    first_ms    INTEGER NOT NULL,
    last_ms     INTEGER NOT NULL,
    PRIMARY KEY (environment, release, fingerprint)
) STRICT, WITHOUT ROWID;
CREATE TABLE logs (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    environment TEXT NOT NULL,
    release     TEXT NOT NULL,
    position    TEXT NOT NULL,
    UNIQUE (environment, release)
) STRICT;
",
    // What `status` asks costs the same in a ledger of any length.
    "
CREATE INDEX verifications_of_environment ON verifications(environment, number);
CREATE INDEX verifications_of_deployment ON verifications(deployment, number);
CREATE INDEX deployments_of_state ON deployments(environment, state, number);
CREATE INDEX deployments_back ON deployments(environment, number) WHERE kind = 'rollback';
CREATE INDEX errors_of_environment ON errors(environment, last_ms);
",
    "
CREATE INDEX deployments_by_time ON deployments(environment, started_ms);
",
];

/// How the file stands to this version of the tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Made by a run that was killed before it wrote the tables.
    Empty,
    Older,
    Current,
    /// A later version may have changed what we rely on.
    Newer,
}

/// Brings the file to the current version; one of a later version stays as it is.
pub(super) fn prepare(db: &Connection) -> Result<()> {
    db.pragma_update(None, "synchronous", "NORMAL")?;
    if matches!(age(db)?, Age::Current | Age::Newer) {
        return Ok(());
    }
    db.pragma_update(None, "journal_mode", "WAL")?;
    let transaction = rusqlite::Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    for (step, reaches) in [TABLES].into_iter().chain(UPGRADES).zip(1..) {
        if version(&transaction)? < reaches {
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", reaches)?;
        }
    }
    transaction.commit()
}

pub(super) fn age(db: &Connection) -> Result<Age> {
    Ok(match version(db)? {
        0 => Age::Empty,
        VERSION => Age::Current,
        version if version < VERSION => Age::Older,
        _ => Age::Newer,
    })
}

fn version(db: &Connection) -> Result<i64> {
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(db: &Connection) -> i64 {
        db.query_row("SELECT count(*) FROM pragma_table_info('deployments')", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_ledger_of_the_first_version_is_brought_up_and_keeps_its_rows() {
        let fresh = Connection::open_in_memory().unwrap();
        prepare(&fresh).unwrap();
        let old = Connection::open_in_memory().unwrap();
        old.execute_batch(TABLES).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        old.execute("INSERT INTO environments(name, serving) VALUES ('dev', 'x')", []).unwrap();
        prepare(&old).unwrap();
        prepare(&old).unwrap();
        assert_eq!(columns(&old), columns(&fresh));
        assert_eq!((age(&old), age(&fresh)), (Ok(Age::Current), Ok(Age::Current)));
        assert_eq!(old.query_row("SELECT count(*) FROM environments", [], |row| row.get(0)), Ok(1));
    }

    #[test]
    fn a_ledger_of_a_later_version_is_not_touched() {
        let db = Connection::open_in_memory().unwrap();
        prepare(&db).unwrap();
        db.pragma_update(None, "user_version", VERSION + 1).unwrap();
        prepare(&db).unwrap();
        assert_eq!(age(&db), Ok(Age::Newer));
    }
}
