//! Reads the tracking table `migrations`; writing it belongs to `migrate`.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::report::{OrProblem, Problem};

/// One migration that a database has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub version: i64,
    pub name: String,
    pub checksum: String,
    /// SQL text that undoes it, as it was when it was applied.
    pub down: Option<String>,
    /// RFC 3339, UTC.
    pub applied_at: String,
    pub duration_ms: i64,
    /// The deployment or operation that applied it.
    pub deployment: Option<String>,
    pub tool_version: String,
}

/// Rows of the tracking table, lowest version first; none when there is no such table.
///
/// # Errors
/// `tracking-table-foreign`: the app has a table `migrations` of its own; `database-unreadable`.
pub fn read_applied(connection: &Connection) -> Result<Vec<Applied>, Problem> {
    let kind: Option<String> = connection
        .query_row("SELECT type FROM main.sqlite_master WHERE name = 'migrations'", [], |row| row.get(0))
        .optional()
        .or_problem("database-unreadable", || "cannot read the schema".into())?;
    if kind.is_none() {
        return Ok(Vec::new());
    }
    rows(connection).or_problem("tracking-table-foreign", || {
        "the database has a table 'migrations' that is not the one of migrate".into()
    })
    .map_err(|problem| {
        problem.hint("sqlite3 DATABASE 'ALTER TABLE migrations RENAME TO app_migrations'   # after adapting the app")
    })
}

fn rows(connection: &Connection) -> rusqlite::Result<Vec<Applied>> {
    let mut statement = connection.prepare(
        "SELECT version, name, checksum, down, applied_at, duration_ms, deployment, tool_version
         FROM main.migrations ORDER BY version",
    )?;
    statement.query_map([], from_row)?.collect()
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Applied> {
    Ok(Applied {
        version: row.get(0)?,
        name: row.get(1)?,
        checksum: row.get(2)?,
        down: row.get(3)?,
        applied_at: row.get(4)?,
        duration_ms: row.get(5)?,
        deployment: row.get(6)?,
        tool_version: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_means_nothing_applied_and_a_foreign_one_is_refused() {
        let db = Connection::open_in_memory().unwrap();
        assert!(read_applied(&db).unwrap().is_empty());
        db.execute_batch("CREATE TABLE migrations(id INTEGER, migration TEXT)").unwrap();
        assert_eq!(read_applied(&db).unwrap_err().kind, "tracking-table-foreign");
    }
}
