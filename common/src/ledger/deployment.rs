//! Deployments (and the operations that are numbered like them): the rows and their queries.
//! `progress` changes them.

use std::path::PathBuf;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::{Ledger, unreadable};
use crate::git;
use crate::layout::Slot;
use crate::report::{Problem, now};

/// What a ledger row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Deploy,
    Rollback,
    Migrate,
    Restore,
}

/// Where a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Running,
    Serving,
    Verified,
    Superseded,
    Failed,
    RolledBack,
    Broken,
}

macro_rules! words {
    ($type:ty, $($variant:ident = $word:literal),+) => {
        impl $type {
            /// The word in the ledger and in reports.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_str()? { $($word => Ok(Self::$variant),)+ _ => Err(FromSqlError::InvalidType) }
            }
        }
    };
}
words!(Kind, Deploy = "deploy", Rollback = "rollback", Migrate = "migrate", Restore = "restore");
words!(
    State,
    Running = "running",
    Serving = "serving",
    Verified = "verified",
    Superseded = "superseded",
    Failed = "failed",
    RolledBack = "rolled_back",
    Broken = "broken"
);

/// One row of the ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deployment {
    /// Order of insertion; clocks may step back, this never does.
    #[serde(skip)]
    pub number: i64,
    pub id: String,
    pub environment: String,
    pub kind: Kind,
    pub state: State,
    pub revision: String,
    pub branch: Option<String>,
    pub tree: Option<String>,
    /// Id of the release directory it runs.
    pub release: Option<String>,
    pub slot: Option<Slot>,
    /// The deployment that served before.
    pub replaced: Option<String>,
    /// Of a rollback: the deployment it went back to.
    pub restores: Option<String>,
    pub who: String,
    pub started_ms: i64,
    pub serving_ms: Option<i64>,
    pub verified_ms: Option<i64>,
    pub ended_ms: Option<i64>,
    pub outcome: Option<String>,
    pub log_file: Option<String>,
    /// Why somebody deployed it without evidence.
    pub forced_reason: Option<String>,
    /// Until when somebody has to confirm it.
    pub confirm_by_ms: Option<i64>,
    pub confirmed_ms: Option<i64>,
    /// The database file that its instance got.
    pub database: Option<PathBuf>,
}

impl State {
    pub const ALL: [Self; 7] = [
        Self::Running,
        Self::Serving,
        Self::Verified,
        Self::Superseded,
        Self::Failed,
        Self::RolledBack,
        Self::Broken,
    ];

    /// The state of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

impl Deployment {
    /// It is proved, and confirmed if it had to be: only chores are left.
    pub fn is_settled(&self) -> bool {
        let proved = matches!(self.state, State::Verified | State::Superseded);
        self.confirmed_ms.is_some() || (proved && self.confirm_by_ms.is_none())
    }

    /// From begin to end in milliseconds; 0 when the clock was set back meanwhile.
    pub fn duration_ms(&self) -> Option<i64> {
        self.ended_ms.map(|ended| ended.saturating_sub(self.started_ms).max(0))
    }
}

pub(super) const COLUMNS: &str = "number, id, environment, kind, state, revision, branch, tree, release, slot, replaced, \
    restores, who, started_ms, serving_ms, verified_ms, ended_ms, outcome, log_file, \
    forced_reason, confirm_by_ms, confirmed_ms, database";

impl Ledger {
    /// An id for a deployment of `revision` that begins now: UTC time and short revision, with a
    /// numeric suffix when two begin within one second.
    pub fn new_id(&self, revision: &str) -> Result<String, Problem> {
        let stem = format!("{}-{}", now().strftime("%Y%m%dT%H%M%SZ"), git::short(revision));
        let mut id = stem.clone();
        let mut number = 1;
        while self.deployment(&id)?.is_some() {
            number += 1;
            id = format!("{stem}-{number}");
        }
        Ok(id)
    }

    /// The row of that id.
    pub fn deployment(&self, id: &str) -> Result<Option<Deployment>, Problem> {
        self.one("WHERE id = ?1", &[&id])
    }

    /// The row that a report from elsewhere names; `None` when no such row was ever made.
    ///
    /// # Errors
    /// `unknown-deployment`: it is another environment's. `superseded`: another deployment serves.
    pub fn named_by_report(&self, environment: &str, id: &str) -> Result<Option<Deployment>, Problem> {
        let Some(row) = self.deployment(id)? else { return Ok(None) };
        if row.environment != environment {
            return Err(Self::unknown(environment, id));
        }
        let serving = self.serving(environment)?.map(|serving| serving.id);
        if matches!(row.kind, Kind::Deploy | Kind::Rollback) && serving.as_deref() != Some(id) {
            return Err(Problem::new(
                "superseded",
                format!("deployment {id} does not serve '{environment}' any more"),
            )
            .detail(format!("{} does", serving.as_deref().unwrap_or("nothing")))
            .hint(format!("verify {environment}")));
        }
        Ok(Some(row))
    }

    /// The problem of a report about a deployment that this environment never had.
    pub fn unknown(environment: &str, id: &str) -> Problem {
        Problem::new(
            "unknown-deployment",
            format!("the ledger of '{environment}' knows no deployment {id:?}"),
        )
        .detail("the report on stdin is about another app, another environment, or was made up")
        .hint(format!("status {environment} history"))
    }

    /// The deployment that traffic goes to.
    pub fn serving(&self, environment: &str) -> Result<Option<Deployment>, Problem> {
        self.one("WHERE id = (SELECT serving FROM environments WHERE name = ?1)", &[&environment])
    }

    /// The deploy that a row stands for: of a rollback the one it went back to, else itself.
    pub fn origin(&self, row: Deployment) -> Result<Option<Deployment>, Problem> {
        match &row.restores {
            Some(id) => self.deployment(id),
            None => Ok(Some(row)),
        }
    }

    /// The newest row that changed what serves: a deploy or a rollback.
    pub fn newest(&self, environment: &str) -> Result<Option<Deployment>, Problem> {
        self.one(
            "WHERE environment = ?1 AND kind IN ('deploy', 'rollback') ORDER BY number DESC LIMIT 1",
            &[&environment],
        )
    }

    /// Rows whose run never ended, or could not undo everything, newest first.
    pub fn unfinished(&self, environment: &str) -> Result<Vec<Deployment>, Problem> {
        self.many(
            // Each half has an index of its own; one condition for both would look at every row.
            "WHERE number IN (
                SELECT number FROM deployments WHERE environment = ?1 AND ended_ms IS NULL
                UNION
                SELECT number FROM deployments WHERE environment = ?1 AND state = 'broken' AND EXISTS
                (SELECT 1 FROM journal WHERE deployment = id AND journal.state NOT IN ('undone', 'past')))
             ORDER BY number DESC",
            &[&environment],
        )
    }

    /// The newest verified deploy older than row `before`.
    pub fn verified_before(&self, environment: &str, before: i64) -> Result<Option<Deployment>, Problem> {
        self.one(
            "WHERE environment = ?1 AND kind = 'deploy' AND verified_ms IS NOT NULL AND release IS NOT NULL AND number < ?2 ORDER BY number DESC LIMIT 1",
            &[&environment, &before],
        )
    }

    /// The newest verified deploy of a revision.
    pub fn verified_revision(
        &self,
        environment: &str,
        revision: &str,
    ) -> Result<Option<Deployment>, Problem> {
        self.one(
            "WHERE environment = ?1 AND revision = ?2 AND kind = 'deploy' AND verified_ms IS NOT NULL AND release IS NOT NULL ORDER BY number DESC LIMIT 1",
            &[&environment, &revision],
        )
    }

    /// Verified deploys, newest first.
    pub fn verified(&self, environment: &str, limit: u32) -> Result<Vec<Deployment>, Problem> {
        self.many(
            "WHERE environment = ?1 AND kind = 'deploy' AND verified_ms IS NOT NULL ORDER BY number DESC LIMIT ?2",
            &[&environment, &limit],
        )
    }

    fn one(&self, condition: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Option<Deployment>, Problem> {
        self.db
            .prepare(&format!("SELECT {COLUMNS} FROM deployments {condition}"))
            .and_then(|mut statement| statement.query_row(values, from_row).optional())
            .map_err(|error| unreadable(&error))
    }

    pub(super) fn many(
        &self,
        condition: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<Deployment>, Problem> {
        let read = || {
            let mut statement = self.db.prepare(&format!("SELECT {COLUMNS} FROM deployments {condition}"))?;
            let rows = statement.query_map(values, from_row)?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| unreadable(&error))
    }
}

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Deployment> {
    Ok(Deployment {
        number: row.get(0)?,
        id: row.get(1)?,
        environment: row.get(2)?,
        kind: row.get(3)?,
        state: row.get(4)?,
        revision: row.get(5)?,
        branch: row.get(6)?,
        tree: row.get(7)?,
        release: row.get(8)?,
        slot: row.get::<_, Option<String>>(9)?.as_deref().and_then(Slot::from_name),
        replaced: row.get(10)?,
        restores: row.get(11)?,
        who: row.get(12)?,
        started_ms: row.get(13)?,
        serving_ms: row.get(14)?,
        verified_ms: row.get(15)?,
        ended_ms: row.get(16)?,
        outcome: row.get(17)?,
        log_file: row.get(18)?,
        forced_reason: row.get(19)?,
        confirm_by_ms: row.get(20)?,
        confirmed_ms: row.get(21)?,
        database: row.get::<_, Option<String>>(22)?.map(PathBuf::from),
    })
}
