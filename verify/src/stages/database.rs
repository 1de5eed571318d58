//! The environment's database, read only: whole, migrated, and having what it must have.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::database;
use common::migrations::{self, Source};
use common::report::{OrProblem, Problem, Step, quoted};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::{LIMIT, TOOL, milliseconds, skipped, timed};
use crate::subject::Subject;

/// Up to this size the whole check takes well under a second.
const FULL_CHECK_BYTES: u64 = 50 * 1024 * 1024;

pub(super) fn check(subject: &Subject, word: &mut Option<&'static str>) -> Vec<Step> {
    let Some(path) = &subject.database else {
        return vec![skipped("database", "the environment names no database")];
    };
    let target = path.display().to_string();
    let begun = Instant::now();
    let connection = match open(path) {
        Ok(connection) => connection,
        Err(problem) => {
            let step = Step::new(TOOL, "database", milliseconds(begun.elapsed()));
            return vec![step.target(target).fail(problem)];
        }
    };
    let mut steps = vec![
        timed("database.integrity", &target, || check_integrity(&connection, path)),
        timed("database.migrations", &target, || check_migrations(&connection, subject, word)),
    ];
    for (name, query) in &subject.checks.queries {
        let step =
            timed(&format!("database.query {name}"), &target, || check_query(&connection, query, path));
        steps.push(step);
    }
    steps
}

/// Not being allowed to look is no fault of the database.
fn open(path: &Path) -> Result<Connection, Problem> {
    let title = format!("cannot read the database {}", path.display());
    let hint = format!("ls -l {}", quoted(path.display()));
    match fs::File::open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Problem::new("database-missing", format!("there is no database {}", path.display()))
                .hint(hint));
        }
        Err(error) => return Err(Problem::unverified(title).detail(error.to_string()).hint(hint)),
    }
    let connection = database::open_read_only(path)?;
    connection.pragma_update(None, "query_only", true).or_problem("database-unreadable", || title)?;
    Ok(connection)
}

fn check_integrity(connection: &Connection, path: &Path) -> Result<(), Problem> {
    let size = fs::metadata(path).map_or(0, |file| file.len());
    let result =
        if size <= FULL_CHECK_BYTES { database::check(connection) } else { check_quickly(connection) };
    result.map_err(|problem| match problem.hint {
        Some(_) => problem,
        None => {
            problem.hint(format!("sqlite3 -readonly {} 'pragma integrity_check'", quoted(path.display())))
        }
    })
}

/// Leaves out that each index agrees with its table, which is what takes long.
fn check_quickly(connection: &Connection) -> Result<(), Problem> {
    let first = |query: &str| -> Result<Option<String>, Problem> {
        let mut statement = connection
            .prepare(query)
            .or_problem("database-unreadable", || "cannot check the database".into())?;
        let mut rows = statement
            .query_map([], |row| row.get(0))
            .or_problem("database-damaged", || "the quick check failed".into())?;
        rows.next().transpose().or_problem("database-damaged", || "the quick check failed".into())
    };
    match first("PRAGMA quick_check(1)")?.as_deref() {
        Some("ok") => {}
        finding => {
            return Err(Problem::new("database-damaged", "the quick check failed")
                .detail(finding.unwrap_or("no answer")));
        }
    }
    match first("SELECT \"table\" || ' lacks its ' || parent FROM pragma_foreign_key_check LIMIT 1")? {
        None => Ok(()),
        Some(orphan) => {
            Err(Problem::new("foreign-keys-broken", "rows refer to rows that do not exist").detail(orphan))
        }
    }
}

/// A database ahead of its release is right: a rollback may leave newer migrations in place.
fn check_migrations(
    connection: &Connection,
    subject: &Subject,
    word: &mut Option<&'static str>,
) -> Result<(), Problem> {
    let environment = subject.place.environment();
    let source = Source::read(&subject.release, Some(connection))?;
    let files = &source.migrations;
    if files.is_empty() {
        return Ok(());
    }
    let standing = migrations::compare(files, &source.applied(connection)?);
    *word = Some(standing.word());
    standing.check(environment)?;
    match standing.pending.first() {
        None => Ok(()),
        Some(first) => Err(Problem::new("migrations-pending", format!("{} is not applied", first.file))
            .detail(format!("{} of {} migrations are pending", standing.pending.len(), files.len()))
            .hint(format!("migrate {environment} status"))),
    }
}

fn check_query(connection: &Connection, query: &str, path: &Path) -> Result<(), Problem> {
    let hint = format!("sqlite3 -readonly {} {}", quoted(path.display()), quoted(query));
    match value(connection, query) {
        Ok((true, _)) => Ok(()),
        Ok((false, shown)) => Err(Problem::new("query-false", format!("the query gave {shown}"))
            .detail(format!("expected: a value other than 0\nactual: {shown}\nquery: {query}"))
            .hint(hint)),
        Err(error) => Err(Problem::new("query-failed", "the query could not be answered")
            .detail(format!("{error}\nquery: {query}"))
            .hint(hint)),
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
