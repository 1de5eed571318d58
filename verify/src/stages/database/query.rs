//! Questions to the database: the release's own queries, rows without those that they belong to,
//! and tables that have fewer rows than before. None runs for longer than a request may take.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use common::database::quote;
use common::report::{Problem, quoted};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::super::LIMIT;
use crate::checks::Reference;
use crate::regressions::Structure;

pub(super) fn check_query(connection: &Connection, query: &str, path: &Path) -> Result<(), Problem> {
    let hint = format!("sqlite3 -readonly {} {}", quoted(path.display()), quoted(query));
    match value(connection, query) {
        Ok((true, _)) => Ok(()),
        Ok((false, shown)) => Err(Problem::new("query-false", format!("the query gave {shown}"))
            .detail(format!("expected: a value other than 0\nactual: {shown}\nquery: {query}"))
            .hint(hint)),
        Err(error) => Err(unanswered(&error, query, hint)),
    }
}

/// Whether the first value is true, as SQLite sees it, and how it reads.
fn value(connection: &Connection, query: &str) -> rusqlite::Result<(bool, String)> {
    limited(connection, LIMIT, || {
        let mut statement = connection.prepare(query)?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else { return Ok((false, "no row".to_owned())) };
        Ok(match row.get_ref(0)? {
            ValueRef::Null => (false, "NULL".to_owned()),
            ValueRef::Integer(number) => (number != 0, number.to_string()),
            ValueRef::Real(number) => (number != 0.0, number.to_string()),
            ValueRef::Text(text) => (false, format!("the text '{}'", String::from_utf8_lossy(text))),
            ValueRef::Blob(bytes) => (false, format!("{} bytes", bytes.len())),
        })
    })
}

/// Whether each value of a column is one of the other column.
pub(super) fn check_reference(
    connection: &Connection,
    reference: &Reference,
    path: &Path,
) -> Result<(), Problem> {
    let Reference { from: (table, column), to: (other, key) } = reference;
    let query = format!(
        "SELECT count(*) FROM {table} WHERE {column} IS NOT NULL AND {column} NOT IN (SELECT {key} FROM {other} WHERE {key} IS NOT NULL)",
        table = quote(table),
        column = quote(column),
        other = quote(other),
        key = quote(key),
    );
    let hint = format!("sqlite3 -readonly {} {}", quoted(path.display()), quoted(&query));
    match count(connection, &query) {
        Ok(0) => Ok(()),
        Ok(count) => {
            Err(Problem::new("rows-orphaned", format!("{count} rows of {table} lack their {other}"))
                .detail(format!(
                    "expected: each {table}.{column} among {other}.{key}\nactual: {count} are not"
                ))
                .hint(hint))
        }
        Err(error) => Err(unanswered(&error, &query, hint)),
    }
}

/// Counts a table into `rows`, and compares it with the count of the verification before.
pub(super) fn check_rows(
    connection: &Connection,
    table: &str,
    (before, rows): (Option<&Structure>, &mut BTreeMap<String, u64>),
    path: &Path,
) -> Result<(), Problem> {
    let query = format!("SELECT count(*) FROM {}", quote(table));
    let hint = format!("sqlite3 -readonly {} {}", quoted(path.display()), quoted(&query));
    let count = count(connection, &query).map_err(|error| unanswered(&error, &query, hint.clone()))?;
    rows.insert(table.to_owned(), count);
    let known = before.and_then(|before| Some((before, *before.rows.get(table)?)));
    match known.filter(|(_, known)| count < *known) {
        None => Ok(()),
        Some((before, known)) => {
            Err(Problem::new("rows-shrunk", format!("{table} has {count} rows, and had {known}"))
                .detail(format!("verified: {} (deployment {})", before.recorded_at, before.deployment))
                .hint(hint))
        }
    }
}

fn count(connection: &Connection, query: &str) -> rusqlite::Result<u64> {
    let number = limited(connection, LIMIT, || connection.query_row(query, [], |row| row.get::<_, i64>(0)))?;
    Ok(number.unsigned_abs())
}

fn unanswered(error: &rusqlite::Error, query: &str, hint: String) -> Problem {
    Problem::new("query-failed", "the query could not be answered")
        .detail(format!("{error}\nquery: {query}"))
        .hint(hint)
}

/// Runs `act` and interrupts its statement after `limit`.
fn limited<T>(connection: &Connection, limit: Duration, act: impl FnOnce() -> T) -> T {
    let handle = connection.get_interrupt_handle();
    let (done, finished) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if finished.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                handle.interrupt();
            }
        });
        let result = act();
        drop(done);
        result
    })
}
