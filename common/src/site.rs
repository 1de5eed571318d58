//! An environment opened for change: configuration, directories, lock, ledger, log and drivers in
//! one hand. Every changing command begins by opening one.

use std::time::Duration;

use crate::config::{Config, Environment};
use crate::exec::{RunLog, Sibling};
use crate::gateway::Gateway;
use crate::git::Repository;
use crate::instance::{self, Instance};
use crate::layout::{Place, Slot};
use crate::ledger::{self, Ledger, Sound};
use crate::lock::{self, Lock};
use crate::report::{Problem, Report};
use crate::secrets::Secrets;
use crate::supervisor::Supervisor;

/// Everything a changing command needs.
pub struct Site {
    pub config: Config,
    pub environment: String,
    pub place: Place,
    pub lock: Lock,
    pub ledger: Ledger,
    pub log: RunLog,
    pub secrets: Secrets,
    pub supervisor: Supervisor,
    pub gateway: Gateway,
}

impl Site {
    /// Makes the environment's directories, takes its lock and opens its ledger.
    ///
    /// # Errors
    /// `locked`, `state-unwritable`, `state-untrusted`, `log-unwritable`, `env-file`, `env-command`.
    pub fn open(config: Config, environment: &str, tool: &str, wait: Duration) -> Result<Self, Problem> {
        config.environment(environment)?;
        let place = Place::new(&config, environment);
        let (lock, sound) = enter(&config, &place, &format!("{tool} {environment}"), wait)?;
        let ledger = Ledger::open_sound(&config, sound)?;
        Self::around(config, environment, tool, lock, ledger)
    }

    /// The site of an environment whose lock is held already.
    ///
    /// # Errors
    /// `log-unwritable`, `env-file`, `env-command`.
    pub fn around(
        config: Config,
        environment: &str,
        tool: &str,
        lock: Lock,
        ledger: Ledger,
    ) -> Result<Self, Problem> {
        let settings = config.environment(environment)?;
        let secrets = Secrets::of(&config, settings)?;
        let place = Place::new(&config, environment);
        let (gateway, supervisor) = (Gateway::of(&place, settings), Supervisor::of(settings));
        let log = RunLog::create(&config.log_directory(), tool, environment)?;
        let environment = environment.to_owned();
        Ok(Self { config, environment, place, lock, ledger, log, secrets, supervisor, gateway })
    }

    /// What the configuration says of this environment.
    ///
    /// # Panics
    /// Never: `open` found the environment.
    pub fn settings(&self) -> &Environment {
        &self.config.environments[&self.environment]
    }

    /// A new instance for `slot`, at an address that the configuration leaves to it.
    ///
    /// # Errors
    /// `no-port`.
    pub fn instance(
        &self,
        slot: Slot,
        deployment: &str,
        release: &str,
        revision: &str,
    ) -> Result<Instance, Problem> {
        let address = match (self.gateway.private_address(slot), self.settings().bind) {
            (Some(address), _) => address,
            (None, Some(bind)) => bind.0.into(),
            (None, None) => instance::free_address()?,
        };
        Ok(Instance::at(address, slot, deployment, release, revision))
    }

    /// The operator's repository.
    ///
    /// # Errors
    /// `not-a-repository`.
    pub fn repository(&self) -> Result<Repository, Problem> {
        Repository::open(self.config.root())
    }

    /// Runs `TOOL ENV ARGS…` under our lock and gives its report, whatever the outcome.
    ///
    /// # Errors
    /// When it could not run to its end.
    pub fn run_sibling(&self, sibling: &Sibling, args: &[&str], limit: Duration) -> Result<Report, Problem> {
        let words: Vec<&str> = [self.environment.as_str()].into_iter().chain(args.iter().copied()).collect();
        sibling.run(&self.config.file, &words, Some(&self.lock), limit)
    }

    /// The revision that traffic goes to.
    ///
    /// # Errors
    /// `ledger-unreadable`.
    pub fn serving_revision(&self) -> Result<Option<String>, Problem> {
        Ok(self.ledger.serving(&self.environment)?.map(|deployment| deployment.revision))
    }
}

/// Takes an environment's lock for a command that changes something: its directories are there
/// then, and the ledger is sound. A lock that a parent holds for us is taken over.
///
/// # Errors
/// `locked` (retryable), `state-unwritable`.
pub fn enter(config: &Config, place: &Place, what: &str, wait: Duration) -> Result<(Lock, Sound), Problem> {
    place.create()?;
    let sound = if lock::is_passed_on(place) { Sound::default() } else { ledger::ensure(config, wait)? };
    Ok((Lock::take(place, what, wait)?, sound))
}
