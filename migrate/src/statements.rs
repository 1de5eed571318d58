//! Runs the SQL text of one migration, statement by statement as SQLite itself cuts it.

use std::time::Instant;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection, Error, ErrorCode};
use serde::Serialize;

use common::interrupt;
use common::report::Problem;

use crate::engine::millis;
use crate::guard::Guard;
use crate::job::Job;
use crate::tokens;
use crate::vocabulary::missing_name;

/// One statement as SQLite cut it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Executed {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) sql: String,
    /// The tables that it names to change them.
    pub(crate) tables: Vec<String>,
    /// Rows inserted, updated and deleted, also by triggers.
    pub(crate) rows: u64,
    pub(crate) duration_ms: u64,
}

/// Runs all statements of `job` inside the transaction that is open; keeps them when `watched`.
///
/// # Errors
/// `migration-failed` with file and line, `migration-refused`, `database-busy`, `interrupted`.
pub(crate) fn run(
    db: &Connection,
    guard: &Guard,
    job: &Job,
    watched: bool,
) -> Result<Vec<Executed>, Problem> {
    let mut batch = Batch::new(db, &job.text);
    let mut executed = Vec::new();
    for number in 0.. {
        interrupt::check()?;
        let failed = |error: Error| failed_at(job, number, &error);
        let (begun, changes) = (Instant::now(), db.total_changes());
        let Some(mut statement) = guard.raised(|| batch.next()).map_err(failed)? else { break };
        let sql = watched.then(|| statement.expanded_sql()).flatten();
        guard
            .raised(|| -> Result<(), Error> {
                let mut rows = statement.raw_query();
                while rows.next()?.is_some() {}
                Ok(())
            })
            .map_err(failed)?;
        let rows = db.total_changes() - changes;
        executed.extend(sql.map(|sql| Executed {
            file: job.file.clone(),
            line: line(&job.text, number),
            sql: sql.trim().to_owned(),
            tables: guard.take_tables(),
            rows,
            duration_ms: millis(begun.elapsed()),
        }));
    }
    Ok(executed)
}

/// The line that a statement begins on; only worth finding when somebody will read it.
pub(crate) fn line(text: &str, number: usize) -> usize {
    tokens::statements(text).get(number).map_or(1, |statement| statement[0].line)
}

/// The problem with statement `number` of `job`.
pub(crate) fn failed_at(job: &Job, number: usize, error: &Error) -> Problem {
    let problem = interrupt::check().err().unwrap_or_else(|| sql_problem(error));
    if problem.retryable {
        return problem;
    }
    let (line, why) = (line(&job.text, number), message(error));
    if let Some(problem) = missing_name(&job.file, line, &why) {
        return problem;
    }
    Problem::new("migration-failed", format!("{} line {line} failed: {why}", job.file))
        .detail("everything was rolled back; the database is as it was")
}

pub(crate) fn sql_problem(error: &Error) -> Problem {
    let busy = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
    if busy {
        return Problem::new("database-busy", "another process keeps the database locked")
            .detail(message(error))
            .hint("lslocks   # then run the same command again")
            .retryable();
    }
    Problem::new("migration-failed", format!("the database refused: {}", message(error)))
}

/// SQLite's own words.
pub(crate) fn message(error: &Error) -> String {
    match error {
        Error::SqlInputError { msg, .. } => msg.clone(),
        Error::SqliteFailure(_, Some(text)) => text.clone(),
        other => other.to_string(),
    }
}
