//! What keeps an instance alive: a driver per kind of supervisor, chosen by the configuration.

mod log;
mod process;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use log::{Follower, Log};

pub(crate) use process::{KeeperRecord, keeper_lives, start_keeper, stop_keeper};

use crate::config::{Environment, SupervisorKind};
use crate::layout::{Place, Slot};
use crate::report::Problem;

/// The drivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supervisor {
    /// A small parent per instance.
    Process,
}

/// How a slot's instance is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Kept alive; `starts` counts how often it was started, the first time included.
    Running { pid: u32, starts: u64, since_ms: i64 },
    /// It ended and will be started again, or could not be kept.
    Exited { ending: String },
    /// Its keeper is gone, the instance itself goes on.
    Orphaned { pid: u32 },
    /// Nothing runs here.
    Stopped,
}

/// What to start in a slot.
pub struct Start<'a> {
    pub slot: Slot,
    /// Run by `sh -c`.
    pub run: &'a str,
    pub dir: PathBuf,
    pub environment: BTreeMap<OsString, OsString>,
    /// How long it may take to end after SIGTERM.
    pub grace: Duration,
}

/// How stopping went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stopped {
    /// It refused to end and was killed.
    pub killed: bool,
}

impl Supervisor {
    /// The one that an environment's configuration names.
    pub fn of(settings: &Environment) -> Self {
        match settings.supervisor {
            SupervisorKind::Process | SupervisorKind::Systemd | SupervisorKind::SystemdUser => Self::Process,
        }
    }

    /// Starts an instance; it may not be ready yet when this returns.
    pub fn start(&self, place: &Place, start: Start<'_>) -> Result<(), Problem> {
        match self {
            Self::Process => process::start(place, start),
        }
    }

    /// Stops whatever runs in a slot; nothing running is fine.
    pub fn stop(&self, place: &Place, slot: Slot) -> Result<Stopped, Problem> {
        match self {
            Self::Process => process::stop(place, slot),
        }
    }

    pub fn condition(&self, place: &Place, slot: Slot) -> Condition {
        match self {
            Self::Process => process::condition(place, slot),
        }
    }

    /// The instance's own output.
    pub fn log(&self, place: &Place, slot: Slot) -> Log {
        match self {
            Self::Process => Log::File(place.slot(slot).join("app.log")),
        }
    }
}
