//! An instance: a running release. Its record on disk, its port and its environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::config::Config;
use crate::durable;
use crate::layout::{Place, Slot};
use crate::report::{OrProblem, Problem};
use crate::secrets::Secrets;

/// Variables of the operator's shell that an instance may see.
const INHERITED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];
const FIRST_PORT: u16 = 20_000;

/// Ports that this run gave to instances.
static RESERVED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// What a slot runs, as `slots/SLOT/instance.json` says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub slot: Slot,
    pub deployment: String,
    /// Id of the release directory.
    pub release: String,
    pub revision: String,
    /// Private address behind the gateway.
    pub address: Address,
}

impl Instance {
    /// An instance at a known address.
    pub fn at(address: Address, slot: Slot, deployment: &str, release: &str, revision: &str) -> Self {
        let (deployment, release, revision) =
            (deployment.to_owned(), release.to_owned(), revision.to_owned());
        Self { slot, deployment, release, revision, address }
    }

    /// The record of a slot, when it has ever been used.
    pub fn read(place: &Place, slot: Slot) -> Option<Self> {
        serde_json::from_slice(&fs::read(place.slot(slot).join("instance.json")).ok()?).ok()
    }

    /// The record of the slot that runs `deployment`.
    pub fn of(place: &Place, deployment: &str) -> Option<Self> {
        Slot::BOTH
            .into_iter()
            .filter_map(|slot| Self::read(place, slot))
            .find(|found| found.deployment == deployment)
    }

    /// Writes the record, whole or not at all; on disk when this returns.
    ///
    /// # Errors
    /// `state-unwritable`.
    pub fn write(&self, place: &Place) -> Result<(), Problem> {
        let path = place.slot(self.slot).join("instance.json");
        let text = serde_json::to_vec(self).unwrap_or_default();
        durable::write(&path, &text)
            .or_problem("state-unwritable", || format!("cannot write {}", path.display()))
    }

    /// The environment of its processes: the secrets, and the contract's variables above them.
    pub fn environment(
        &self,
        config: &Config,
        place: &Place,
        secrets: &Secrets,
    ) -> BTreeMap<OsString, OsString> {
        let mut variables = base_environment();
        let mut set = |name: &str, value: String| variables.insert(name.into(), value.into());
        for (name, value) in secrets.pairs() {
            set(name, value.to_owned());
        }
        set("BIND", self.address.to_string());
        if let Some(port) = self.address.port() {
            set("PORT", port.to_string());
        }
        set("ENVIRONMENT", place.environment().to_owned());
        set("RELEASE", self.release.clone());
        set("REVISION", self.revision.clone());
        set("PYTHONDONTWRITEBYTECODE", "1".to_owned());
        let database =
            config.environments.get(place.environment()).and_then(|settings| place.database(settings));
        if let Some(path) = database {
            set("DATABASE_URL", format!("sqlite:///{}", path.display()));
            set("DATABASE_PATH", path.display().to_string());
        }
        variables
    }
}

/// A private address that nobody uses.
///
/// # Errors
/// `no-port`.
pub fn free_address() -> Result<Address, Problem> {
    free_port()
        .map(Address::from)
        .ok_or_else(|| Problem::new("no-port", "no private port is free").hint("ss -ltn"))
}

/// A loopback port below the range that the kernel gives to outgoing connections: one of those
/// could take the port again before the app binds it.
fn free_port() -> Option<SocketAddr> {
    let outgoing = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let end = outgoing.split_whitespace().next().and_then(|port| port.parse().ok()).unwrap_or(FIRST_PORT);
    let count = u64::from(u16::saturating_sub(end, FIRST_PORT)).max(1);
    let start = RandomState::new().hash_one(std::process::id()) % count;
    (0..count)
        .filter_map(|step| u16::try_from((start + step) % count).ok()?.checked_add(FIRST_PORT))
        .chain([0])
        .find_map(|port| {
            let reserved = reserve(port)?;
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|taken| taken.local_addr());
            free.inspect(|_| RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push(reserved)).ok()
        })
}

/// Keeps the runs of other apps off a port until the instance listens: an abstract socket is seen
/// wherever the port is, and goes with this process.
fn reserve(port: u16) -> Option<UnixListener> {
    let name = UnixAddr::from_abstract_name(format!("agent-deploy/port/{port}")).ok()?;
    UnixListener::bind_addr(&name).ok()
}

/// The operator's environment, reduced to what programs of the app may see.
pub fn base_environment() -> BTreeMap<OsString, OsString> {
    INHERITED.into_iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_given_is_not_given_again_before_the_instance_listens() {
        let port = free_port().unwrap().port();
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
        assert!(reserve(port).is_none());
    }
}
