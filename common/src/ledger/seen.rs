//! What a watch over environments has kept, as pictures and lists need it. A ledger that nobody has
//! watched with has none of it.

use rusqlite::{OptionalExtension, params};

use super::{Ledger, unreadable};
use crate::report::Problem;

/// All looks of one stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// When it began, in milliseconds since 1970.
    pub at_ms: i64,
    pub probes: u64,
    pub up: u64,
    pub degraded: u64,
    /// How long answers took, counted: `STEP:COUNT`, separated by blanks.
    pub latency: String,
}

/// One kind of error in one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub release: String,
    pub title: String,
    pub count: u64,
    pub last_ms: i64,
}

impl Ledger {
    /// The stretches of `length_ms` of an environment since then, oldest first.
    pub fn stretches(
        &self,
        environment: &str,
        length_ms: i64,
        from_ms: i64,
    ) -> Result<Vec<Stretch>, Problem> {
        let read = || {
            if !self.has_table("probes")? {
                return Ok(Vec::new());
            }
            let mut statement = self.db.prepare(
                "SELECT at_ms, probes, up, degraded, latency FROM probes
                 WHERE environment = ?1 AND length_ms = ?2 AND at_ms >= ?3 ORDER BY at_ms",
            )?;
            let rows = statement.query_map(params![environment, length_ms, from_ms], |row| {
                let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
                let (at_ms, latency) = (row.get(0)?, row.get(4)?);
                Ok(Stretch { at_ms, probes: count(1)?, up: count(2)?, degraded: count(3)?, latency })
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| unreadable(&error))
    }

    /// The errors that were seen last in an environment.
    pub fn last_errors(&self, environment: &str, limit: u32) -> Result<Vec<Seen>, Problem> {
        let read = || {
            if !self.has_table("errors")? {
                return Ok(Vec::new());
            }
            let mut statement = self.db.prepare(
                "SELECT release, title, count, last_ms FROM errors WHERE environment = ?1 ORDER BY last_ms DESC LIMIT ?2",
            )?;
            let rows = statement.query_map(params![environment, limit], |row| {
                let count = row.get::<_, i64>(2)?.unsigned_abs();
                Ok(Seen { release: row.get(0)?, title: row.get(1)?, count, last_ms: row.get(3)? })
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| unreadable(&error))
    }

    fn has_table(&self, name: &str) -> rusqlite::Result<bool> {
        let found = self
            .db
            .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1", [name], |_| Ok(()))
            .optional()?;
        Ok(found.is_some())
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::ledger::schema;

    #[test]
    fn who_has_not_watched_has_seen_nothing_and_the_rest_comes_in_order() {
        let db = Connection::open_in_memory().unwrap();
        schema::prepare(&db).unwrap();
        db.execute_batch("DROP TABLE IF EXISTS probes; DROP TABLE IF EXISTS errors;").unwrap();
        let ledger = Ledger {
            db,
            event_log: "/nonexistent/log".into(),
            app: "x".into(),
            receivers: std::collections::BTreeMap::new(),
            lost: None,
        };
        assert_eq!(ledger.stretches("dev", 60_000, 0).unwrap(), []);
        assert_eq!(ledger.last_errors("dev", 5).unwrap(), []);
        ledger
            .db
            .execute_batch(
                "CREATE TABLE probes(environment TEXT, length_ms INTEGER, at_ms INTEGER, probes INTEGER, up INTEGER, degraded INTEGER, latency TEXT);
                 INSERT INTO probes VALUES ('dev', 60000, 120000, 4, 3, 1, '80:4'), ('dev', 60000, 60000, 4, 4, 0, ''), ('prod', 60000, 0, 1, 1, 0, '');
                 CREATE TABLE errors(environment TEXT, release TEXT, title TEXT, count INTEGER, last_ms INTEGER);
                 INSERT INTO errors VALUES ('dev', 'r1', 'old', 2, 10), ('dev', 'r2', 'new', 1, 20), ('prod', 'r1', 'x', 1, 30);",
            )
            .unwrap();
        let times: Vec<i64> =
            ledger.stretches("dev", 60_000, 60_000).unwrap().iter().map(|row| row.at_ms).collect();
        assert_eq!(times, [60_000, 120_000]);
        let titles: Vec<String> =
            ledger.last_errors("dev", 5).unwrap().into_iter().map(|row| row.title).collect();
        assert_eq!(titles, ["new", "old"]);
    }
}
