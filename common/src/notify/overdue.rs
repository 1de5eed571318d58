//! What did not reach its receiver, as commands warn of it and `status` shows it.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::shown;
use crate::ledger::MessageRow;

/// What one receiver of an environment did not get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overdue {
    #[serde(skip)]
    pub environment: String,
    receiver: String,
    /// Still to be tried.
    waiting: u64,
    given_up: u64,
    /// When the oldest of them was to be told, RFC 3339.
    since: Option<String>,
    /// Why it was not delivered when it was last tried.
    problem: String,
}

impl Overdue {
    /// Of each receiver that was tried in vain, with what has to wait for it.
    pub fn of(rows: &[MessageRow]) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for row in rows {
            let (environment, receiver) = (row.environment.clone(), shown(&row.receiver));
            let is_same = |known: &Self| known.environment == environment && known.receiver == receiver;
            let place = found.iter().position(is_same).unwrap_or_else(|| {
                let since = Timestamp::from_millisecond(row.since_ms).ok().map(|at| at.to_string());
                found.push(Self {
                    environment,
                    receiver,
                    waiting: 0,
                    given_up: 0,
                    since,
                    problem: String::new(),
                });
                found.len() - 1
            });
            let known = &mut found[place];
            *if row.given_up { &mut known.given_up } else { &mut known.waiting } += 1;
            if let Some(problem) = &row.problem {
                known.problem.clone_from(problem);
            }
        }
        found.retain(|known| !known.problem.is_empty());
        found
    }
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { receiver, waiting, given_up, .. } = self;
        let problem = self.problem.lines().next().unwrap_or_default();
        write!(f, "{} notifications did not reach {receiver}", waiting + given_up)?;
        if *given_up > 0 {
            write!(f, " ({given_up} of them given up)")?;
        }
        write!(f, ": {problem}")
    }
}
