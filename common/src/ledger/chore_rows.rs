//! Chores of verified deployments that failed and are tried again. `chores` does them.

use rusqlite::params;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use serde::Serialize;

use super::{Ledger, unreadable};
use crate::report::{Problem, now};

/// What is left to do when a deployment is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Chore {
    /// `deploy/ENV/ID`.
    Tag,
    /// `v1.4.0`.
    VersionTag,
    /// The branch and both tags.
    Push,
}

impl Chore {
    /// In the order in which they are done.
    pub const ALL: [Self; 3] = [Self::Tag, Self::VersionTag, Self::Push];

    /// The word in the ledger and in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::VersionTag => "version_tag",
            Self::Push => "push",
        }
    }
}

impl FromSql for Chore {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = value.as_str()?;
        Self::ALL.into_iter().find(|chore| chore.word() == word).ok_or(FromSqlError::InvalidType)
    }
}

/// A chore that is still to be done.
#[derive(Debug, Clone, Serialize)]
pub struct ChoreRow {
    pub deployment: String,
    pub chore: Chore,
    /// Why it failed when it was last tried.
    pub problem: String,
    #[serde(skip)]
    pub since_ms: i64,
}

impl Ledger {
    /// Records that a chore failed.
    pub fn postpone_chore(&self, deployment: &str, chore: Chore, problem: &str) -> Result<(), Problem> {
        self.durably(|db| {
            db.execute(
                "INSERT INTO chores VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET problem = ?3",
                params![deployment, chore.word(), problem, now().as_millisecond()],
            )
            .map(drop)
        })
    }

    /// Records that a chore is done.
    pub fn settle_chore(&self, deployment: &str, chore: Chore) -> Result<(), Problem> {
        self.durably(|db| {
            db.execute(
                "DELETE FROM chores WHERE deployment = ?1 AND chore = ?2",
                params![deployment, chore.word()],
            )
            .map(drop)
        })
    }

    /// The chores of an environment that are still to be done, oldest deployment first.
    pub fn postponed_chores(&self, environment: &str) -> Result<Vec<ChoreRow>, Problem> {
        let read = || {
            let mut statement = self.db.prepare(
                // There are few chores and many deployments, which SQLite cannot know.
                "SELECT deployment, chore, problem, since_ms FROM chores CROSS JOIN deployments ON id = deployment
                 WHERE environment = ?1 ORDER BY number, chore = 'push'",
            )?;
            let rows = statement.query_map([environment], |row| {
                Ok(ChoreRow {
                    deployment: row.get(0)?,
                    chore: row.get(1)?,
                    problem: row.get(2)?,
                    since_ms: row.get(3)?,
                })
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| unreadable(&error))
    }
}
