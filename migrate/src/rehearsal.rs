//! One rehearsal: up, checks, down, compare, up again, on a private copy of the database. Owns the
//! verdict; whether it fails the run is the caller's decision.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::database::{Change, check, open_existing, snapshot};
use common::migrations::{Migration, read_applied};
use common::report::Problem;
use rusqlite::Connection;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::birth::Birth;
use crate::content::{Shape, compare_rows, compare_shapes, shape};
use crate::down::undoing;
use crate::engine::{Done, Executed, millis, transact};
use crate::job::Job;
use crate::loss;
use crate::rows;
use crate::scratch::Scratch;

/// What the rehearsal found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Verdict {
    /// `same`, `grew` or `changed`; absent when the migrations did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
    /// Why old code may not live with the new schema.
    reasons: Vec<String>,
    /// Whether the downs bring back the schema, and the rows where old code could not live on.
    reversible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reversal_problem: Option<String>,
    /// How long other writers would have to wait.
    write_lock_ms: u64,
    /// Tables whose row counts differ: `[before, after]`.
    rows: Map<String, Value>,
}

impl Verdict {
    /// Nothing is pending.
    pub(crate) fn unchanged() -> Self {
        Self { change: Some("same"), reversible: true, ..Self::default() }
    }
}

/// A part of the rehearsal and how long it took.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    pub(crate) problem: Option<Problem>,
}

/// A rehearsal under way, or over.
pub(crate) struct Rehearsal<'a> {
    pending: &'a [Migration],
    environment: &'a str,
    pub(crate) verdict: Verdict,
    pub(crate) statements: Vec<Executed>,
    pub(crate) parts: Vec<Part>,
}

impl<'a> Rehearsal<'a> {
    pub(crate) fn new(pending: &'a [Migration], environment: &'a str) -> Self {
        Self { pending, environment, verdict: Verdict::default(), statements: Vec::new(), parts: Vec::new() }
    }

    /// Rehearses on a copy of `database` (an empty one when there is no file) in `root`, and keeps
    /// the migrated copy at `keep`.
    ///
    /// # Errors
    /// `migration-failed`, `foreign-keys-broken`, `database-damaged`, `rows-lost`,
    /// `rehearsal-differs`, `snapshot-failed`.
    pub(crate) fn perform(
        &mut self,
        database: &Path,
        root: &Path,
        keep: Option<&Path>,
    ) -> Result<(), Problem> {
        let scratch = Scratch::make(root)?;
        let copy = self.part("rehearse.copy", |_| copy_database(database, scratch.file("copy.db")))?;
        let db = open_existing(&copy)?;
        let before = read_shape(&db)?;
        let done = self.part("rehearse.up", |it| it.apply(&db))?;
        let after = read_shape(&db)?;
        match &done {
            Some(done) => self.judge(done),
            None => self.verdict.change = Some("same"),
        }
        self.part("rehearse.check", |_| check_result(&db, done.as_ref()))?;
        if let Some(keep) = keep {
            self.part("rehearse.keep", |_| snapshot(&copy, keep, &mut |_, _| {}))?;
        }
        self.verdict.reversal_problem =
            self.part("rehearse.down", |it| it.reverse(&db, database, &scratch, &before))?;
        self.verdict.reversible = self.verdict.reversal_problem.is_none();
        if self.verdict.reversible {
            self.part("rehearse.again", |it| it.repeat(&db, &after))?;
        }
        Ok(())
    }

    fn part<T>(
        &mut self,
        name: &'static str,
        act: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        common::interrupt::check()?;
        let begun = Instant::now();
        let result = act(self);
        self.parts.push(Part { name, took: begun.elapsed(), problem: result.as_ref().err().cloned() });
        result
    }

    fn apply(&mut self, db: &Connection) -> Result<Option<Done>, Problem> {
        let jobs = self.pending.iter().map(|migration| Job::apply(migration, None)).collect();
        let done = transact(db, true, |_| Ok(jobs)).map_err(|failure| self.with_hint(*failure.problem))?;
        let finished = done.iter().flat_map(|done| &done.finished);
        self.statements = finished.flat_map(|finished| finished.statements.clone()).collect();
        Ok(done)
    }

    fn judge(&mut self, done: &Done) {
        let [before, after] = &done.schema;
        let (change, reasons) = match before.compare(after) {
            Change::Same => ("same", Vec::new()),
            Change::Grew => ("grew", Vec::new()),
            Change::Changed(reasons) => ("changed", reasons),
        };
        self.verdict.change = Some(change);
        self.verdict.reasons = reasons;
        self.verdict.write_lock_ms = millis(done.write_lock);
        self.verdict.rows = rows::differences(&done.rows[0], &done.rows[1]);
    }

    /// Undoes what was applied; the result is why the way back cannot be trusted.
    fn reverse(
        &self,
        db: &Connection,
        database: &Path,
        scratch: &Scratch,
        before: &Shape,
    ) -> Result<Option<String>, Problem> {
        let applied = read_applied(db)?;
        let newest_first = applied.iter().rev().take(self.pending.len());
        let jobs: Result<Vec<Job>, Problem> =
            newest_first.map(|row| undoing(row, &[], self.environment)).collect();
        let jobs = match jobs {
            Ok(jobs) => jobs,
            Err(problem) => return Ok(Some(problem.title)),
        };
        if let Err(failure) = transact(db, false, |_| Ok(jobs)) {
            return Ok(Some(failure.problem.title));
        }
        let mut differences = compare_shapes(before, &read_shape(db)?);
        if differences.is_empty() && self.verdict.change == Some("changed") && database.exists() {
            let original = copy_database(database, scratch.file("original.db"))?;
            differences = compare_rows(db, &original).map_err(|error| unreadable(&error))?;
        }
        let sentence = format!("after the way back, {}", differences.join(", "));
        Ok((!differences.is_empty()).then_some(sentence))
    }

    fn repeat(&mut self, db: &Connection, expected: &Shape) -> Result<(), Problem> {
        let differences = match self.apply(db) {
            Ok(_) => compare_shapes(expected, &read_shape(db)?),
            Err(problem) => vec![problem.title],
        };
        if differences.is_empty() {
            return Ok(());
        }
        let problem = Problem::new("rehearsal-differs", "up works once, but not again after its way back");
        Err(self.with_hint(problem.detail(differences.join("\n"))))
    }

    fn with_hint(&self, mut problem: Problem) -> Problem {
        problem.hint.get_or_insert_with(|| format!("migrate {} plan", self.environment));
        problem
    }
}

fn copy_database(database: &Path, copy: PathBuf) -> Result<PathBuf, Problem> {
    if database.exists() {
        snapshot(database, &copy, &mut |_, _| {})?;
    } else {
        Birth::ensure(&copy)?.keep();
    }
    Ok(copy)
}

fn check_result(db: &Connection, done: Option<&Done>) -> Result<(), Problem> {
    match check(db) {
        // New ones were refused before the commit; old ones are not this migration's doing.
        Err(problem) if problem.kind == "foreign-keys-broken" => {}
        other => other?,
    }
    match done {
        Some(done) => loss::refuse_unapproved(&done.rows[0], &done.finished),
        None => Ok(()),
    }
}

fn read_shape(db: &Connection) -> Result<Shape, Problem> {
    shape(db).map_err(|error| unreadable(&error))
}

fn unreadable(error: &rusqlite::Error) -> Problem {
    Problem::new("database-unreadable", "cannot read the rehearsed copy").detail(error.to_string())
}
