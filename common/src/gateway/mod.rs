//! What takes traffic: a driver per kind of gateway, chosen by the configuration.

mod builtin;

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::config::{Environment, Listen};
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
    pub in_flight: u64,
    pub requests: u64,
    pub failed: u64,
    pub server_errors: u64,
    pub requests_cut: u64,
}

/// How letting go of the old instance went.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Drained {
    pub drained: bool,
    pub requests_cut: u64,
    pub waited_ms: u64,
}

/// The gateway of one environment.
#[derive(Debug, Clone)]
pub enum Gateway {
    /// Our own reverse proxy.
    Builtin(builtin::Client),
}

impl Gateway {
    /// The one that an environment's configuration names.
    pub fn of(place: &Place, settings: &Environment) -> Self {
        Self::Builtin(builtin::Client::new(place, settings.listen))
    }

    /// Starts the gateway when it does not run.
    ///
    /// # Errors
    /// `port-taken`, naming who has the public address; `gateway-failed`.
    pub fn ensure(&self) -> Result<GatewayStatus, Problem> {
        match self {
            Self::Builtin(client) => client.ensure(),
        }
    }

    /// What the gateway says; `None` when it does not run.
    pub fn status(&self) -> Option<GatewayStatus> {
        match self {
            Self::Builtin(client) => client.status(),
        }
    }

    /// Whether it runs although its keeper is gone: a crash would end the service.
    pub fn is_orphaned(&self) -> bool {
        match self {
            Self::Builtin(client) => client.is_orphaned(),
        }
    }

    /// Whether it runs another build than the one that belongs to this tool.
    pub fn is_outdated(&self) -> bool {
        match self {
            Self::Builtin(client) => client.is_outdated(),
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
        }
    }

    /// Sends all later requests to `target`, or answers 503 for `None`.
    ///
    /// # Errors
    /// `gateway-failed`.
    pub fn switch(&self, target: Option<&Target>) -> Result<(), Problem> {
        match self {
            Self::Builtin(client) => client.switch(target),
        }
    }

    /// Waits until no request is left at `deployment`; after `limit` the rest is cut and counted.
    ///
    /// # Errors
    /// `gateway-failed`.
    pub fn drain(&self, deployment: &str, limit: Duration) -> Result<Drained, Problem> {
        match self {
            Self::Builtin(client) => client.drain(deployment, limit),
        }
    }

    /// Keeps new requests waiting until [`Gateway::release`], at most `limit`.
    ///
    /// # Errors
    /// `gateway-failed`.
    pub fn hold(&self, limit: Duration) -> Result<(), Problem> {
        match self {
            Self::Builtin(client) => client.hold(limit),
        }
    }

    /// Lets waiting requests go on.
    ///
    /// # Errors
    /// `gateway-failed`.
    pub fn release(&self) -> Result<(), Problem> {
        match self {
            Self::Builtin(client) => client.release(),
        }
    }

    /// Ends the gateway; requests in flight are finished first.
    ///
    /// # Errors
    /// `not-stopped`.
    pub fn stop(&self) -> Result<(), Problem> {
        match self {
            Self::Builtin(client) => client.stop(),
        }
    }
}

/// What the gateway says that runs for an environment, configured or not.
pub fn running(place: &Place) -> Option<GatewayStatus> {
    let nowhere = Listen(SocketAddr::from(([0, 0, 0, 0], 0)));
    builtin::Client::new(place, nowhere).status()
}

/// Where the requests of an environment go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Traffic {
    /// No gateway was ever told.
    #[default]
    Untold,
    /// They are answered by the gateway itself.
    Nowhere,
    To(Target),
}

impl From<Option<Target>> for Traffic {
    fn from(active: Option<Target>) -> Self {
        active.map_or(Self::Nowhere, Self::To)
    }
}

/// What the gateway of an environment says, else what the last one noted on disk.
pub fn traffic(place: &Place) -> Traffic {
    match running(place) {
        Some(status) => status.active.into(),
        None => builtin::recorded(place),
    }
}

/// Checks that the public address is free or our gateway's.
///
/// # Errors
/// `port-taken`, naming who has it.
pub fn check_address(gateway: &Gateway, listen: Listen) -> Result<(), Problem> {
    let ours = gateway.status().is_some_and(|status| status.listen == listen.0.to_string());
    if ours || identity::stranger(&listen.0.into()).is_none() {
        Ok(())
    } else {
        Err(builtin::port_taken(listen))
    }
}
