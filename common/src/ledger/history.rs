//! What people ask of the past: filtered rows, one deployment with its steps and report, how often
//! and how fast deployments succeed. Every question but [`Ledger::counts`] costs the same in a ledger
//! of any length.

use rusqlite::types::Type;
use rusqlite::{Error, OptionalExtension, ToSql, params};
use serde::Serialize;
use serde_json::Value;

use super::deployment::{Deployment, State};
use super::{Ledger, unreadable};
use crate::report::{Problem, Step};

/// So many of the newest runs tell how deployments go.
const LOOKED_AT: u32 = 100;

/// Which rows of an environment are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    pub state: Option<State>,
    /// Began at this moment or later, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    pub limit: u32,
}

impl Selection {
    /// The newest `limit` rows.
    pub fn newest(limit: u32) -> Self {
        Self { state: None, since_ms: None, limit }
    }
}

/// How the newest deployments of an environment went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Ended runs that were looked at, the newest hundred at most.
    pub deployments: u32,
    pub succeeded: u32,
    /// Of all that ended; absent when none did.
    pub success_rate: Option<f64>,
    /// Medians in milliseconds; absent when there was none.
    pub deployment_ms: Option<i64>,
    pub verification_ms: Option<i64>,
    pub rollback_ms: Option<i64>,
}

impl Ledger {
    /// Rows of an environment, newest first; with `since_ms` by the time when they began.
    pub fn history(&self, environment: &str, wanted: &Selection) -> Result<Vec<Deployment>, Problem> {
        let state = wanted.state.map(State::word);
        let mut condition = String::from("WHERE environment = ?1");
        let mut values: Vec<&dyn ToSql> = vec![&environment, &wanted.limit];
        if let Some(state) = &state {
            values.push(state);
            condition += " AND state = ?3";
        }
        if let Some(since) = &wanted.since_ms {
            values.push(since);
            condition += if state.is_some() { " AND started_ms >= ?4" } else { " AND started_ms >= ?3" };
        }
        let order = if wanted.since_ms.is_some() { "started_ms DESC, number DESC" } else { "number DESC" };
        self.many(&format!("{condition} ORDER BY {order} LIMIT ?2"), &values)
    }

    /// Rows of an environment from `number` on, oldest first, `most` of them.
    pub fn rows_from(&self, environment: &str, number: i64, most: u32) -> Result<Vec<Deployment>, Problem> {
        let condition = "WHERE environment = ?1 AND number >= ?2 ORDER BY number LIMIT ?3";
        self.many(condition, &[&environment, &number, &most])
    }

    /// Whether more than `count` rows of an environment came after `number`.
    pub fn has_more_than(&self, count: u32, environment: &str, number: i64) -> Result<bool, Problem> {
        let query = "SELECT 1 FROM deployments WHERE environment = ?1 AND number > ?2 LIMIT 1 OFFSET ?3";
        let found = self.db.query_row(query, params![environment, number, count], |_| Ok(())).optional();
        found.map(|found| found.is_some()).map_err(|error| unreadable(&error))
    }

    /// The steps of a deployment after the first `known`, in order.
    pub fn steps_after(&self, id: &str, known: u32) -> Result<Vec<Step>, Problem> {
        let read = || {
            let mut statement = self.db.prepare(
                "SELECT tool, name, status, duration_ms, target, problem FROM steps
                 WHERE deployment = ?1 AND number > ?2 ORDER BY number",
            )?;
            let rows = statement.query_map(params![id, known], |row| {
                let wrong = |error| Error::FromSqlConversionFailure(5, Type::Text, Box::new(error));
                let status = serde_json::from_value(Value::String(row.get(2)?)).map_err(wrong)?;
                let problem = row.get::<_, Option<String>>(5)?.map(|text| serde_json::from_str(&text));
                Ok(Step {
                    tool: row.get::<_, String>(0)?.into(),
                    name: row.get(1)?,
                    status,
                    duration_ms: row.get::<_, i64>(3)?.unsigned_abs(),
                    target: row.get(4)?,
                    problem: problem.transpose().map_err(wrong)?,
                })
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| unreadable(&error))
    }

    /// The report that a deployment ended with; `None` while it runs.
    pub fn report_of(&self, id: &str) -> Result<Option<Value>, Problem> {
        self.document("SELECT report FROM deployments WHERE id = ?1", id)
    }

    /// The report of the newest verification of a deployment.
    pub fn verification_report(&self, id: &str) -> Result<Option<Value>, Problem> {
        self.document(
            "SELECT report FROM verifications WHERE deployment = ?1 ORDER BY number DESC LIMIT 1",
            id,
        )
    }

    fn document(&self, query: &str, id: &str) -> Result<Option<Value>, Problem> {
        self.db
            .query_row(query, [id], |row| row.get(0))
            .optional()
            .map(|text: Option<Option<String>>| {
                text.flatten().and_then(|text| serde_json::from_str(&text).ok())
            })
            .map_err(|error| unreadable(&error))
    }

    /// How many rows an environment has in each state; counts all of them.
    pub fn counts(&self, environment: &str) -> Result<Vec<(State, u64)>, Problem> {
        let read = || {
            let mut statement = self
                .db
                .prepare("SELECT state, count(*) FROM deployments WHERE environment = ?1 GROUP BY state")?;
            let rows = statement
                .query_map([environment], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| unreadable(&error))
    }

    /// How the newest deployments of an environment went.
    pub fn figures(&self, environment: &str) -> Result<Figures, Problem> {
        let read = || {
            let (deployments, succeeded) = self.db.query_row(
                "SELECT count(*), ifnull(sum(outcome = 'succeeded'), 0) FROM (SELECT outcome FROM deployments
                 WHERE environment = ?1 AND ended_ms IS NOT NULL AND kind = 'deploy' ORDER BY number DESC LIMIT ?2)",
                params![environment, LOOKED_AT],
                |row| Ok((row.get::<_, u32>(0)?, row.get::<_, u32>(1)?)),
            )?;
            Ok(Figures {
                deployments,
                succeeded,
                success_rate: (deployments > 0).then(|| f64::from(succeeded) / f64::from(deployments)),
                deployment_ms: self.median(environment, OF_DEPLOYMENTS)?,
                verification_ms: self.median(environment, OF_VERIFICATIONS)?,
                rollback_ms: self.median(environment, OF_ROLLBACKS)?,
            })
        };
        read().map_err(|error: Error| unreadable(&error))
    }

    fn median(&self, environment: &str, durations: &str) -> rusqlite::Result<Option<i64>> {
        let mut statement = self.db.prepare(durations)?;
        let rows = statement.query_map(params![environment, LOOKED_AT], |row| row.get(0))?;
        let mut found: Vec<i64> = rows.collect::<rusqlite::Result<_>>()?;
        found.sort_unstable();
        Ok(found.get(found.len() / 2).copied())
    }
}

const OF_DEPLOYMENTS: &str = "SELECT max(0, ended_ms - started_ms) FROM deployments WHERE environment = ?1
    AND kind = 'deploy' AND outcome = 'succeeded' AND ended_ms IS NOT NULL ORDER BY number DESC LIMIT ?2";
const OF_VERIFICATIONS: &str =
    "SELECT duration_ms FROM verifications WHERE environment = ?1 ORDER BY number DESC LIMIT ?2";
const OF_ROLLBACKS: &str = "SELECT max(0, ended_ms - started_ms) FROM deployments WHERE environment = ?1
    AND kind = 'rollback' AND ended_ms IS NOT NULL ORDER BY number DESC LIMIT ?2";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing;

    #[test]
    fn what_is_asked_since_a_moment_is_found_by_an_index() {
        let ledger = testing::ledger();
        let mut plan = ledger
            .db
            .prepare(
                "EXPLAIN QUERY PLAN SELECT * FROM deployments WHERE environment = 'dev' AND started_ms >= 5
                 ORDER BY started_ms DESC, number DESC LIMIT 10",
            )
            .unwrap();
        let lines: Vec<String> =
            plan.query_map([], |row| row.get(3)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        assert_eq!(lines.len(), 1, "no sorting: {lines:?}");
        assert!(lines[0].contains("deployments_by_time"), "{lines:?}");
    }

    #[test]
    fn rows_come_in_portions_and_those_left_behind_are_counted() {
        let ledger = testing::ledger();
        for number in 1..=7 {
            ledger
                .db
                .execute(
                    "INSERT INTO deployments(number, id, environment, kind, state, revision, who, started_ms)
                 VALUES (?1, 'id' || ?1, 'dev', 'deploy', 'superseded', 'x', 'w', 100 - ?1)",
                    [number],
                )
                .unwrap();
        }
        let numbers = |rows: Vec<Deployment>| rows.iter().map(|row| row.number).collect::<Vec<_>>();
        assert_eq!(numbers(ledger.rows_from("dev", 3, 2).unwrap()), [3, 4]);
        assert_eq!(ledger.has_more_than(3, "dev", 3), Ok(true));
        assert_eq!(ledger.has_more_than(4, "dev", 3), Ok(false));
        let since = Selection { state: None, since_ms: Some(96), limit: 10 };
        assert_eq!(numbers(ledger.history("dev", &since).unwrap()), [1, 2, 3, 4], "by the time they began");
    }
}
