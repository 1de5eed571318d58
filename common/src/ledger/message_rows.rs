//! The notifications that wait: a row for each message and receiver, written in the transaction of
//! what it tells and gone when it was delivered. What stays too long, or is too much, is given up.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::message::Message;
use super::{Ledger, deployment, unreadable};
use crate::clock;
use crate::report::{Problem, Report, now};

/// How long a message is tried, and how long it is told after that that it was given up.
const LIFE: Duration = Duration::from_secs(24 * 3600);
const MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);
/// Kept for one receiver; older ones go.
const MOST: u32 = 100;
/// Between two tries: doubled each time, up to the last.
const FIRST_PAUSE_MS: i64 = 15_000;
const LAST_PAUSE_MS: i64 = 3_600_000;

/// A message that has not reached a receiver.
#[derive(Debug, Clone)]
pub struct MessageRow {
    pub number: i64,
    pub environment: String,
    /// As the configuration says it, without any value of the env file.
    pub receiver: String,
    /// One line of JSON.
    pub body: String,
    pub since_ms: i64,
    pub tries: u32,
    /// Why it was not delivered when it was last tried.
    pub problem: Option<String>,
    next_ms: i64,
    pub given_up: bool,
}

impl MessageRow {
    /// It may be tried now. A time further ahead than any pause was written by another clock.
    pub fn is_due(&self) -> bool {
        let ahead = self.next_ms.saturating_sub(now().as_millisecond());
        !self.given_up && !(1..=LAST_PAUSE_MS).contains(&ahead)
    }
}

/// Lets a message wait for each of `receivers`.
pub(super) fn queue(
    db: &Connection,
    app: &str,
    receivers: &[String],
    message: &Message,
) -> rusqlite::Result<()> {
    let body = message.body(app);
    for receiver in receivers {
        db.execute(
            "INSERT INTO messages(environment, receiver, body, since_ms) VALUES (?1, ?2, ?3, ?4)",
            params![message.environment, receiver, body, now().as_millisecond()],
        )?;
        db.execute(
            "DELETE FROM messages WHERE environment = ?1 AND receiver = ?2 AND number NOT IN
             (SELECT number FROM messages WHERE environment = ?1 AND receiver = ?2 ORDER BY number DESC LIMIT ?3)",
            params![message.environment, receiver, MOST],
        )?;
    }
    Ok(())
}

impl Ledger {
    /// Whom an environment tells.
    pub(super) fn receivers(&self, environment: &str) -> &[String] {
        self.receivers.get(environment).map_or(&[], Vec::as_slice)
    }

    /// Within the transaction that records it, before the row says so: tells that deployment `id` has
    /// ended; without a report, that it has begun.
    pub(super) fn queue_of(&self, db: &Connection, id: &str, end: Option<&Report>) -> rusqlite::Result<()> {
        let sql = format!("SELECT {} FROM deployments WHERE id = ?1", deployment::COLUMNS);
        let Some(row) = db.query_row(&sql, [id], deployment::from_row).optional()? else { return Ok(()) };
        let message = match end {
            // What could not be undone is tried by every command, and told once.
            Some(report) if row.outcome.as_deref() == Some(report.outcome.word()) => None,
            Some(report) => Message::of_end(&row, report),
            None => Message::of_beginning(&row),
        };
        match message {
            Some(message) => queue(db, &self.app, self.receivers(&row.environment), &message),
            None => Ok(()),
        }
    }

    /// What was not delivered yet, or was given up lately; oldest first. Whom the configuration does not
    /// name any more nobody waits for.
    pub fn undelivered(&self) -> Result<Vec<MessageRow>, Problem> {
        let mut rows = self.messages()?;
        rows.retain(|row| self.is_named(row));
        Ok(rows)
    }

    fn is_named(&self, row: &MessageRow) -> bool {
        self.receivers(&row.environment).contains(&row.receiver)
    }

    fn messages(&self) -> Result<Vec<MessageRow>, Problem> {
        let read = || {
            let mut statement = self.db.prepare(
                "SELECT number, environment, receiver, body, since_ms, tries, problem, next_ms, given_up
                 FROM messages ORDER BY number",
            )?;
            statement.query_map([], from_row)?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| unreadable(&error))
    }

    /// Records that a message has reached its receiver, or has none any more.
    pub fn settle_message(&self, number: i64) -> Result<(), Problem> {
        self.durably(|db| db.execute("DELETE FROM messages WHERE number = ?1", [number]).map(drop))
    }

    /// Records that a message was not delivered, and when to try again, if at all; of a receiver that is
    /// `away` all that waits is not tried before.
    pub fn postpone_message(&self, row: &MessageRow, problem: &str, away: bool) -> Result<(), Problem> {
        let pause = FIRST_PAUSE_MS.saturating_mul(1 << row.tries.min(10)).min(LAST_PAUSE_MS);
        let given_up = clock::age(row.since_ms).is_ok_and(|age| age > LIFE);
        let next_ms = now().as_millisecond() + pause;
        self.durably(|db| {
            if away {
                db.execute(
                    "UPDATE messages SET next_ms = ?3 WHERE environment = ?1 AND receiver = ?2",
                    params![row.environment, row.receiver, next_ms],
                )?;
            }
            db.execute(
                "UPDATE messages SET tries = tries + 1, problem = ?2, next_ms = ?3, given_up = ?4 WHERE number = ?1",
                params![row.number, problem, next_ms, given_up],
            )
            .map(drop)
        })
    }

    /// Forgets what was given up long ago, and what is for nobody any more.
    pub fn forget_messages(&self) -> Result<(), Problem> {
        let age = i64::try_from((LIFE + MEMORY).as_millis()).unwrap_or(i64::MAX);
        let before = now().as_millisecond().saturating_sub(age);
        let is_old = |row: &MessageRow| (row.given_up && row.since_ms < before) || !self.is_named(row);
        let old = self.messages()?.into_iter().filter(is_old);
        old.map(|row| row.number).try_for_each(|number| self.settle_message(number))
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<MessageRow> {
    Ok(MessageRow {
        number: row.get(0)?,
        environment: row.get(1)?,
        receiver: row.get(2)?,
        body: row.get(3)?,
        since_ms: row.get(4)?,
        tries: row.get(5)?,
        problem: row.get(6)?,
        next_ms: row.get(7)?,
        given_up: row.get(8)?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ledger::schema;

    /// In memory; dev tells `a` and `b`.
    pub(crate) fn ledger() -> Ledger {
        let db = Connection::open_in_memory().unwrap();
        schema::prepare(&db).unwrap();
        Ledger {
            db,
            event_log: "/nonexistent/log".into(),
            app: "x".into(),
            receivers: [("dev".to_owned(), vec!["a".to_owned(), "b".to_owned()])].into(),
            lost: None,
        }
    }

    /// One that may be tried now.
    pub(crate) fn message_row(number: i64, receiver: &str, tries: u32) -> MessageRow {
        let (environment, receiver) = ("dev".to_owned(), receiver.to_owned());
        let (body, problem, since_ms) = (String::new(), None, now().as_millisecond());
        MessageRow {
            number,
            environment,
            receiver,
            body,
            since_ms,
            tries,
            problem,
            next_ms: 0,
            given_up: false,
        }
    }

    fn tell(ledger: &Ledger, id: &str) {
        let (environment, text) = ("dev".to_owned(), String::new());
        let message =
            Message { environment, event: "up", id: id.into(), text, members: serde_json::Map::new() };
        queue(&ledger.db, "x", ledger.receivers("dev"), &message).unwrap();
    }

    #[test]
    fn each_receiver_has_its_own_copy_and_only_so_many() {
        let ledger = ledger();
        for number in 0..MOST + 5 {
            tell(&ledger, &number.to_string());
        }
        let rows = ledger.undelivered().unwrap();
        assert_eq!(rows.len(), 2 * MOST as usize);
        assert!(rows[0].body.contains(r#""notification":"5""#), "{}", rows[0].body);
        ledger.settle_message(rows[0].number).unwrap();
        assert_eq!(ledger.undelivered().unwrap().len(), rows.len() - 1);
    }

    #[test]
    fn all_that_waits_for_a_receiver_that_is_away_is_postponed() {
        let mut ledger = ledger();
        tell(&ledger, "1");
        tell(&ledger, "2");
        let first = ledger.undelivered().unwrap().remove(0);
        let due = |ledger: &Ledger| {
            let rows = ledger.undelivered().unwrap().into_iter().filter(MessageRow::is_due);
            rows.map(|row| row.receiver).collect::<Vec<_>>()
        };
        ledger.postpone_message(&first, "answered 404", false).unwrap();
        assert_eq!(due(&ledger), ["b", "a", "b"], "another message may be right");
        ledger.postpone_message(&first, "no answer", true).unwrap();
        assert_eq!(due(&ledger), ["b", "b"]);
        ledger.receivers = [("dev".to_owned(), vec!["b".to_owned()])].into();
        assert_eq!(ledger.undelivered().unwrap().len(), 2, "a is told nothing any more");
        ledger.forget_messages().unwrap();
        assert_eq!(ledger.messages().unwrap().len(), 2);
    }

    #[test]
    fn one_that_failed_waits_longer_each_time_and_is_given_up_after_a_day() {
        let ledger = ledger();
        tell(&ledger, "1");
        let row = ledger.undelivered().unwrap().remove(0);
        assert!(row.is_due());
        ledger.postpone_message(&row, "no answer", true).unwrap();
        let row = ledger.undelivered().unwrap().remove(0);
        assert_eq!((row.tries, row.problem.as_deref(), row.is_due()), (1, Some("no answer"), false));
        assert!(MessageRow { next_ms: i64::MAX, ..row.clone() }.is_due(), "a clock that was set back");
        let yesterday = now().as_millisecond() - 25 * 3_600_000;
        let old = MessageRow { since_ms: yesterday, ..row };
        ledger.postpone_message(&old, "no answer", true).unwrap();
        let row = ledger.undelivered().unwrap().remove(0);
        assert!(row.given_up && !row.is_due());
    }
}
