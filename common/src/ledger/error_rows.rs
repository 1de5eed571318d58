//! The errors that the watch has found in the logs of instances, counted for each release, and how far
//! each log was read: both in one transaction, so that a kill counts nothing twice.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::{Ledger, unreadable};
use crate::report::Problem;

/// Kept of one release, and of all releases of an environment.
const MOST_OF_RELEASE: i64 = 200;
const MOST: i64 = 2_000;
/// Logs of so many releases are remembered; two are written to.
const LOGS: i64 = 10;

/// One kind of error, as often as it was seen in one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorGroup {
    pub fingerprint: String,
    pub title: String,
    pub excerpt: String,
    pub count: u64,
    /// Unix milliseconds.
    pub first_ms: i64,
    pub last_ms: i64,
}

/// By fingerprint.
pub type ErrorGroups = BTreeMap<String, ErrorGroup>;

impl Ledger {
    /// The errors of each release of an environment.
    pub fn errors(&self, environment: &str) -> Result<BTreeMap<String, ErrorGroups>, Problem> {
        let read = || {
            let mut statement = self.db.prepare(
                "SELECT release, fingerprint, title, excerpt, count, first_ms, last_ms FROM errors
                 WHERE environment = ?1",
            )?;
            let rows = statement.query_map([environment], group)?;
            let mut found: BTreeMap<String, ErrorGroups> = BTreeMap::new();
            for row in rows {
                let (release, group) = row?;
                found.entry(release).or_default().insert(group.fingerprint.clone(), group);
            }
            Ok(found)
        };
        read().map_err(|error| unreadable(&error))
    }

    /// The groups of an environment that were seen last, each with its release, newest first.
    pub fn last_errors(&self, environment: &str, limit: u32) -> Result<Vec<(String, ErrorGroup)>, Problem> {
        let read = || {
            let mut statement = self.db.prepare(
                "SELECT release, fingerprint, title, excerpt, count, first_ms, last_ms FROM errors
                 WHERE environment = ?1 ORDER BY last_ms DESC LIMIT ?2",
            )?;
            let rows = statement.query_map(params![environment, limit], group)?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| unreadable(&error))
    }

    /// How far the log of a release's instance was read, as [`Ledger::record_errors`] was told.
    pub fn log_position(&self, environment: &str, release: &str) -> Result<Option<String>, Problem> {
        position(&self.db, environment, release).map_err(|error| unreadable(&error))
    }

    /// Forgets how far a log was read, because another one is there now.
    pub fn forget_log(&self, environment: &str, release: &str) -> Result<(), Problem> {
        if self.log_position(environment, release)?.is_none() {
            return Ok(());
        }
        let sql = "DELETE FROM logs WHERE environment = ?1 AND release = ?2";
        self.durably(|db| db.execute(sql, [environment, release]).map(drop))
    }

    /// Adds what was found in a log `from` one position `to` another; of a group that is known, the first
    /// excerpt stays. Nothing happens where somebody else has read on from there meanwhile.
    pub fn record_errors(
        &self,
        environment: &str,
        release: &str,
        groups: &ErrorGroups,
        from: Option<&str>,
        to: &str,
    ) -> Result<(), Problem> {
        self.durably(|db| {
            if position(db, environment, release)?.as_deref() != from {
                return Ok(());
            }
            groups.values().try_for_each(|group| add(db, environment, release, group))?;
            db.execute(
                "DELETE FROM errors WHERE environment = ?1 AND (release, fingerprint) IN
                 (SELECT release, fingerprint FROM errors WHERE environment = ?1
                  ORDER BY last_ms DESC LIMIT -1 OFFSET ?2)",
                params![environment, MOST],
            )?;
            db.execute(
                "INSERT OR REPLACE INTO logs(environment, release, position) VALUES (?1, ?2, ?3)",
                [environment, release, to],
            )?;
            db.execute(
                "DELETE FROM logs WHERE environment = ?1 AND number NOT IN
                 (SELECT number FROM logs WHERE environment = ?1 ORDER BY number DESC LIMIT ?2)",
                params![environment, LOGS],
            )
            .map(drop)
        })
    }
}

fn position(db: &Connection, environment: &str, release: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT position FROM logs WHERE environment = ?1 AND release = ?2";
    db.query_row(sql, [environment, release], |row| row.get(0)).optional()
}

/// With its release.
fn group(row: &Row<'_>) -> rusqlite::Result<(String, ErrorGroup)> {
    let group = ErrorGroup {
        fingerprint: row.get(1)?,
        title: row.get(2)?,
        excerpt: row.get(3)?,
        count: u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
        first_ms: row.get(5)?,
        last_ms: row.get(6)?,
    };
    Ok((row.get(0)?, group))
}

fn add(db: &Connection, environment: &str, release: &str, group: &ErrorGroup) -> rusqlite::Result<()> {
    let count = i64::try_from(group.count).unwrap_or(i64::MAX);
    let known = db.execute(
        "UPDATE errors SET count = count + ?4, last_ms = max(last_ms, ?5), first_ms = min(first_ms, ?6)
         WHERE environment = ?1 AND release = ?2 AND fingerprint = ?3",
        params![environment, release, group.fingerprint, count, group.last_ms, group.first_ms],
    )?;
    if known > 0 {
        return Ok(());
    }
    db.execute(
        "INSERT INTO errors SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
         WHERE (SELECT count(*) FROM errors WHERE environment = ?1 AND release = ?2) < ?9",
        params![
            environment,
            release,
            group.fingerprint,
            group.title,
            group.excerpt,
            count,
            group.first_ms,
            group.last_ms,
            MOST_OF_RELEASE
        ],
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing;

    #[test]
    fn what_two_have_read_is_counted_once() {
        let ledger = testing::ledger();
        let (fingerprint, title, excerpt) = ("a".to_owned(), String::new(), String::new());
        let group = ErrorGroup { fingerprint, title, excerpt, count: 2, first_ms: 0, last_ms: 0 };
        let groups: ErrorGroups = [("a".to_owned(), group)].into();
        let count = || ledger.errors("dev").unwrap()["r"]["a"].count;
        ledger.record_errors("dev", "r", &groups, None, "1").unwrap();
        ledger.record_errors("dev", "r", &groups, None, "1").unwrap();
        assert_eq!(count(), 2);
        ledger.record_errors("dev", "r", &groups, Some("1"), "2").unwrap();
        assert_eq!((count(), ledger.log_position("dev", "r").unwrap().as_deref()), (4, Some("2")));
        ledger.forget_log("dev", "r").unwrap();
        assert_eq!((count(), ledger.log_position("dev", "r").unwrap()), (4, None));
    }

    #[test]
    fn the_errors_that_were_seen_last_come_first_with_their_release() {
        let ledger = testing::ledger();
        for (environment, release, title, last_ms) in
            [("dev", "r1", "old", 10), ("dev", "r2", "new", 20), ("prod", "r1", "other", 30)]
        {
            let (fingerprint, excerpt) = (title.to_owned(), String::new());
            let (count, first_ms) = (1, last_ms);
            let group = ErrorGroup { fingerprint, title: title.into(), excerpt, count, first_ms, last_ms };
            add(&ledger.db, environment, release, &group).unwrap();
        }
        let told = |limit| {
            let found = ledger.last_errors("dev", limit).unwrap();
            found.into_iter().map(|(release, group)| (release, group.title)).collect::<Vec<_>>()
        };
        let (new, old) = (("r2".to_owned(), "new".to_owned()), ("r1".to_owned(), "old".to_owned()));
        assert_eq!(told(1), std::slice::from_ref(&new));
        assert_eq!(told(5), [new, old]);
    }
}
