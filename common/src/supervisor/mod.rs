//! What keeps an instance alive: a driver per kind of supervisor, chosen by the configuration.

mod adopted;
mod chunk;
mod journal;
mod log;
mod process;
mod slot_files;
mod systemd;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use chunk::{Chunk, Position};
pub use log::{Follower, Log};

pub use crate::systemd::watch_unit;

pub(crate) use process::{KeeperRecord, keeper_command, keeper_lives, keeper_of, start_keeper, stop_keeper};

use crate::address::Address;
use crate::config::{Environment, SupervisorKind};
use crate::layout::{Place, Slot};
use crate::report::Problem;
use crate::systemd::Manager;
use adopted::Adopted;
use systemd::Systemd;

/// The drivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supervisor {
    /// A small parent per instance.
    Process,
    /// A unit of systemd per instance.
    Systemd(Systemd),
    /// One unit that an operator wrote.
    Adopted(Adopted),
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
        let manager = match settings.supervisor {
            SupervisorKind::Process => return Self::Process,
            SupervisorKind::Systemd => Manager::System,
            SupervisorKind::SystemdUser => Manager::User,
        };
        let options = settings.systemd.clone().unwrap_or_default();
        match &options.unit {
            Some(unit) => Self::Adopted(Adopted::new(manager, unit, &options)),
            None => Self::Systemd(Systemd::new(manager, options)),
        }
    }

    /// Other ones that may have something here since the configuration was another.
    fn left_behind(&self, place: &Place) -> Vec<Self> {
        let is_other = |found: &Self| match (self, found) {
            (Self::Adopted(own), Self::Adopted(found)) => !own.is_same_unit(found),
            _ => std::mem::discriminant(self) != std::mem::discriminant(found),
        };
        let units = Systemd::left_behind(place).map(Self::Systemd);
        let adopted = Adopted::left_behind(place).map(Self::Adopted);
        [Self::Process].into_iter().chain(units).chain(adopted).filter(is_other).collect()
    }

    /// Whether it could start something here.
    ///
    /// # Errors
    /// `systemd-unavailable`, `unit-foreign`, `unit-edited`, `account-missing`, `account-taken`; of a
    /// unit that is taken over also `unit-missing`, `unit-unsuited`.
    pub fn check(&self, place: &Place) -> Result<(), Problem> {
        match self {
            Self::Process => Ok(()),
            Self::Systemd(units) => units.check(place),
            Self::Adopted(unit) => unit.check(place),
        }
    }

    /// Whether a reboot brings back what serves.
    ///
    /// # Errors
    /// `not-lingering`, `unit-disabled`. Keepers promise nothing, so that nothing is missing there.
    pub fn check_boot(&self) -> Result<(), Problem> {
        match self {
            Self::Process => Ok(()),
            Self::Systemd(units) => units.check_boot(),
            Self::Adopted(unit) => unit.check_boot(),
        }
    }

    /// Starts an instance; it may not be ready yet when this returns.
    pub fn start(&self, place: &Place, start: Start<'_>) -> Result<(), Problem> {
        match self {
            Self::Process => process::start(place, start),
            Self::Systemd(units) => units.start(place, start),
            Self::Adopted(unit) => unit.start(place, start),
        }
    }

    /// Stops whatever runs in a slot, also what another supervisor started there; nothing running is
    /// fine.
    pub fn stop(&self, place: &Place, slot: Slot) -> Result<Stopped, Problem> {
        let mut stopped = self.stop_own(place, slot)?;
        for other in self.left_behind(place) {
            stopped.killed |= other.stop_own(place, slot)?.killed;
            if let Self::Adopted(unit) = other {
                unit.give_back(place, false)?;
            }
        }
        Ok(stopped)
    }

    fn stop_own(&self, place: &Place, slot: Slot) -> Result<Stopped, Problem> {
        match self {
            Self::Process => process::stop(place, slot),
            Self::Systemd(units) => units.stop(place, slot),
            Self::Adopted(unit) => unit.stop(place, slot),
        }
    }

    /// When no release of ours is left to run: a unit that was taken over is as it was, and runs if
    /// it ran.
    ///
    /// # Errors
    /// `not-stopped`, `not-started`, `state-unwritable`.
    pub fn give_back(&self, place: &Place) -> Result<(), Problem> {
        match self {
            Self::Adopted(unit) => unit.give_back(place, true),
            Self::Process | Self::Systemd(_) => Ok(()),
        }
    }

    /// What another supervisor started before the configuration changed runs on until it is
    /// stopped.
    pub fn condition(&self, place: &Place, slot: Slot) -> Condition {
        let own = self.condition_of_own(place, slot);
        if own != Condition::Stopped {
            return own;
        }
        let others = self.left_behind(place).into_iter();
        others
            .map(|other| other.condition_of_own(place, slot))
            .find(|found| *found != Condition::Stopped)
            .unwrap_or(own)
    }

    fn condition_of_own(&self, place: &Place, slot: Slot) -> Condition {
        match self {
            Self::Process => process::condition(place, slot),
            Self::Systemd(units) => units.condition(place, slot),
            Self::Adopted(unit) => unit.condition(place, slot),
        }
    }

    /// How long to wait between two looks at a condition.
    pub fn pause(&self) -> Duration {
        match self {
            Self::Process => Duration::ZERO,
            // Each takes a process.
            Self::Systemd(_) | Self::Adopted(_) => Duration::from_millis(100),
        }
    }

    /// Lets a reboot bring back the instances of these slots, and no other; whether a unit that was
    /// taken over starts at boot is its operator's to say.
    pub fn enable(&self, place: &Place, slots: &[Slot]) -> Result<(), Problem> {
        for other in self.left_behind(place) {
            other.enable_own(place, &[])?;
        }
        self.enable_own(place, slots)
    }

    fn enable_own(&self, place: &Place, slots: &[Slot]) -> Result<(), Problem> {
        match self {
            Self::Process | Self::Adopted(_) => Ok(()),
            Self::Systemd(units) => units.enable(place, slots),
        }
    }

    /// The slot in whose log `slot` would write: where one unit is both, the one that it is now.
    pub fn writing_slot(&self, place: &Place, slot: Slot) -> Option<Slot> {
        match self {
            Self::Process | Self::Systemd(_) => Some(slot),
            Self::Adopted(unit) => unit.slot(place),
        }
    }

    /// The instance's own output.
    pub fn log(&self, place: &Place, slot: Slot) -> Log {
        match self {
            Self::Process => Log::File(place.slot(slot).join("app.log")),
            Self::Systemd(units) => Log::Journal(units.log(place, slot)),
            Self::Adopted(unit) => Log::Journal(unit.log(place, slot)),
        }
    }
}
