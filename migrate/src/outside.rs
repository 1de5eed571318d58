//! `-- no-transaction`: one migration statement by statement, each with a note of how far it came,
//! so that a run that is cut off goes on where it was.
//!
//! A statement that can be in a transaction shares one with its note. Those that cannot (VACUUM,
//! most PRAGMAs) may be repeated without harm.

use std::time::Instant;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection, Error};

use common::fault;
use common::interrupt;
use common::migrations::checksum;
use common::report::{Problem, quoted};

use crate::engine::millis;
use crate::job::{Job, Stamp};
use crate::statements::{Executed, failed_at, sql_problem};
use crate::tokens::{Statement, canonical, statements};

const BARE: [&str; 5] = ["VACUUM", "PRAGMA", "ATTACH", "DETACH", "BEGIN"];

/// Runs what is left of `job`; its row is the caller's to write.
///
/// # Errors
/// `migration-edited`, `migration-failed`: what was done stays done, and the next run goes on.
pub(crate) fn run(db: &Connection, job: &Job, stamp: Stamp<'_>) -> Result<Vec<Executed>, Problem> {
    let all = statements(&job.text);
    let mut executed = Vec::new();
    for (number, statement) in all.iter().enumerate().skip(job.done) {
        interrupt::check()?;
        let begun = Instant::now();
        let end = all.get(number + 1).map_or(job.text.len(), |next| next[0].offset);
        let sql = &job.text[statement[0].offset..end];
        let note = || job.mark(db, stamp, number + 1, &prefix(&job.text, number + 1));
        let changes = db.total_changes();
        step(db, statement, sql, note).map_err(|error| {
            if !db.is_autocommit() {
                let _ = db.execute_batch("ROLLBACK");
            }
            stopped(job, number, &error)
        })?;
        fault::point("migration.outside");
        executed.push(Executed {
            file: job.file.clone(),
            line: statement[0].line,
            sql: sql.trim().to_owned(),
            tables: Vec::new(),
            rows: db.total_changes() - changes,
            duration_ms: millis(begun.elapsed()),
        });
    }
    if db.is_autocommit() {
        return Ok(executed);
    }
    let _ = db.execute_batch("ROLLBACK");
    Err(Problem::new("migration-failed", format!("{} begins a transaction and does not end it", job.file))
        .detail("that transaction was rolled back; what was done before it stays"))
}

fn step(
    db: &Connection,
    statement: &Statement<'_>,
    sql: &str,
    note: impl Fn() -> Result<(), Error>,
) -> Result<(), Error> {
    let first = statement[0];
    let ends = first.is("COMMIT") || first.is("END");
    if !db.is_autocommit() {
        if ends {
            note()?;
        }
        return execute(db, sql);
    }
    if BARE.iter().any(|word| first.is(word)) {
        execute(db, sql)?;
        // Inside a transaction of its own the note would say more than is certain.
        return if db.is_autocommit() { note() } else { Ok(()) };
    }
    db.execute_batch("BEGIN IMMEDIATE")?;
    execute(db, sql)?;
    note()?;
    db.execute_batch("COMMIT")
}

fn execute(db: &Connection, sql: &str) -> Result<(), Error> {
    let mut batch = Batch::new(db, sql);
    while let Some(mut statement) = batch.next()? {
        let mut rows = statement.raw_query();
        while rows.next()?.is_some() {}
    }
    Ok(())
}

fn stopped(job: &Job, number: usize, error: &Error) -> Problem {
    let problem = failed_at(job, number, error);
    if problem.kind != "migration-failed" {
        return sql_problem(error);
    }
    problem.detail(format!(
        "it runs without a transaction: its first {number} statements are done and stay; mend the rest, and the next run goes on there"
    ))
}

/// Stands for the first `count` statements, whatever their spelling.
fn prefix(text: &str, count: usize) -> String {
    let words = statements(text)
        .into_iter()
        .take(count)
        .map(|statement| statement.iter().map(|token| token.text).collect::<Vec<_>>().join(" "));
    checksum(&canonical(&words.collect::<Vec<_>>().join(";")))
}

/// Refuses to go on with a text whose first statements are not those that were done.
///
/// # Errors
/// `migration-edited`.
pub(crate) fn check_prefix(job: &Job, done: usize, noted: &str) -> Result<(), Problem> {
    if done == 0 || prefix(&job.text, done) == noted {
        return Ok(());
    }
    Err(Problem::new(
        "migration-edited",
        format!("{} was cut off, and what it had done was edited since", job.file),
    )
    .detail(format!("its first {done} statements are done; restore them and change only what follows"))
    .hint(format!("git log -p -- {}", quoted(format!("migrations/{}", job.file)))))
}
