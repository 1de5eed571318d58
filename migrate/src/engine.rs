//! Runs a list of migrations in ONE transaction: all of them with their records, or nothing.
//!
//! Foreign keys are off before it begins (a table rebuild would otherwise empty its child tables)
//! and checked before it commits. SQLite itself finds the statements. Where the list comes from
//! and what it means is the caller's business.

use std::time::{Duration, Instant};

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection, Error, ErrorCode, Transaction, TransactionBehavior};
use serde::Serialize;

use common::database::Schema;
use common::fault;
use common::interrupt;
use common::report::Problem;

use crate::cancel::cancellable;
use crate::job::{Job, prepare_table};
use crate::references::{refuse_new, violations};
use crate::rows::{self, Counts};
use crate::tokens;

/// What a committed transaction did.
pub(crate) struct Done {
    pub(crate) finished: Vec<Finished>,
    pub(crate) rows: [Counts; 2],
    pub(crate) schema: [Schema; 2],
    /// How long other writers had to wait.
    pub(crate) write_lock: Duration,
}

/// One migration that ran.
pub(crate) struct Finished {
    pub(crate) job: Job,
    pub(crate) took: Duration,
    /// Kept when watched.
    pub(crate) statements: Vec<Executed>,
    /// Counted after each migration when watched.
    pub(crate) rows: Option<Counts>,
}

/// One statement as SQLite cut it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Executed {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) sql: String,
    pub(crate) duration_ms: u64,
}

/// A transaction that was rolled back.
pub(crate) struct Failure {
    pub(crate) problem: Box<Problem>,
    /// The migration that failed, when it was one of them.
    pub(crate) file: Option<String>,
    /// Those that had run before it, and are undone.
    pub(crate) undone: Vec<String>,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), file: None, undone: Vec::new() }
    }
}

/// Chooses jobs by what it sees inside the transaction, runs them and commits. `None`: nothing to do.
/// A `watched` run keeps its statements and counts rows after each migration.
///
/// # Errors
/// Whatever failed, after the rollback; the database is as it was.
pub(crate) fn transact(
    db: &Connection,
    watched: bool,
    choose: impl FnOnce(&Connection) -> Result<Vec<Job>, Problem>,
) -> Result<Option<Done>, Failure> {
    // At FULL, a power cut may take the last commit back while the ledger already speaks of it.
    db.pragma_update(None, "synchronous", "EXTRA").map_err(|error| sql_problem(&error))?;
    db.pragma_update(None, "foreign_keys", false).map_err(|error| sql_problem(&error))?;
    let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)
        .map_err(|error| sql_problem(&error))?;
    let begun = Instant::now();
    let jobs = choose(&transaction)?;
    if jobs.is_empty() {
        return Ok(None);
    }
    let before = (Schema::read(&transaction)?, count(&transaction)?, violations(&transaction));
    prepare_table(&transaction).map_err(|error| sql_problem(&error))?;
    let finished = cancellable(&transaction, || run_all(&transaction, jobs, watched))?;
    let after = (Schema::read(&transaction)?, count(&transaction)?, violations(&transaction));
    refuse_new(&before.2, &after.2)?;
    interrupt::check()?;
    fault::point("migration.before-commit");
    transaction.commit().map_err(|error| sql_problem(&error))?;
    fault::point("migration.after-commit");
    Ok(Some(Done {
        finished,
        rows: [before.1, after.1],
        schema: [before.0, after.0],
        write_lock: begun.elapsed(),
    }))
}

fn run_all(db: &Connection, jobs: Vec<Job>, watched: bool) -> Result<Vec<Finished>, Failure> {
    let mut all: Vec<Finished> = Vec::with_capacity(jobs.len());
    for job in jobs {
        let begun = Instant::now();
        let ran = run(db, &job, watched).and_then(|statements| {
            job.write_row(db, millis(begun.elapsed())).map_err(|error| sql_problem(&error))?;
            let rows = if watched { Some(count(db)?) } else { None };
            Ok((statements, rows))
        });
        match ran {
            Ok((statements, rows)) => all.push(Finished { took: begun.elapsed(), job, statements, rows }),
            Err(problem) => {
                let undone = all.into_iter().map(|finished| finished.job.file).collect();
                return Err(Failure { problem: Box::new(problem), file: Some(job.file), undone });
            }
        }
    }
    Ok(all)
}

fn run(db: &Connection, job: &Job, watched: bool) -> Result<Vec<Executed>, Problem> {
    let lines: Vec<usize> = tokens::statements(&job.text).iter().map(|statement| statement[0].line).collect();
    let mut batch = Batch::new(db, &job.text);
    let mut executed = Vec::new();
    let mut lines = lines.into_iter();
    loop {
        interrupt::check()?;
        let line = lines.next().unwrap_or(1);
        let failed = |error: Error| failed_at(job, line, &error);
        let begun = Instant::now();
        let Some(mut statement) = batch.next().map_err(failed)? else { return Ok(executed) };
        let sql = watched.then(|| statement.expanded_sql()).flatten();
        let mut rows = statement.query([]).map_err(failed)?;
        while rows.next().map_err(failed)?.is_some() {}
        executed.extend(sql.map(|sql| Executed {
            file: job.file.clone(),
            line,
            sql: sql.trim().to_owned(),
            duration_ms: millis(begun.elapsed()),
        }));
    }
}

fn failed_at(job: &Job, line: usize, error: &Error) -> Problem {
    let problem = interrupt::check().err().unwrap_or_else(|| sql_problem(error));
    if problem.retryable {
        return problem;
    }
    Problem::new("migration-failed", format!("{} line {line} failed: {}", job.file, message(error)))
        .detail("everything was rolled back; the database is as it was")
}

fn count(db: &Connection) -> Result<Counts, Problem> {
    rows::count(db).map_err(|error| sql_problem(&error))
}

fn sql_problem(error: &Error) -> Problem {
    let busy = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
    if busy {
        return Problem::new("database-busy", "another process keeps the database locked")
            .detail(message(error))
            .hint("lslocks   # then run the same command again")
            .retryable();
    }
    Problem::new("migration-failed", format!("the database refused: {}", message(error)))
}

fn message(error: &Error) -> String {
    match error {
        Error::SqlInputError { msg, .. } => msg.clone(),
        Error::SqliteFailure(_, Some(text)) => text.clone(),
        other => other.to_string(),
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use common::migrations::{Migration, checksum, read_applied};

    use super::*;

    fn job(version: i64, up: &str) -> Job {
        let migration = Migration {
            version,
            name: "n".into(),
            up: up.into(),
            down: None,
            checksum: checksum(up),
            file: format!("{version:03}_n.up.sql"),
        };
        Job::apply(&migration, Some("d1"))
    }

    fn database(sql: &str) -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(sql).unwrap();
        db
    }

    fn dump(db: &Connection) -> String {
        let mut list = db.prepare("SELECT group_concat(name || ifnull(sql, '')) FROM sqlite_master").unwrap();
        list.query_row([], |row| row.get::<_, Option<String>>(0)).unwrap().unwrap_or_default()
    }

    #[test]
    fn rebuilding_a_parent_keeps_the_rows_of_its_children() {
        let db = database(
            "CREATE TABLE p(id INTEGER PRIMARY KEY, a);
             CREATE TABLE c(p REFERENCES p(id) ON DELETE CASCADE);
             INSERT INTO p VALUES (1, 'x'); INSERT INTO c VALUES (1), (1), (1);",
        );
        let rebuild = "CREATE TABLE n(id INTEGER PRIMARY KEY, a, b); INSERT INTO n SELECT id, a, 1 FROM p;
            DROP TABLE p; ALTER TABLE n RENAME TO p;";
        let done = transact(&db, true, |_| Ok(vec![job(1, rebuild)])).ok().flatten().unwrap();
        assert_eq!(done.rows[1]["c"], 3);
        assert_eq!(done.finished[0].statements[2].sql, "DROP TABLE p;");
    }

    #[test]
    fn a_failure_in_the_middle_leaves_nothing() {
        let db = database("CREATE TABLE t(a); INSERT INTO t VALUES (1);");
        let before = dump(&db);
        let jobs = vec![
            job(1, "CREATE TABLE u(a); DELETE FROM t;"),
            job(2, "CREATE TABLE v(a);\n\nINSERT INTO w VALUES (1);"),
        ];
        let failure = transact(&db, false, |_| Ok(jobs)).err().unwrap();
        assert_eq!(failure.problem.title, "002_n.up.sql line 3 failed: no such table: w");
        assert_eq!(
            (failure.file.as_deref(), failure.undone.as_slice()),
            (Some("002_n.up.sql"), &["001_n.up.sql".to_owned()][..])
        );
        assert_eq!(dump(&db), before);
        assert_eq!(db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        assert!(db.is_autocommit());
    }

    #[test]
    fn new_orphans_are_refused_and_old_ones_accepted() {
        let schema = "PRAGMA foreign_keys=OFF; CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id)); INSERT INTO c VALUES (7);";
        let db = database(schema);
        assert!(transact(&db, false, |_| Ok(vec![job(1, "ALTER TABLE c ADD COLUMN x;")])).is_ok());
        let failure =
            transact(&db, false, |_| Ok(vec![job(2, "INSERT INTO c(p) VALUES (8);")])).err().unwrap();
        assert_eq!(failure.problem.kind, "foreign-keys-broken");
        assert_eq!(read_applied(&db).unwrap().len(), 1);
    }

    #[test]
    fn rows_that_a_statement_returns_are_read_to_the_end() {
        let db = database("CREATE TABLE t(a)");
        let sql = "INSERT INTO t VALUES (1), (2), (3) RETURNING a; SELECT a FROM t; PRAGMA user_version = 7;";
        transact(&db, false, |_| Ok(vec![job(1, sql)])).ok().flatten().unwrap();
        assert_eq!(db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 3);
        assert_eq!(db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
    }
}
