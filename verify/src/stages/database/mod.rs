//! The environment's database, read only: whole, migrated, of the schema that the release expects,
//! and having what it must have. `query` asks it.

mod query;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;

use common::database::{self, Change, Depth, Schema};
use common::migrations::{self, Source};
use common::report::{OrProblem, Problem, Step, quoted};
use rusqlite::Connection;

use super::{TOOL, milliseconds, skipped, timed};
use crate::subject::Subject;

/// Up to this size the whole check takes well under a second.
const FULL_CHECK_BYTES: u64 = 50 * 1024 * 1024;
const SCHEMA: &str = "schema.sql";

/// What was found besides the steps.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// How the database stands to the release's migrations.
    pub(crate) migrations: Option<&'static str>,
    /// Rows of each table that must not shrink.
    pub(crate) rows: BTreeMap<String, u64>,
}

pub(super) fn check(subject: &Subject, facts: &mut Facts) -> Vec<Step> {
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
        timed("database.integrity", &target, || check_pages(&connection, path)),
        timed("database.foreign-keys", &target, || check_foreign_keys(&connection, path)),
        timed("database.migrations", &target, || {
            check_migrations(&connection, subject, &mut facts.migrations)
        }),
    ];
    if subject.release.join(SCHEMA).exists() {
        steps.push(timed("database.schema", &target, || check_schema(&connection, subject, path)));
    }
    steps.extend(questions(&connection, subject, path, &mut facts.rows));
    steps
}

fn questions(
    connection: &Connection,
    subject: &Subject,
    path: &Path,
    rows: &mut BTreeMap<String, u64>,
) -> Vec<Step> {
    let (checks, target) = (&subject.checks, path.display().to_string());
    let mut steps = Vec::new();
    for (name, query) in &checks.queries {
        let name = format!("database.query {name}");
        steps.push(timed(&name, &target, || query::check_query(connection, query, path)));
    }
    for reference in &checks.references {
        let name = format!("database.reference {}.{}", reference.from.0, reference.from.1);
        steps.push(timed(&name, &target, || query::check_reference(connection, reference, path)));
    }
    for table in &checks.never_shrink {
        let name = format!("database.rows {table}");
        let counts = (subject.last.as_ref(), &mut *rows);
        steps.push(timed(&name, &target, || query::check_rows(connection, table, counts, path)));
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

fn check_pages(connection: &Connection, path: &Path) -> Result<(), Problem> {
    let size = fs::metadata(path).map_or(0, |file| file.len());
    let depth = if size <= FULL_CHECK_BYTES { Depth::Full } else { Depth::Quick };
    with_hint(database::check_pages(connection, depth), path, "pragma integrity_check")
}

fn check_foreign_keys(connection: &Connection, path: &Path) -> Result<(), Problem> {
    with_hint(database::check_foreign_keys(connection), path, "pragma foreign_key_check")
}

fn with_hint(result: Result<(), Problem>, path: &Path, query: &str) -> Result<(), Problem> {
    result.map_err(|problem| match problem.hint {
        Some(_) => problem,
        None => problem.hint(format!("sqlite3 -readonly {} '{query}'", quoted(path.display()))),
    })
}

fn read_schema(file: &Path) -> Result<Schema, Problem> {
    let title = || format!("{} is no schema", file.display());
    let made = fs::read_to_string(file).or_problem("schema-drift", title).and_then(|text| {
        let empty = Connection::open_in_memory().or_problem("unverified", title)?;
        empty.execute_batch(&text).or_problem("schema-drift", title).map(|()| empty)
    });
    let made =
        made.map_err(|problem| problem.hint(format!("sqlite3 :memory: < {}", quoted(file.display()))))?;
    Schema::read(&made)
}

/// A schema that has more than the release's file is right, since a rollback may leave newer
/// migrations in place; one on which the release's code may fail is not.
fn check_schema(connection: &Connection, subject: &Subject, path: &Path) -> Result<(), Problem> {
    let file = subject.release.join(SCHEMA);
    match read_schema(&file)?.compare(&Schema::read(connection)?) {
        Change::Same | Change::Grew => Ok(()),
        Change::Changed(reasons) => {
            Err(Problem::new("schema-drift", format!("the database is not what {SCHEMA} says"))
                .detail(reasons.join("\n"))
                .hint(format!(
                    "sqlite3 -readonly {} .schema   # compare with {}",
                    quoted(path.display()),
                    quoted(file.display())
                )))
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
