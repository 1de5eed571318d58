//! The ledger: every deployment, step, journal entry and verification, in one SQLite file.
//!
//! Owns the file, its schema and the state changes, each one transaction. `deployment` holds the
//! rows and their queries, `history` what people ask of them, `progress` their changes,
//! `confirmation` who must confirm one, `journal_rows` the undo entries, `chore_rows` what is still
//! to be done, `message_rows` whom to tell, `probe_rows` and `error_rows` what the watch has seen,
//! `event_log` the readable twin; `rebuild` makes a lost ledger again from what `witness` finds.

mod chore_rows;
mod confirmation;
mod deployment;
mod error_rows;
mod event_log;
mod history;
mod journal_rows;
mod message;
mod message_rows;
mod past;
mod probe_rows;
mod progress;
mod rebuild;
mod schema;
mod verification;
mod witness;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

pub use chore_rows::{Chore, ChoreRow};
pub use deployment::{Deployment, Kind, State};
pub use error_rows::{ErrorGroup, ErrorGroups};
pub use history::{Figures, Selection};
pub use journal_rows::JournalRow;
pub use message::Message;
pub use message_rows::MessageRow;
#[cfg(test)]
pub(crate) use message_rows::tests as testing;
pub use probe_rows::{Counted, Health, Probe, Uptime, Watched};
pub use progress::Beginning;
use rebuild::Standing;
pub use rebuild::{Sound, ensure};
use schema::Age;
pub use verification::Verification;

use crate::config::Config;
use crate::durable;
use crate::fault;
use crate::layout::create_private_dir;
use crate::ownership::{self, Use, open_unlinked};
use crate::report::{OrProblem, Problem};

const BUSY: Duration = Duration::from_secs(10);
const WRITABLE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE;
const READ_ONLY: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY;

/// An open ledger.
pub struct Ledger {
    db: Connection,
    event_log: PathBuf,
    app: String,
    /// Whom each environment tells.
    receivers: BTreeMap<String, Vec<String>>,
    /// Why it had to be made again, in memory, from what else is known.
    lost: Option<String>,
}

impl Ledger {
    /// Opens the ledger for writing and makes it when there is none.
    ///
    /// # Errors
    /// `state-unwritable`, `state-untrusted`, `ledger-unreadable`; `ledger-lost` when it vanished
    /// since [`ensure`].
    pub fn open(config: &Config) -> Result<Self, Problem> {
        Self::open_sound(config, Sound::default())
    }

    /// The same, where [`ensure`] has it open already.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_sound(config: &Config, sound: Sound) -> Result<Self, Problem> {
        let path = file(config);
        let db = sound.writable(&path).map_or_else(|| open_or_make(config, &path), Ok)?;
        let ledger = Self::around(db, config);
        schema::prepare(&ledger.db).map_err(|error| unreadable(&error).detail(path.display().to_string()))?;
        ledger.age().map(|_| ledger)
    }

    /// Opens an existing ledger for reading; `None` when nothing was ever deployed. A lost one is
    /// made again in memory.
    ///
    /// # Errors
    /// `ledger-unreadable`, `state-untrusted`.
    pub fn open_read_only(config: &Config) -> Result<Option<Self>, Problem> {
        Self::look(config, || Self::open(config))
    }

    /// `older` gives the one that an earlier version wrote.
    fn look(config: &Config, older: impl FnOnce() -> Result<Self, Problem>) -> Result<Option<Self>, Problem> {
        ownership::check(&config.state_dir(), Use::Reading)?;
        let path = file(config);
        ownership::check_file(&path)?;
        let standing = match rebuild::standing(config, READ_ONLY) {
            // It may vanish between the first look and the second.
            Standing::Sound(sound) if sound.is_empty() && !path.exists() => {
                rebuild::standing(config, READ_ONLY)
            }
            standing => standing,
        };
        let db = match standing {
            Standing::Lost(why) => return rebuild::in_memory(config, why).map(Some),
            Standing::Sound(sound) => sound.connection(),
        };
        let db = match db {
            Some(db) => db,
            None if !path.exists() => return Ok(None),
            None => connect(&path, READ_ONLY).map_err(|error| unreadable(&error))?,
        };
        let ledger = Self::around(db, config);
        match ledger.age()? {
            Age::Empty => Ok(None),
            Age::Older => {
                drop(ledger);
                older().map(Some)
            }
            Age::Current | Age::Newer => Ok(Some(ledger)),
        }
    }

    /// Whether there is one: a file that is not empty, or what a lost one can be made again from.
    ///
    /// # Errors
    /// Those of [`Ledger::open_read_only`].
    pub fn has_rows(config: &Config) -> Result<bool, Problem> {
        Ok(is_made(config) || Self::open_read_only(config)?.is_some())
    }

    /// As [`Ledger::open_read_only`], for who may not write: one that an earlier version wrote is
    /// left as it is.
    ///
    /// # Errors
    /// `ledger-outdated`; those of [`Ledger::open_read_only`].
    pub fn open_untouched(config: &Config) -> Result<Option<Self>, Problem> {
        Self::look(config, || {
            Err(Problem::new("ledger-outdated", "an earlier version of these tools wrote the ledger")
                .hint("status all   # brings it up to date"))
        })
    }

    /// A number that another connection's commit changes.
    ///
    /// # Errors
    /// `ledger-unreadable`.
    pub fn data_version(&self) -> Result<i64, Problem> {
        self.db.query_row("PRAGMA data_version", [], |row| row.get(0)).map_err(|error| unreadable(&error))
    }

    fn age(&self) -> Result<Age, Problem> {
        match schema::age(&self.db).map_err(|error| unreadable(&error))? {
            Age::Newer => {
                Err(Problem::new("ledger-unreadable", "a later version of these tools wrote the ledger")
                    .hint("status --version"))
            }
            age => Ok(age),
        }
    }

    fn around(db: Connection, config: &Config) -> Self {
        let environments = config.environments.iter();
        let receivers =
            environments.map(|(name, settings)| (name.clone(), settings.notify.clone())).collect();
        Self { db, event_log: config.event_log_file(), app: config.app.name.clone(), receivers, lost: None }
    }

    /// Why the file could not be used and this was made from the event log and what serves.
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// Runs `act` in one transaction that has reached the disk when this returns.
    fn durably<T>(&self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Problem> {
        let write = || {
            self.db.pragma_update(None, "synchronous", "FULL")?;
            // One that reads first could not write any more after somebody else did.
            let transaction = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
            let value = act(&transaction)?;
            fault::point("ledger.before-commit");
            transaction.commit()?;
            fault::point("ledger.after-commit");
            self.db.pragma_update(None, "synchronous", "NORMAL")?;
            Ok(value)
        };
        write().map_err(|error: rusqlite::Error| unwritable(&error))
    }
}

fn open_or_make(config: &Config, path: &Path) -> Result<Connection, Problem> {
    ownership::check(&config.state_dir(), Use::Writing)?;
    create_private_dir(&config.state_dir())?;
    rebuild::refuse_a_gap(config)?;
    ownership::check_file(path)?;
    let is_new = !path.exists();
    open_unlinked(OpenOptions::new().append(true), path)
        .and_then(|_| if is_new { durable::sync_dir(&config.state_dir()) } else { Ok(()) })
        .or_problem("state-unwritable", || {
            format!("the state directory cannot be written: {}", path.display())
        })?;
    connect(path, WRITABLE).map_err(|error| unreadable(&error))
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    Ok(db)
}

fn file(config: &Config) -> PathBuf {
    config.state_dir().join("ledger.db")
}

/// Whether the file is there and not empty.
fn is_made(config: &Config) -> bool {
    fs::metadata(file(config)).is_ok_and(|meta| meta.len() > 0)
}

fn unreadable(error: &rusqlite::Error) -> Problem {
    Problem::new("ledger-unreadable", "the ledger cannot be read").detail(error.to_string())
}

fn unwritable(error: &rusqlite::Error) -> Problem {
    Problem::new("state-unwritable", "the ledger cannot be written").detail(error.to_string()).hint("df -h")
}
