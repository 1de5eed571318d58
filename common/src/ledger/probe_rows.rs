//! What `status watch` has seen: one row a minute for a day, one an hour for 90 days, and for each
//! environment how it was found last and what was told of it. A look is one transaction with what is
//! told because of it, so that a kill neither loses a message nor tells it twice.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::message::Message;
use super::{Ledger, message_rows, unreadable};
use crate::histogram::Histogram;
use crate::report::{Problem, now};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Length of a bucket in milliseconds, and how many are kept of each environment.
const BUCKETS: [(i64, i64); 2] = [(MINUTE_MS, DAY_MS / MINUTE_MS), (HOUR_MS, 90 * 24)];

/// How an environment was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Up,
    /// It answers, and something is wrong with it.
    Degraded,
    Down,
}

impl Health {
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// One look at an environment.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    pub health: Health,
    /// How long the answer took, when one came.
    pub latency: Option<Duration>,
    /// What the gateway has answered since the look before, and how much of that was its or the app's
    /// failure.
    pub requests: u64,
    pub errors: u64,
}

/// What the gateway had counted at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub pid: u32,
    pub requests: u64,
    pub errors: u64,
}

/// How an environment was found last, and what was told of it. Times in Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// As it was told, or taken for granted.
    pub health: Health,
    pub since_ms: i64,
    pub reason: Option<String>,
    /// As it was seen, in so many looks in a row.
    pub seen: Health,
    pub times: u32,
    pub seen_since_ms: i64,
    pub probed_ms: i64,
    pub told_ms: i64,
    /// Told lately: the more, the longer until the next.
    pub changes: u32,
    pub counted: Option<Counted>,
}

/// All looks in a stretch of time.
#[derive(Debug, Default, Clone)]
pub struct Uptime {
    pub probes: u64,
    pub up: u64,
    pub degraded: u64,
    pub requests: u64,
    pub errors: u64,
    pub latency: Histogram,
    /// In how many minutes there was a look.
    pub minutes: u64,
}

impl Ledger {
    /// Records a look, and tells `message`; on disk when this returns.
    pub fn record_probe(
        &self,
        environment: &str,
        probe: &Probe,
        watched: &Watched,
        message: Option<&Message>,
    ) -> Result<(), Problem> {
        let state = serde_json::to_string(watched).unwrap_or_default();
        self.durably(|db| {
            count(db, environment, watched.probed_ms, probe)?;
            db.execute(
                "INSERT INTO watches VALUES (?1, ?2) ON CONFLICT(environment) DO UPDATE SET state = ?2",
                [environment, &state],
            )?;
            match message {
                Some(message) => message_rows::queue(db, &self.app, self.receivers(environment), message),
                None => Ok(()),
            }
        })
    }

    /// How an environment was found last; `None` when nobody has watched it.
    pub fn watched(&self, environment: &str) -> Result<Option<Watched>, Problem> {
        let state: Option<String> = self
            .db
            .query_row("SELECT state FROM watches WHERE environment = ?1", [environment], |row| row.get(0))
            .optional()
            .map_err(|error| unreadable(&error))?;
        Ok(state.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// All looks of the last `window`, 90 days at most; `None` when there was none.
    pub fn uptime(&self, environment: &str, window: Duration) -> Result<Option<Uptime>, Problem> {
        let (to, window) = (now().as_millisecond(), i64::try_from(window.as_millis()).unwrap_or(i64::MAX));
        let length = if window <= DAY_MS { MINUTE_MS } else { HOUR_MS };
        let rows = self.buckets(environment, length, to.saturating_sub(window).saturating_sub(length), to)?;
        let sum = rows.iter().fold(Uptime::default(), |sum, (_, row)| sum.and(row));
        Ok((sum.probes > 0).then_some(sum))
    }

    /// Each hour that began after `from_ms` and was looked in, with its beginning; oldest first.
    pub fn uptime_by_hour(&self, environment: &str, from_ms: i64) -> Result<Vec<(i64, Uptime)>, Problem> {
        self.buckets(environment, HOUR_MS, from_ms, i64::MAX)
    }

    fn buckets(&self, name: &str, length: i64, after: i64, to: i64) -> Result<Vec<(i64, Uptime)>, Problem> {
        let read = || {
            let mut statement = self.db.prepare(
                "SELECT probes, up, degraded, requests, errors, latency, minutes, at_ms FROM probes
                 WHERE environment = ?1 AND length_ms = ?2 AND at_ms > ?3 AND at_ms <= ?4 ORDER BY at_ms",
            )?;
            let pair = |row: &Row<'_>| Ok((row.get(7)?, bucket(row)?));
            statement.query_map(params![name, length, after, to], pair)?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| unreadable(&error))
    }
}

impl Uptime {
    fn and(mut self, other: &Self) -> Self {
        self.probes += other.probes;
        self.up += other.up;
        self.degraded += other.degraded;
        self.requests += other.requests;
        self.errors += other.errors;
        self.latency.merge(&other.latency);
        self.minutes += other.minutes;
        self
    }

    fn of(probe: &Probe) -> Self {
        let mut latency = Histogram::default();
        probe.latency.into_iter().for_each(|time| latency.add(time));
        let (up, degraded) =
            (u64::from(probe.health == Health::Up), u64::from(probe.health == Health::Degraded));
        let (requests, errors) = (probe.requests, probe.errors);
        Self { probes: 1, up, degraded, requests, errors, latency, minutes: 0 }
    }
}

fn count(db: &Connection, environment: &str, at_ms: i64, probe: &Probe) -> rusqlite::Result<()> {
    let mut look = Uptime::of(probe);
    for (length, kept) in BUCKETS {
        let begin = at_ms - at_ms.rem_euclid(length);
        let known = db
            .query_row(
                "SELECT probes, up, degraded, requests, errors, latency, minutes FROM probes
                 WHERE environment = ?1 AND length_ms = ?2 AND at_ms = ?3",
                params![environment, length, begin],
                bucket,
            )
            .optional()?;
        let is_new = known.is_none();
        // The minute comes first, and says whether the hour has one more.
        if length == MINUTE_MS {
            look.minutes = u64::from(is_new);
        }
        put(db, environment, length, begin, &known.unwrap_or_default().and(&look))?;
        if is_new {
            prune(db, environment, length, at_ms, kept)?;
        }
    }
    Ok(())
}

fn put(db: &Connection, environment: &str, length: i64, begin: i64, sum: &Uptime) -> rusqlite::Result<()> {
    let [probes, up, degraded, requests, errors, minutes] =
        [sum.probes, sum.up, sum.degraded, sum.requests, sum.errors, sum.minutes].map(number);
    let latency = sum.latency.written();
    db.execute(
        "INSERT OR REPLACE INTO probes(environment, length_ms, at_ms, probes, up, degraded, requests, errors, minutes, latency)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![environment, length, begin, probes, up, degraded, requests, errors, minutes, latency],
    )
    .map(drop)
}

/// Those nearest to now stay: buckets of a clock that was wrong for a while go first, and do not
/// push out those of the right one.
fn prune(db: &Connection, environment: &str, length: i64, at_ms: i64, kept: i64) -> rusqlite::Result<()> {
    db.execute(
        "DELETE FROM probes WHERE environment = ?1 AND length_ms = ?2 AND at_ms IN
         (SELECT at_ms FROM probes WHERE environment = ?1 AND length_ms = ?2
          ORDER BY abs(at_ms - ?3) LIMIT -1 OFFSET ?4)",
        params![environment, length, at_ms, kept],
    )
    .map(drop)
}

fn bucket(row: &Row<'_>) -> rusqlite::Result<Uptime> {
    let whole = |column| row.get::<_, i64>(column).map(|value| u64::try_from(value).unwrap_or(0));
    Ok(Uptime {
        probes: whole(0)?,
        up: whole(1)?,
        degraded: whole(2)?,
        requests: whole(3)?,
        errors: whole(4)?,
        latency: Histogram::read(&row.get::<_, String>(5)?),
        minutes: whole(6)?,
    })
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::schema;

    fn look(db: &Connection, at_ms: i64, health: Health) {
        let probe = Probe { health, latency: Some(Duration::from_millis(10)), requests: 10, errors: 1 };
        count(db, "dev", at_ms, &probe).unwrap();
    }

    fn ledger() -> Ledger {
        let db = Connection::open_in_memory().unwrap();
        schema::prepare(&db).unwrap();
        Ledger { db, event_log: "/nonexistent/log".into(), app: "x".into(), receivers: [].into(), lost: None }
    }

    fn rows(ledger: &Ledger) -> i64 {
        ledger.db.query_row("SELECT count(*) FROM probes", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_hundred_days_stay_within_bounds_and_are_added_up() {
        let ledger = ledger();
        let end = now().as_millisecond();
        let looks = 100 * 24 * 2;
        for number in 0..looks {
            let health = if number % 100 == 0 { Health::Down } else { Health::Up };
            look(&ledger.db, end - (looks - 1 - number) * 30 * MINUTE_MS, health);
        }
        assert!(rows(&ledger) <= 1440 + 2160, "{}", rows(&ledger));
        let size: i64 = ledger
            .db
            .query_row("SELECT sum(length(latency) + 72) FROM probes", [], |row| row.get(0))
            .unwrap();
        assert!(size < 400_000, "{size} bytes");
        let day = ledger.uptime("dev", Duration::from_secs(24 * 3600)).unwrap().unwrap();
        assert!((48..=49).contains(&day.probes), "{day:?}");
        assert_eq!((day.requests, day.errors), (day.probes * 10, day.probes));
        let all = ledger.uptime("dev", Duration::from_secs(90 * 24 * 3600)).unwrap().unwrap();
        assert!((4300..=4324).contains(&all.probes) && (43..=44).contains(&(all.probes - all.up)), "{all:?}");
        let p95 = all.latency.percentile(95).unwrap().as_millis();
        assert!((10..=11).contains(&p95), "{p95}");
        assert_eq!((day.minutes, all.minutes), (day.probes, all.probes));
        assert!(ledger.uptime("prod", Duration::from_secs(3600)).unwrap().is_none());
        let hours = ledger.uptime_by_hour("dev", end - DAY_MS).unwrap();
        assert!(hours.len() == 24 && hours.is_sorted_by_key(|(at, _)| *at), "{hours:?}");
    }

    #[test]
    fn a_clock_that_was_wrong_for_a_while_costs_no_history() {
        let ledger = ledger();
        let end = now().as_millisecond();
        (0..1440).for_each(|minute| look(&ledger.db, end - minute * MINUTE_MS, Health::Up));
        (0..10).for_each(|minute| look(&ledger.db, end + 365 * DAY_MS + minute * MINUTE_MS, Health::Down));
        let day = |ledger: &Ledger| ledger.uptime("dev", Duration::from_secs(24 * 3600)).unwrap().unwrap();
        assert!(day(&ledger).up >= 1430 && day(&ledger).up == day(&ledger).probes);
        (0..20).for_each(|_| look(&ledger.db, end, Health::Up));
        assert!(rows(&ledger) <= 1440 + 36);
        assert!(day(&ledger).up >= 1440 && day(&ledger).minutes <= 1441);
    }
}
