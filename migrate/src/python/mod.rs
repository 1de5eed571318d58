//! Migrations in Python: one interpreter for all of a run, started when the first one is met.
//!
//! Its scripts never see the database. They send statements over a pipe, and we execute them on
//! our own connection, in the transaction that has our records too.

mod calls;
mod interpreter;
mod values;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};

use common::report::{Problem, quoted};

use crate::guard::Guard;
use crate::job::{Direction, Job};
use calls::Calls;
use interpreter::Interpreter;

/// The app's own Python, not yet started.
pub(crate) struct Python {
    root: PathBuf,
    environment: String,
    interpreter: RefCell<Option<Interpreter>>,
}

/// A statement that a script has sent.
pub(crate) struct Sent {
    pub(crate) sql: String,
    pub(crate) rows: u64,
}

impl Python {
    /// `root` is the release whose `.venv` is used and whose modules can be imported.
    pub(crate) fn new(root: &Path, environment: &str) -> Self {
        Self {
            root: root.to_path_buf(),
            environment: environment.to_owned(),
            interpreter: RefCell::new(None),
        }
    }

    /// Compiles a script and looks for its `up`, without running any of it.
    ///
    /// # Errors
    /// `migration-refused`, `not-started`.
    pub(crate) fn check(&self, file: &str, text: &str) -> Result<(), Problem> {
        self.with(|interpreter| {
            interpreter.send(&json!({"op": "check", "file": file, "text": text}))?;
            let answer = interpreter.receive()?;
            if answer["op"] == "done" {
                return Ok(());
            }
            let (line, reason) = told(&answer);
            Err(Problem::new("migration-refused", format!("{file} line {line} cannot be run: {reason}"))
                .hint(format!("sed -n {line}p {}", quoted(format!("migrations/{file}")))))
        })
    }

    /// Runs one direction of a script; what it sent is the result.
    ///
    /// # Errors
    /// `migration-failed`, `interrupted`, `not-started`; the caller rolls back.
    pub(crate) fn run(&self, db: &Connection, guard: &Guard, job: &Job) -> Result<Vec<Sent>, Problem> {
        let direction = match job.direction {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        self.with(|interpreter| {
            let request = json!({"op": "run", "file": job.file, "text": &*job.text, "direction": direction});
            interpreter.send(&request)?;
            let mut calls = Calls::begin(db, guard)?;
            loop {
                let message = interpreter.receive()?;
                match message["op"].as_str() {
                    Some("done") => return calls.end(),
                    Some("failed") => return Err(failed(job, &message)),
                    _ => calls.answer(&message, |answer| interpreter.send(answer))?,
                }
                if db.is_autocommit() {
                    return Err(Problem::new("migration-failed", format!("{} ended the transaction that it is part of", job.file))
                        .detail("ON CONFLICT ROLLBACK and RAISE(ROLLBACK) do that; use ABORT. Everything was rolled back"));
                }
            }
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Interpreter) -> Result<T, Problem>) -> Result<T, Problem> {
        let mut slot = self.interpreter.borrow_mut();
        let mut interpreter = match slot.take() {
            Some(running) => running,
            None => Interpreter::start(&self.root, &self.environment)?,
        };
        let result = act(&mut interpreter);
        // One that failed half-way may still have something to say: the next script gets its own.
        if result.is_ok() {
            *slot = Some(interpreter);
        }
        result
    }
}

fn told(answer: &Value) -> (u64, &str) {
    (answer["line"].as_u64().unwrap_or(1), answer["failed"].as_str().unwrap_or("no reason given"))
}

fn failed(job: &Job, answer: &Value) -> Problem {
    let (line, reason) = told(answer);
    let trace = answer["trace"].as_str().unwrap_or_default();
    Problem::new("migration-failed", format!("{} line {line} failed: {reason}", job.file))
        .detail(format!("everything was rolled back; the database is as it was\n{trace}"))
}
