//! The app's SQLite database: opening it, checking it, copying it, comparing schemas.
//!
//! Never creates, checkpoints or replaces a database in use; `migrate` and `backup` build on this.

mod schema;
mod snapshot;

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use schema::{Change, Schema};
pub use snapshot::snapshot;

use crate::report::{OrProblem, Problem};

/// How long we wait for the app's own writers.
const BUSY: Duration = Duration::from_secs(10);

/// Opens an existing database for reading only; foreign keys as the file has them.
///
/// # Errors
/// `database-unreadable`.
pub fn open_read_only(path: &Path) -> Result<Connection, Problem> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Opens an existing database for writing, with foreign keys off: the caller decides.
///
/// # Errors
/// `database-unreadable`.
pub fn open_existing(path: &Path) -> Result<Connection, Problem> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// Opens a database for writing and makes the file when there is none.
///
/// # Errors
/// `database-unreadable`.
pub fn open_or_create(path: &Path) -> Result<Connection, Problem> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, Problem> {
    let title = || format!("cannot open the database {}", path.display());
    let hint = |problem: Problem| problem.hint(format!("ls -l {}", path.display()));
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .or_problem("database-unreadable", title)
        .map_err(hint)?;
    connection.busy_timeout(BUSY).or_problem("database-unreadable", title)?;
    connection
        .pragma_update(None, "foreign_keys", false)
        .and_then(|()| connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(())))
        .or_problem("database-unreadable", title)
        .map_err(hint)?;
    Ok(connection)
}

/// Full integrity check and foreign key check.
///
/// # Errors
/// `database-damaged`, with the first findings.
pub fn check(connection: &Connection) -> Result<(), Problem> {
    let findings = list(connection, "PRAGMA integrity_check(10)")?;
    if findings != ["ok"] {
        return Err(
            Problem::new("database-damaged", "the integrity check failed").detail(findings.join("\n"))
        );
    }
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
