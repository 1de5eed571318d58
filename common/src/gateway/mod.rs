//! What takes traffic: a driver per kind of gateway, chosen by the configuration.

mod builtin;
mod nginx;
mod traffic;
mod units;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use traffic::{Traffic, running, traffic};

use crate::address::Address;
use crate::config::{Environment, GatewayKind, Listen};
use crate::identity;
use crate::instance::Instance;
use crate::layout::{Place, Slot};
use crate::report::Problem;

/// Where the gateway sends requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub slot: Slot,
    pub address: Address,
    pub deployment: String,
}

impl From<&Instance> for Target {
    fn from(instance: &Instance) -> Self {
        Self {
            slot: instance.slot,
            address: instance.address.clone(),
            deployment: instance.deployment.clone(),
        }
    }
}

/// What the gateway says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GatewayStatus {
    pub pid: u32,
    pub version: String,
    pub listen: String,
    pub active: Option<Target>,
    // What it does not count is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_errors: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_cut: Option<u64>,
}

/// How letting go of the old instance went.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Drained {
    pub drained: bool,
    pub requests_cut: u64,
    /// What the old instance still works at, when it may.
    #[serde(default)]
    pub in_flight: usize,
    pub waited_ms: u64,
}

/// The gateway of one environment.
#[derive(Debug, Clone)]
pub enum Gateway {
    /// Our own reverse proxy.
    Builtin(builtin::Client),
    /// An nginx that the operator runs.
    Nginx(nginx::Client),
}

impl Gateway {
    /// The one that an environment's configuration names.
    pub fn of(place: &Place, settings: &Environment) -> Self {
        match settings.gateway {
            GatewayKind::Builtin => {
                let units = units::Units::of(place, settings);
                Self::Builtin(builtin::Client::new(place, settings.listen, units))
            }
            GatewayKind::Nginx => {
                let nginx = settings.nginx.clone().unwrap_or_default();
                Self::Nginx(nginx::Client::new(place, settings.listen, &nginx))
            }
        }
    }

    /// Starts the gateway when it does not run; an nginx must run, and be able to do its part.
    ///
    /// # Errors
    /// `port-taken`, naming who has the public address; `gateway-failed`; what keeps nginx from its
    /// part, `nginx-…`.
    pub fn ensure(&self) -> Result<GatewayStatus, Problem> {
        match self {
            Self::Builtin(client) => client.ensure(),
            Self::Nginx(client) => client.ensure(),
        }
    }

    /// What the gateway says; `None` when it does not run.
    pub fn status(&self) -> Option<GatewayStatus> {
        match self {
            Self::Builtin(client) => client.status(),
            Self::Nginx(client) => client.status(),
        }
    }

    /// Whether [`Gateway::hold`] keeps requests waiting; where not, they are answered 503 with
    /// Retry-After, until [`Gateway::release`].
    pub fn can_hold(&self) -> bool {
        matches!(self, Self::Builtin(_))
    }

    /// Where the instance of a slot must listen, when it may not choose a port.
    pub fn private_address(&self, slot: Slot) -> Option<Address> {
        match self {
            Self::Builtin(_) => None,
            Self::Nginx(client) => client.private_address(slot),
        }
    }

    /// Takes away what would keep an instance from listening at its address.
    ///
    /// # Errors
    /// `sockets-unusable`.
    pub fn make_room(&self, address: &Address) -> Result<(), Problem> {
        match self {
            Self::Builtin(_) => Ok(()),
            Self::Nginx(client) => client.make_room(address),
        }
    }

    /// How many connections of requests would be cut if what listens at `address` ended now; the
    /// builtin gateway has cut them itself, and told how many.
    ///
    /// # Errors
    /// `unverified`.
    pub fn unfinished(&self, address: &Address) -> Result<usize, Problem> {
        match self {
            Self::Builtin(_) => Ok(0),
            Self::Nginx(_) => identity::connections(address),
        }
    }

    /// Begins or ends counting answers, where that is not always done.
    ///
    /// # Errors
    /// `sockets-unusable`, `state-unwritable`.
    pub fn count(&self, wanted: bool) -> Result<(), Problem> {
        match self {
            Self::Builtin(_) => Ok(()),
            Self::Nginx(client) => client.count(wanted),
        }
    }

    /// Writes what the operator's gateway has to include; gives the files written.
    ///
    /// # Errors
    /// `not-written`, `sockets-unusable`.
    pub fn introduce(&self) -> Result<Vec<PathBuf>, Problem> {
        match self {
            Self::Builtin(_) => Ok(Vec::new()),
            Self::Nginx(client) => client.introduce(),
        }
    }

    /// The command that makes the operator's gateway include it.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Builtin(_) => None,
            Self::Nginx(client) => Some(client.advice()),
        }
    }

    /// Whether it runs although its keeper is gone: a crash would end the service.
    pub fn is_orphaned(&self) -> bool {
        match self {
            Self::Builtin(client) => client.is_orphaned(),
            Self::Nginx(_) => false,
        }
    }

    /// Whether it runs another build than the one that belongs to this tool.
    pub fn is_outdated(&self) -> bool {
        match self {
            Self::Builtin(client) => client.is_outdated(),
            Self::Nginx(_) => false,
        }
    }

    /// Puts a new gateway with a new keeper in the place of one that is orphaned or outdated; no
    /// request is lost.
    ///
    /// # Errors
    /// `gateway-failed`: the old one goes on.
    pub fn renew(&self) -> Result<(), Problem> {
        match self {
            Self::Builtin(client) => client.renew(),
            Self::Nginx(_) => Ok(()),
        }
    }

    /// Sends all later requests to `target`, or answers 503 for `None`.
    ///
    /// # Errors
    /// `gateway-failed`.
    pub fn switch(&self, target: Option<&Target>) -> Result<(), Problem> {
        match self {
            Self::Builtin(client) => client.switch(target),
            Self::Nginx(client) => client.switch(target),
        }
    }

    /// Whether requests go to `target` and no switch to another one is under way; false where asking
    /// is no easier than switching.
    pub fn has_never_left(&self, target: &Target) -> bool {
        match self {
            Self::Builtin(_) => false,
            Self::Nginx(client) => client.has_never_left(target),
        }
    }

    /// Waits until no request is left at `deployment`; after `limit` the rest is cut and counted.
    ///
    /// # Errors
    /// `gateway-failed`.
    pub fn drain(&self, deployment: &str, limit: Duration) -> Result<Drained, Problem> {
        match self {
            Self::Builtin(client) => client.drain(deployment, limit),
            Self::Nginx(client) => client.drain(deployment, limit),
        }
    }

    /// Keeps new requests waiting until [`Gateway::release`], at most `limit`.
    ///
    /// # Errors
    /// `gateway-failed`.
    pub fn hold(&self, limit: Duration) -> Result<(), Problem> {
        match self {
            Self::Builtin(client) => client.hold(limit),
            Self::Nginx(client) => client.hold(),
        }
    }

    /// Lets waiting requests go on.
    ///
    /// # Errors
    /// `gateway-failed`.
    pub fn release(&self) -> Result<(), Problem> {
        match self {
            Self::Builtin(client) => client.release(),
            Self::Nginx(client) => client.release(),
        }
    }

    /// Ends the gateway; requests in flight are finished first.
    ///
    /// # Errors
    /// `not-stopped`.
    pub fn stop(&self) -> Result<(), Problem> {
        match self {
            Self::Builtin(client) => client.stop(),
            Self::Nginx(client) => client.switch(None),
        }
    }
}

/// Checks that the public address is free or our gateway's, or that nginx can do its part there.
///
/// # Errors
/// `port-taken`, naming who has it; for units of systemd also as the supervisor's check; what keeps
/// nginx from its part, `nginx-…`.
pub fn check_address(gateway: &Gateway, listen: Listen) -> Result<(), Problem> {
    match gateway {
        Gateway::Builtin(client) => client.check()?,
        Gateway::Nginx(client) => return client.ensure().map(drop),
    }
    let ours = gateway.status().is_some_and(|status| status.listen == listen.0.to_string());
    if ours || identity::stranger(&listen.0.into()).is_none() {
        Ok(())
    } else {
        Err(builtin::port_taken(listen))
    }
}
