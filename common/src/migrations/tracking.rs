//! Reads the tracking table `migrations`; writing it belongs to `migrate`.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row};

use super::Kind;
use crate::report::{OrProblem, Problem};

/// The column that says how far a migration without a transaction came; null when it is done.
pub const UNFINISHED: &str = "unfinished";

/// One migration that a database has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    pub version: i64,
    pub name: String,
    pub checksum: String,
    /// Text that undoes it, as it was when it was applied.
    pub down: Option<String>,
    pub kind: Kind,
    /// RFC 3339, UTC.
    pub applied_at: String,
    pub duration_ms: i64,
    /// The deployment or operation that applied it.
    pub deployment: Option<String>,
    pub tool_version: String,
    /// The environment that the database belonged to then.
    pub environment: Option<String>,
    /// It waited until the release before was retired: code older than it cannot live with it.
    pub after: bool,
    /// Its place in the order in which they were applied; 0 in old tables.
    pub sequence: i64,
}

/// A migration without a transaction that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    pub applied: Applied,
    /// Statements that are done; negative when it was being undone.
    pub statements: i64,
}

/// Rows of the tracking table, lowest version first; none when there is no such table.
///
/// # Errors
/// `tracking-table-foreign`: the app has a table `migrations` of its own; `database-unreadable`.
pub fn read_applied(connection: &Connection) -> Result<Vec<Applied>, Problem> {
    Ok(read(connection, false)?.into_iter().map(|(applied, _)| applied).collect())
}

/// Those that began outside of a transaction and did not end.
///
/// # Errors
/// As [`read_applied`].
pub fn read_unfinished(connection: &Connection) -> Result<Vec<Unfinished>, Problem> {
    let rows = read(connection, true)?.into_iter();
    Ok(rows.map(|(applied, statements)| Unfinished { applied, statements }).collect())
}

/// Rows that are done, or those that are not, with how far they came.
fn read(connection: &Connection, unfinished: bool) -> Result<Vec<(Applied, i64)>, Problem> {
    let kind: Option<String> = connection
        .query_row("SELECT type FROM main.sqlite_master WHERE name = 'migrations'", [], |row| row.get(0))
        .optional()
        .or_problem("database-unreadable", || "cannot read the schema".into())?;
    if kind.is_none() {
        return Ok(Vec::new());
    }
    rows(connection, unfinished).or_problem("tracking-table-foreign", || {
        "the database has a table 'migrations' that is not the one of migrate".into()
    })
    .map_err(|problem| {
        problem.hint("sqlite3 DATABASE 'ALTER TABLE migrations RENAME TO app_migrations'   # after adapting the app")
    })
}

/// A table that an older release made lacks the newer columns.
fn rows(connection: &Connection, unfinished: bool) -> rusqlite::Result<Vec<(Applied, i64)>> {
    let mut list = connection.prepare("SELECT name FROM pragma_table_info('migrations')")?;
    let known: HashSet<String> = list.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let or =
        |column: &'static str, without: &'static str| if known.contains(column) { column } else { without };
    let query = format!(
        "SELECT version, name, checksum, down, applied_at, duration_ms, deployment, tool_version, {}, {}, {}, ifnull({count}, 0), {}
         FROM main.migrations WHERE ({count} IS NOT NULL) = ?1 ORDER BY version",
        or("kind", "'sql'"),
        or("environment", "NULL"),
        or("sequence", "0"),
        or("phase", "NULL"),
        count = or(UNFINISHED, "NULL"),
    );
    let mut statement = connection.prepare(&query)?;
    statement.query_map([unfinished], |row| Ok((from_row(row)?, row.get(11)?)))?.collect()
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
        kind: Kind::from_word(&row.get::<_, String>(8)?),
        environment: row.get(9)?,
        sequence: row.get::<_, Option<i64>>(10)?.unwrap_or(0),
        after: row.get::<_, Option<String>>(12)?.is_some(),
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

    #[test]
    fn a_table_of_an_older_release_is_read() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE migrations(version INTEGER PRIMARY KEY, name, checksum, down, applied_at, duration_ms, deployment, tool_version);
             INSERT INTO migrations VALUES (1, 'n', 'c', NULL, 't', 5, NULL, '0')",
        )
        .unwrap();
        let rows = read_applied(&db).unwrap();
        assert_eq!((rows.len(), rows[0].kind, rows[0].sequence), (1, Kind::Sql, 0));
        assert!(read_unfinished(&db).unwrap().is_empty());
    }
}
