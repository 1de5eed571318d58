//! The event log: the ledger's readable twin, one JSON line per event, from which a lost ledger is
//! made again (`rebuild`).
//!
//! A line is written into the ledger's outbox in the transaction of the change that it tells, and
//! leaves it when it is on disk in the file: a full disk or a kill delays lines and loses none. A
//! file that is gone begins anew with all that the ledger knows.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::deployment::{self, Deployment};
use super::verification::{self, Verification};
use super::{Ledger, unreadable};
use crate::durable;
use crate::fault;
use crate::layout::create_private_dir;
use crate::ownership::open_unlinked;
use crate::report::{OrProblem, Problem, Status, now};

pub(super) const ENDED: &str = "ended";
pub(super) const VERIFICATION: &str = "verification";
/// A line of a file that begins anew.
const KNOWN: &str = "known";
/// Whoever may read the file may lock it: traffic that is being moved does not wait for them.
const IN_PASSING: Duration = Duration::from_millis(100);
const AT_THE_END: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);
/// Stands in the outbox for everything that the ledger knows.
const EVERYTHING: &str = "";

impl Ledger {
    /// As [`Ledger::durably`], and tells how deployment `id` stands then.
    pub(super) fn durably_told<T>(
        &self,
        event: &str,
        id: &str,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Problem> {
        let value = self.durably(|db| {
            let value = act(db)?;
            queue(db, event, id)?;
            Ok(value)
        })?;
        self.tell_later();
        Ok(value)
    }

    /// Tells what waits, now or with a later event; the end of each run says when it could not.
    pub(super) fn tell_later(&self) {
        drop(self.tell_within(IN_PASSING));
    }

    /// Appends what waits in the outbox; on disk when this returns.
    pub(super) fn tell(&self) -> Result<(), Problem> {
        self.tell_within(AT_THE_END)
    }

    fn tell_within(&self, limit: Duration) -> Result<(), Problem> {
        if self.waiting()?.is_empty() {
            return Ok(());
        }
        let title = || format!("cannot write {}", self.event_log.display());
        if let Some(dir) = self.event_log.parent() {
            create_private_dir(dir)?;
        }
        let mut file = open_unlinked(OpenOptions::new().read(true).append(true), &self.event_log)
            .or_problem("state-unwritable", title)?;
        // Commands of other environments write here too.
        lock_within(&file, limit).or_problem("state-unwritable", title)?;
        let waiting = self.complete(&file)?;
        let Some((last, _)) = waiting.last() else { return Ok(()) };
        fault::point("event-log.before-append");
        append(&mut file, &self.app, &waiting).or_problem("state-unwritable", title)?;
        fault::point("event-log.after-append");
        self.db
            .execute("DELETE FROM outbox WHERE number <= ?1", [last])
            .map(drop)
            .map_err(|error| unreadable(&error))
    }

    fn waiting(&self) -> Result<Vec<(i64, String)>, Problem> {
        let read = || {
            let mut statement = self.db.prepare("SELECT number, line FROM outbox ORDER BY number")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| unreadable(&error))
    }

    /// What waits, for a file that has everything before it, or gets that too.
    fn complete(&self, file: &File) -> Result<Vec<(i64, String)>, Problem> {
        let waiting = self.waiting()?;
        let is_new = file.metadata().is_ok_and(|meta| meta.len() == 0);
        if !is_new && waiting.iter().all(|(_, line)| line != EVERYTHING) {
            return Ok(waiting);
        }
        let gather = || {
            let transaction = self.db.unchecked_transaction()?;
            transaction.execute("DELETE FROM outbox", [])?;
            queue_everything(&transaction)?;
            transaction.commit()
        };
        gather().map_err(|error| unreadable(&error))?;
        self.waiting()
    }
}

fn lock_within(file: &File, limit: Duration) -> std::io::Result<()> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < limit => sleep(POLL),
            locked => return locked.map_err(Into::into),
        }
    }
}

/// Lines end in a newline; one that a kill or a full disk cut off stays alone on its line.
fn append(file: &mut File, app: &str, waiting: &[(i64, String)]) -> std::io::Result<()> {
    let mut text = String::new();
    if !ends_in_newline(file)? {
        text.push('\n');
    }
    for (_, line) in waiting {
        // One file may serve several apps.
        text.push_str(&line.replacen('{', &format!("{{\"app\":{},", json!(app)), 1));
        text.push('\n');
    }
    file.write_all(text.as_bytes())?;
    durable::sync_file(file)
}

fn ends_in_newline(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Puts a line about deployment `id` into the outbox.
pub(super) fn queue(db: &Connection, event: &str, id: &str) -> rusqlite::Result<()> {
    let found = db
        .query_row(
            &format!("SELECT {}, report FROM deployments WHERE id = ?1", deployment::COLUMNS),
            [id],
            |row| Ok((deployment::from_row(row)?, row.get::<_, Option<String>>("report")?)),
        )
        .optional()?;
    match found {
        Some((row, report)) => put(db, &line_of(event, &row, report.as_deref())),
        None => Ok(()),
    }
}

/// Puts a line about a verification into the outbox.
pub(super) fn queue_verification(db: &Connection, number: i64) -> rusqlite::Result<()> {
    let found = db.query_row(
        &format!("SELECT {} FROM verifications WHERE number = ?1", verification::COLUMNS),
        [number],
        verification::from_row,
    )?;
    put(db, &line_of_verification(&found))
}

fn queue_everything(db: &Connection) -> rusqlite::Result<()> {
    let mut ids = db.prepare("SELECT id FROM deployments ORDER BY number")?;
    for id in ids.query_map([], |row| row.get::<_, String>(0))? {
        queue(db, KNOWN, &id?)?;
    }
    let mut numbers = db.prepare("SELECT number FROM verifications ORDER BY number")?;
    for number in numbers.query_map([], |row| row.get(0))? {
        queue_verification(db, number?)?;
    }
    Ok(())
}

fn put(db: &Connection, line: &str) -> rusqlite::Result<()> {
    db.execute("INSERT INTO outbox(line) VALUES (?1)", [line]).map(drop)
}

/// What a line tells of a report.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    duration_ms: u64,
    problem: Option<Titled>,
    #[serde(default)]
    steps: Vec<Passed>,
}

#[derive(Deserialize)]
struct Titled {
    title: String,
}

#[derive(Serialize, Deserialize)]
struct Passed {
    tool: String,
    name: String,
    status: Status,
    duration_ms: u64,
}

/// The members that people read come first, the row as it is after them.
fn line_of(event: &str, row: &Deployment, report: Option<&str>) -> String {
    let told = report.and_then(|text| serde_json::from_str::<Told>(text).ok());
    let mut line = json!({
        "event": event,
        "at": now().to_string(),
        "started_at": Timestamp::from_millisecond(row.started_ms).ok().map(|at| at.to_string()),
    });
    add(&mut line, row);
    let Some(told) = told else { return line.to_string() };
    line["duration_ms"] = json!(told.duration_ms);
    line["problem"] = json!(told.problem.map(|problem| problem.title));
    // Thousands of steps as values would weigh more than all that the run itself needs.
    let mut text = line.to_string();
    text.pop();
    text + ",\"steps\":" + &serde_json::to_string(&told.steps).unwrap_or_default() + "}"
}

fn line_of_verification(verification: &Verification) -> String {
    let at = Timestamp::from_millisecond(verification.at_ms).ok().map(|at| at.to_string());
    let mut line = json!({"event": VERIFICATION, "at": at});
    add(&mut line, verification);
    line.to_string()
}

fn add(line: &mut Value, row: &impl Serialize) {
    if let (Some(line), Ok(Value::Object(members))) = (line.as_object_mut(), serde_json::to_value(row)) {
        line.extend(members);
    }
}
