//! The app's SQLite database: opening it, checking it, copying it, comparing schemas and rows.
//!
//! Never creates, checkpoints or replaces a database in use; `migrate` and `backup` build on this.

mod content;
mod damage;
mod files;
mod schema;
mod snapshot;

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use content::{Table, TableFacts, quote};
pub use damage::find_damage;
pub use files::{aside, files_of, with_suffix};
pub use schema::{Change, RECORDS, Schema};
pub use snapshot::{refresh_in, snapshot, snapshot_in};

use crate::report::{OrProblem, Problem, quoted};

/// How long we wait for the app's own writers.
const BUSY: Duration = Duration::from_secs(10);
/// The same for who only looks and must not keep anybody waiting.
const BUSY_LOOK: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(1);

/// Opens an existing database for reading only; foreign keys as the file has them.
///
/// # Errors
/// `database-unreadable`.
pub fn open_read_only(path: &Path) -> Result<Connection, Problem> {
    let first = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY, wait_a_little);
    if first.is_err() && with_suffix(path, "-journal").exists() {
        roll_back_killed_writer(path)?;
        return open(path, OpenFlags::SQLITE_OPEN_READ_ONLY, wait_a_little);
    }
    first
}

/// As [`open_read_only`], for who only looks: what a killed writer left half done stays as it is, and
/// others are waited for a second at most.
///
/// # Errors
/// `database-busy`, `database-unreadable`.
pub fn open_untouched(path: &Path) -> Result<Connection, Problem> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY, |tries| wait(tries, BUSY_LOOK))
}

/// A journal that a killed writer left can only be rolled back by a connection that may write.
fn roll_back_killed_writer(path: &Path) -> Result<(), Problem> {
    let connection = open_existing(path)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map(drop)
        .or_problem("database-unreadable", || format!("cannot open the database {}", path.display()))
}

/// Opens an existing database for writing, with foreign keys off: the caller decides.
///
/// # Errors
/// `database-unreadable`.
pub fn open_existing(path: &Path) -> Result<Connection, Problem> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, wait_a_little)
}

fn open(path: &Path, flags: OpenFlags, wait: fn(i32) -> bool) -> Result<Connection, Problem> {
    let connect = || {
        let mut connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_handler(Some(wait))?;
        connection.pragma_update(None, "foreign_keys", false)?;
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
        Ok(connection)
    };
    connect().map_err(|error: rusqlite::Error| {
        let problem = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => {
                Problem::new("database-busy", format!("{} is never free", path.display())).retryable()
            }
            _ => Problem::new("database-unreadable", format!("cannot open the database {}", path.display())),
        };
        problem.detail(error.to_string()).hint(format!("ls -l {}", quoted(path.display())))
    })
}

/// Short constant pauses: SQLite's own, which grow to 100 ms, starve beside a steady writer.
fn wait(tries: i32, most: Duration) -> bool {
    std::thread::sleep(PAUSE);
    PAUSE * tries.unsigned_abs() < most
}

fn wait_a_little(tries: i32) -> bool {
    wait(tries, BUSY)
}

/// How thoroughly the pages of a file are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Also that each index agrees with its table, which takes about three times as long.
    Full,
    Quick,
}

/// Full integrity check and foreign key check.
///
/// # Errors
/// `database-damaged`, `foreign-keys-broken`, with the first findings.
pub fn check(connection: &Connection) -> Result<(), Problem> {
    check_pages(connection, Depth::Full)?;
    check_foreign_keys(connection)
}

/// Whether the file is whole.
///
/// # Errors
/// `database-damaged`, with the first findings.
pub fn check_pages(connection: &Connection, depth: Depth) -> Result<(), Problem> {
    let (query, name) = match depth {
        Depth::Full => ("PRAGMA integrity_check(10)", "integrity"),
        Depth::Quick => ("PRAGMA quick_check(10)", "quick"),
    };
    let findings = list(connection, query)?;
    if findings == ["ok"] {
        return Ok(());
    }
    Err(Problem::new("database-damaged", format!("the {name} check failed")).detail(findings.join("\n")))
}

/// Whether each row that refers to another has it.
///
/// # Errors
/// `foreign-keys-broken`, with the first such rows.
pub fn check_foreign_keys(connection: &Connection) -> Result<(), Problem> {
    let orphans = list(
        connection,
        "SELECT \"table\" || ' row ' || ifnull(rowid, '?') || ' lacks its ' || parent FROM pragma_foreign_key_check LIMIT 10",
    )?;
    if orphans.is_empty() {
        return Ok(());
    }
    Err(Problem::new("foreign-keys-broken", "rows refer to rows that do not exist")
        .detail(orphans.join("\n")))
}

fn list(connection: &Connection, query: &str) -> Result<Vec<String>, Problem> {
    let title = || "cannot check the database".to_owned();
    let mut statement = connection.prepare(query).or_problem("database-unreadable", title)?;
    let rows = statement.query_map([], |row| row.get(0)).or_problem("database-unreadable", title)?;
    rows.collect::<Result<_, _>>().or_problem("database-unreadable", title)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn who_only_looks_leaves_what_a_killed_writer_left() {
        let dir = tempfile::tempdir().unwrap();
        let (live, killed) = (dir.path().join("live.db"), dir.path().join("killed.db"));
        let db = Connection::open(&live).unwrap();
        db.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1); BEGIN; UPDATE t SET x = 2;").unwrap();
        db.cache_flush().unwrap();
        for suffix in ["", "-journal"] {
            fs::copy(with_suffix(&live, suffix), with_suffix(&killed, suffix)).unwrap();
        }
        let before = fs::read(&killed).unwrap();
        assert_eq!(open_untouched(&killed).unwrap_err().kind, "database-unreadable");
        assert_eq!(fs::read(&killed).unwrap(), before);
        let db = open_read_only(&killed).unwrap();
        assert_eq!(db.query_row("SELECT x FROM t", [], |row| row.get(0)), Ok(1));
    }

    #[test]
    fn who_only_looks_soon_says_that_somebody_else_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch("CREATE TABLE t(x); BEGIN EXCLUSIVE;").unwrap();
        let problem = open_untouched(&path).unwrap_err();
        assert!(problem.kind == "database-busy" && problem.retryable, "{problem:?}");
    }
}
