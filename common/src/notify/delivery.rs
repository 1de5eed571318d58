//! Delivering what waits, oldest first for each receiver: one sender at a time, for a bounded time.
//! A receiver that does not answer is left for later; those that did not fail lately come before it.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::channel::{Refused, send};
use super::shown;
use crate::config::{Config, Receiver};
use crate::interrupt;
use crate::ledger::{Ledger, MessageRow};
use crate::lock::Lock;
use crate::report::Problem;
use crate::secrets::Secrets;

/// After this no further message is begun.
const LONGEST: Duration = Duration::from_secs(120);
/// Before a message that failed for a moment's trouble is tried again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// As often as this a message keeps younger ones of its receiver waiting.
const PATIENCE: u32 = 5;

/// What a run of the sender came to.
#[derive(Debug, Default, Clone)]
pub struct Delivered {
    pub delivered: u64,
    /// One sentence for each receiver that could not be reached.
    pub problems: Vec<String>,
}

/// Sends what waits; with `at_once` also what failed a moment ago.
///
/// # Errors
/// `locked` when another sender is not done in time, `interrupted`, `ledger-unreadable`.
pub fn deliver(config: &Config, at_once: bool) -> Result<Delivered, Problem> {
    let path = config.state_dir().join("deliver.lock");
    let _lock = Lock::take_file(&path, "notifications", "status deliver", LONGEST)?;
    let begun = Instant::now();
    let ledger = Ledger::open(config)?;
    ledger.forget_messages()?;
    let (secrets, tried, away) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    let mut sender = Sender { config, ledger, secrets, tried, away };
    let mut delivered = Delivered::default();
    while let Some(row) = sender.next(at_once)? {
        if begun.elapsed() > LONGEST {
            delivered.problems.push(format!("{} s were over before all was tried", LONGEST.as_secs()));
            break;
        }
        match sender.attempt(&row) {
            Ok(()) => {
                sender.ledger.settle_message(row.number)?;
                delivered.delivered += 1;
            }
            Err(refused) => {
                // A sender that is told to stop says nothing against the receiver.
                interrupt::check()?;
                let (why, is_away) = (refused.why(), !matches!(refused, Refused::Wrong(_)));
                sender.ledger.postpone_message(&row, why, is_away)?;
                let line = format!("{} of '{}': {why}", shown(&row.receiver), row.environment);
                if !delivered.problems.contains(&line) {
                    delivered.problems.push(line);
                }
                sender.tried.insert(row.number);
                if is_away {
                    sender.away.insert(key(&row));
                }
            }
        }
    }
    Ok(delivered)
}

struct Sender<'a> {
    config: &'a Config,
    ledger: Ledger,
    /// Of the environments that need any; an env command may take its time.
    secrets: BTreeMap<String, Secrets>,
    /// What was refused in this run.
    tried: BTreeSet<i64>,
    /// Who did not answer in this run.
    away: BTreeSet<Key>,
}

/// One receiver of one environment.
type Key = (String, String);

fn key(row: &MessageRow) -> Key {
    (row.environment.clone(), row.receiver.clone())
}

/// Of each receiver the oldest, as soon as any of its messages may be tried; one that was refused again
/// and again lets younger ones pass. Of these the one that failed least.
fn choose(rows: Vec<MessageRow>, at_once: bool) -> Option<MessageRow> {
    let due: BTreeSet<Key> = rows.iter().filter(|row| at_once || row.is_due()).map(key).collect();
    let mut firsts: BTreeMap<Key, MessageRow> = BTreeMap::new();
    let rank = |row: &MessageRow| (row.tries >= PATIENCE, row.number);
    for row in rows.into_iter().filter(|row| due.contains(&key(row))) {
        match firsts.get_mut(&key(&row)) {
            Some(first) if rank(first) <= rank(&row) => {}
            Some(first) => *first = row,
            None => drop(firsts.insert(key(&row), row)),
        }
    }
    firsts.into_values().min_by_key(|row| (row.tries, row.number))
}

impl Sender<'_> {
    fn next(&self, at_once: bool) -> Result<Option<MessageRow>, Problem> {
        let mut rows = self.ledger.undelivered()?;
        rows.retain(|row| {
            !row.given_up && !self.tried.contains(&row.number) && !self.away.contains(&key(row))
        });
        Ok(choose(rows, at_once))
    }

    /// What is refused has no secret in it.
    fn attempt(&mut self, row: &MessageRow) -> Result<(), Refused> {
        let receiver = Receiver::read(&row.receiver).map_err(|why| Refused::Wrong(why.to_owned()))?;
        let secrets = self
            .secrets(&row.environment, receiver)
            .map_err(|problem| Refused::Wrong(problem.to_string()))?;
        let mut pauses = PAUSES.iter();
        loop {
            let refused = match send(self.config, receiver, &row.body, &secrets) {
                Ok(()) => return Ok(()),
                Err(refused) => refused.hide(&secrets),
            };
            match (&refused, pauses.next()) {
                (Refused::ForNow(_), Some(pause)) if interrupt::check().is_ok() => sleep(*pause),
                _ => return Err(refused),
            }
        }
    }

    fn secrets(&mut self, environment: &str, receiver: Receiver<'_>) -> Result<Secrets, Problem> {
        if !receiver.needs_secrets() {
            return Ok(Secrets::default());
        }
        if let Some(known) = self.secrets.get(environment) {
            return Ok(known.clone());
        }
        let secrets = Secrets::of(self.config, self.config.environment(environment)?)?;
        self.secrets.insert(environment.to_owned(), secrets.clone());
        Ok(secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing;

    /// Numbers in the order in which they are chosen, each gone afterwards.
    fn order(mut rows: Vec<MessageRow>) -> Vec<i64> {
        let mut numbers = Vec::new();
        while let Some(row) = choose(rows.clone(), false) {
            rows.retain(|other| other.number != row.number);
            numbers.push(row.number);
        }
        numbers
    }

    #[test]
    fn who_failed_least_comes_first_and_each_receiver_in_its_own_order() {
        let row = |number, receiver: &str, tries| testing::message_row(number, receiver, tries);
        assert_eq!(order(vec![row(1, "hangs", 2), row(2, "hangs", 0), row(3, "fine", 0)]), [3, 1, 2]);
        let stuck = vec![row(1, "a", PATIENCE), row(2, "a", 0), row(3, "a", 0)];
        assert_eq!(order(stuck), [2, 3, 1], "one that is refused for ever keeps none waiting for ever");
    }
}
