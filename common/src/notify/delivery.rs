//! Delivering what waits, oldest first for each receiver: one sender at a time, for a bounded time.
//! A receiver that does not answer is left for later, and keeps no other waiting for long.

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
    let begun = Instant::now();
    let path = config.state_dir().join("deliver.lock");
    let _lock = Lock::take_file(&path, "notifications", "status deliver", LONGEST)?;
    let ledger = Ledger::open(config)?;
    ledger.forget_messages()?;
    let (secrets, tried, away) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    let mut sender = Sender { config, ledger, secrets, tried, away };
    let mut delivered = Delivered::default();
    while let Some(row) = sender.next(at_once)?.filter(|_| begun.elapsed() < LONGEST) {
        match sender.attempt(&row) {
            Ok(()) => {
                sender.ledger.settle_message(row.number)?;
                delivered.delivered += 1;
            }
            Err(refused) => {
                // A sender that is told to stop says nothing against the receiver.
                interrupt::check()?;
                let why = refused.why();
                sender.ledger.postpone_message(&row, why)?;
                let line = format!("{} of '{}': {why}", shown(&row.receiver), row.environment);
                if !delivered.problems.contains(&line) {
                    delivered.problems.push(line);
                }
                sender.tried.insert(row.number);
                if matches!(refused, Refused::ForNow(_)) {
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

impl Sender<'_> {
    /// The oldest of a receiver, as soon as any of its messages may be tried.
    fn next(&self, at_once: bool) -> Result<Option<MessageRow>, Problem> {
        let mut rows = self.ledger.undelivered()?;
        rows.retain(|row| {
            !row.given_up && !self.tried.contains(&row.number) && !self.away.contains(&key(row))
        });
        let due: BTreeSet<Key> = rows.iter().filter(|row| at_once || row.is_due()).map(key).collect();
        for row in rows.into_iter().filter(|row| due.contains(&key(row))) {
            if self.receiver(&row).is_some() {
                return Ok(Some(row));
            }
            self.ledger.settle_message(row.number)?;
        }
        Ok(None)
    }

    /// `None` when the configuration does not name it any more.
    fn receiver<'r>(&self, row: &'r MessageRow) -> Option<Receiver<'r>> {
        let settings = self.config.environments.get(&row.environment)?;
        settings.notify.contains(&row.receiver).then(|| Receiver::read(&row.receiver).ok())?
    }

    /// What is refused has no secret in it.
    fn attempt(&mut self, row: &MessageRow) -> Result<(), Refused> {
        let Some(receiver) = self.receiver(row) else { return Ok(()) };
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
