//! What keeps an instance alive: a driver per kind of supervisor, chosen by the configuration.

mod journal;
mod log;
mod process;
mod systemd;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use log::{Follower, Log};

pub(crate) use process::{KeeperRecord, keeper_lives, start_keeper, stop_keeper};

use crate::address::Address;
use crate::config::{Environment, SupervisorKind};
use crate::layout::{Place, Slot};
use crate::report::Problem;
use crate::systemd::Manager;
use systemd::Systemd;

/// The drivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supervisor {
    /// A small parent per instance.
    Process,
    /// A unit of systemd per instance.
    Systemd(Systemd),
}

/// Whether the host was started with systemd.
pub fn has_systemd() -> bool {
    crate::systemd::manager::is_booted()
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
    /// Where it will listen.
    pub address: &'a Address,
    /// Run by `sh -c`.
    pub run: &'a str,
    pub dir: PathBuf,
    /// What it may write there, relative to the shared directory.
    pub shared: &'a [PathBuf],
    pub database: Option<PathBuf>,
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
            SupervisorKind::Process => Self::Process,
            SupervisorKind::Systemd => Self::Systemd(Systemd::new(Manager::System, settings)),
            SupervisorKind::SystemdUser => Self::Systemd(Systemd::new(Manager::User, settings)),
        }
    }

    /// Whether it could start something here.
    ///
    /// # Errors
    /// `systemd-unavailable`, `unit-foreign`, `unit-edited`, `account-missing`, `account-taken`.
    pub fn check(&self, place: &Place) -> Result<(), Problem> {
        match self {
            Self::Process => Ok(()),
            Self::Systemd(units) => units.check(place),
        }
    }

    /// Whether a reboot brings back what serves.
    ///
    /// # Errors
    /// `not-lingering`. Keepers promise nothing, so that nothing is missing there.
    pub fn check_boot(&self) -> Result<(), Problem> {
        match self {
            Self::Process => Ok(()),
            Self::Systemd(units) => units.check_boot(),
        }
    }

    /// Starts an instance; it may not be ready yet when this returns.
    pub fn start(&self, place: &Place, start: Start<'_>) -> Result<(), Problem> {
        match self {
            Self::Process => process::start(place, start),
            Self::Systemd(units) => units.start(place, start),
        }
    }

    /// Stops whatever runs in a slot, also what another supervisor started there; nothing running is
    /// fine.
    pub fn stop(&self, place: &Place, slot: Slot) -> Result<Stopped, Problem> {
        let kept = process::stop(place, slot)?;
        let unit = match self {
            Self::Process => Systemd::left_behind(place).map(|units| units.stop(place, slot)),
            Self::Systemd(units) => Some(units.stop(place, slot)),
        };
        let unit = unit.transpose()?.unwrap_or_default();
        Ok(Stopped { killed: kept.killed || unit.killed })
    }

    /// What another supervisor started before the configuration changed runs on until it is
    /// stopped.
    pub fn condition(&self, place: &Place, slot: Slot) -> Condition {
        let own = match self {
            Self::Process => process::condition(place, slot),
            Self::Systemd(units) => units.condition(place, slot),
        };
        match self {
            Self::Process if own == Condition::Stopped => {
                Systemd::left_behind(place).map_or(own, |units| units.condition(place, slot))
            }
            Self::Systemd(_) if own == Condition::Stopped && keeper_lives(&place.slot(slot)) => {
                process::condition(place, slot)
            }
            _ => own,
        }
    }

    /// How long to wait between two looks at a condition.
    pub fn pause(&self) -> Duration {
        match self {
            Self::Process => Duration::ZERO,
            // Each takes a process.
            Self::Systemd(_) => Duration::from_millis(100),
        }
    }

    /// Lets a reboot bring back the instances of these slots, and no other.
    pub fn enable(&self, place: &Place, slots: &[Slot]) -> Result<(), Problem> {
        match self {
            Self::Process => match Systemd::left_behind(place) {
                Some(units) => units.enable(place, &[]),
                None => Ok(()),
            },
            Self::Systemd(units) => units.enable(place, slots),
        }
    }

    /// The instance's own output.
    pub fn log(&self, place: &Place, slot: Slot) -> Log {
        match self {
            Self::Process => Log::File(place.slot(slot).join("app.log")),
            Self::Systemd(units) => Log::Journal(units.log(place, slot)),
        }
    }
}
