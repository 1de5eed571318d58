//! One pass over a list of jobs: where its transactions begin and end, and what holds at each end.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use common::database::Schema;
use common::fault;
use common::interrupt;
use common::migrations::Kind;
use common::report::Problem;

use crate::content::shape;
use crate::engine::{Done, Failure, Finished, Room, Seen, Terms, longest, millis};
use crate::job::{Job, Stamp, prepare_table};
use crate::kept_journal::KeptJournal;
use crate::loss;
use crate::outside;
use crate::references::{Violations, has_keys, refuse_new, violations};
use crate::rows::{self, Counts, Scope};
use crate::statements::{self, Executed, sql_problem};

pub(crate) struct Pass<'a> {
    room: &'a Room,
    terms: Terms<'a>,
    finished: Vec<Finished>,
    /// How many of them are committed.
    committed: usize,
    sequence: i64,
    known: Violations,
    /// Whether any table has foreign keys: without, there is nothing to check.
    keys: bool,
    /// Hash of the schema, and rows.
    before: Option<(String, Counts)>,
    counted: Scope,
    /// Whether the connection is set for the last transaction or one before it; unknown at first, and
    /// after a file that ran without one.
    set_for: Option<bool>,
    journal: Option<KeptJournal<'a>>,
    begun: Instant,
    write_lock: Duration,
    touched: bool,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(room: &'a Room, terms: Terms<'a>) -> Self {
        Self {
            room,
            terms,
            finished: Vec::new(),
            committed: 0,
            sequence: 0,
            known: Violations::new(),
            keys: false,
            before: None,
            counted: Scope::All,
            set_for: None,
            journal: None,
            begun: Instant::now(),
            write_lock: Duration::ZERO,
            touched: false,
        }
    }

    pub(crate) fn perform(
        mut self,
        choose: impl FnOnce(&Connection) -> Result<Vec<Job>, Problem>,
    ) -> Result<Option<Done>, Failure> {
        self.keep_journal();
        self.begin(true)?;
        let chosen = choose(&self.room.db);
        let jobs = match chosen {
            Ok(jobs) if !jobs.is_empty() => jobs,
            other => {
                self.roll_back();
                return other.map(|_| None).map_err(Failure::from);
            }
        };
        let mut file = None;
        let result =
            self.prepare(&jobs).and_then(|()| self.run_all(jobs, &mut file)).and_then(|()| self.finish());
        match result {
            Ok(done) => Ok(Some(done)),
            Err(problem) => {
                self.roll_back();
                let undone = self.finished.split_off(self.committed);
                Err(Failure {
                    problem: Box::new(problem),
                    file,
                    undone: undone.into_iter().map(|finished| finished.job.file).collect(),
                    kept: self.finished,
                    touched: self.touched,
                })
            }
        }
    }

    fn keep_journal(&mut self) {
        self.journal = if self.terms.each { KeptJournal::of(&self.room.db) } else { None };
    }

    /// Only the last commit has to be on disk when it returns, however the power goes: at FULL a
    /// power cut may take the last one back while the ledger already speaks of it.
    fn begin(&mut self, last: bool) -> Result<(), Problem> {
        let db = &self.room.db;
        let begin = || {
            if self.set_for != Some(last) {
                db.pragma_update(None, "synchronous", if last { "EXTRA" } else { "FULL" })?;
                db.pragma_update(None, "foreign_keys", false)?;
            }
            db.execute_batch("BEGIN IMMEDIATE")
        };
        begin().map_err(|error| sql_problem(&error))?;
        self.set_for = Some(last);
        self.begun = Instant::now();
        Ok(())
    }

    fn roll_back(&self) {
        if !self.room.db.is_autocommit() {
            let _ = self.room.db.execute_batch("ROLLBACK");
        }
    }

    fn prepare(&mut self, jobs: &[Job]) -> Result<(), Problem> {
        let db = &self.room.db;
        if !self.terms.watched {
            self.counted = Scope::of(jobs, db).map_err(|error| sql_problem(&error))?;
        }
        self.keys = has_keys(db);
        self.known = if self.keys { violations(db) } else { Violations::new() };
        self.before = Some((Schema::hash_in(db)?, count(db, &self.counted)?));
        self.sequence = prepare_table(db).map_err(|error| sql_problem(&error))?;
        match self.terms.books {
            Some(books) => books.open(db),
            None => Ok(()),
        }
    }

    fn run_all(&mut self, jobs: Vec<Job>, file: &mut Option<String>) -> Result<(), Problem> {
        let count = jobs.len();
        for (number, job) in jobs.into_iter().enumerate() {
            *file = Some(job.file.clone());
            let is_last = number + 1 == count;
            if job.is_outside() {
                if !self.room.db.is_autocommit() {
                    self.commit()?;
                }
                self.run_outside(job)?;
            } else {
                if self.room.db.is_autocommit() {
                    self.begin(is_last || !self.terms.each)?;
                }
                self.run_inside(job)?;
                if self.terms.each && !is_last {
                    self.commit()?;
                }
            }
        }
        *file = None;
        Ok(())
    }

    fn run_inside(&mut self, job: Job) -> Result<(), Problem> {
        let begun = Instant::now();
        self.keys |= job.kind == Kind::Python || mentions_keys(&job.text);
        let statements = self.execute(&job)?;
        self.record(&job, begun)?;
        self.take(job, begun, statements)
    }

    fn execute(&self, job: &Job) -> Result<Vec<Executed>, Problem> {
        let Room { db, guard, python } = self.room;
        match job.kind {
            Kind::Sql => statements::run(db, guard, job, self.terms.watched),
            Kind::Python if job.text.is_empty() => Ok(Vec::new()),
            Kind::Python => {
                let sent = guard.raised(|| python.run(db, guard, job))?;
                let tables = guard.take_tables();
                let executed = |sent: crate::python::Sent| Executed {
                    file: job.file.clone(),
                    line: 1,
                    sql: sent.sql,
                    tables: tables.clone(),
                    rows: sent.rows,
                    duration_ms: 0,
                };
                Ok(sent.into_iter().map(executed).collect())
            }
        }
    }

    fn run_outside(&mut self, job: Job) -> Result<(), Problem> {
        let begun = Instant::now();
        let db = &self.room.db;
        self.keys |= mentions_keys(&job.text);
        self.touched = true;
        let stamp =
            Stamp { environment: self.terms.environment, sequence: self.sequence + 1, duration_ms: 0 };
        // It finds everything as it is without us; whatever it sets, the next migration begins as every other.
        self.journal = None;
        let statements = outside::run(db, &job, stamp);
        self.keep_journal();
        self.set_for = None;
        self.begin(true)?;
        let statements = statements?;
        self.record(&job, begun)?;
        self.take(job, begun, statements)?;
        self.commit()
    }

    fn record(&mut self, job: &Job, begun: Instant) -> Result<(), Problem> {
        let db = &self.room.db;
        self.sequence += 1;
        let stamp = Stamp {
            environment: self.terms.environment,
            sequence: self.sequence,
            duration_ms: millis(begun.elapsed()),
        };
        job.write_row(db, stamp).map_err(|error| sql_problem(&error))?;
        match self.terms.books {
            Some(books) => books.note(db, job, begun.elapsed()),
            None => Ok(()),
        }
    }

    fn take(&mut self, job: Job, begun: Instant, statements: Vec<Executed>) -> Result<(), Problem> {
        let seen = if self.terms.watched { Some(see(&self.room.db)?) } else { None };
        let finished = Finished { took: begun.elapsed(), job, statements, seen };
        if self.terms.guarded {
            loss::refuse_statements(&finished)?;
        }
        self.finished.push(finished);
        Ok(())
    }

    /// Ends the transaction; what it must not leave behind is refused.
    fn commit(&mut self) -> Result<(), Problem> {
        let db = &self.room.db;
        if self.keys {
            let after = violations(db);
            refuse_new(&self.known, &after)?;
            self.known = after;
        }
        if let Some((_, before)) = self.before.as_ref().filter(|_| self.terms.guarded) {
            loss::refuse_totals(before, &count(db, &self.counted)?, &self.finished)?;
        }
        interrupt::check()?;
        fault::point("migration.before-commit");
        db.execute_batch("COMMIT").map_err(|error| sql_problem(&error))?;
        fault::point("migration.after-commit");
        self.write_lock = longest(self.write_lock, self.begun);
        self.committed = self.finished.len();
        Ok(())
    }

    fn finish(&mut self) -> Result<Done, Problem> {
        let db = &self.room.db;
        let after = (Schema::hash_in(db)?, count(db, &self.counted)?);
        if !db.is_autocommit() {
            self.commit()?;
        }
        let (schema, rows) = self.before.take().unwrap_or_default();
        Ok(Done {
            finished: std::mem::take(&mut self.finished),
            rows: [rows, after.1],
            schema: [schema, after.0],
            write_lock: self.write_lock,
        })
    }
}

fn mentions_keys(sql: &str) -> bool {
    sql.as_bytes().windows(10).any(|word| word.eq_ignore_ascii_case(b"REFERENCES"))
}

/// The database as it is now.
pub(crate) fn see(db: &Connection) -> Result<Seen, Problem> {
    let shape = shape(db).map_err(|error| sql_problem(&error))?;
    Ok(Seen { rows: count(db, &Scope::All)?, schema: Schema::read(db)?, shape })
}

fn count(db: &Connection, scope: &Scope) -> Result<Counts, Problem> {
    rows::count(db, scope).map_err(|error| sql_problem(&error))
}
