//! The file that nginx includes in its `http` block: where the requests of one environment go. It
//! is ours alone. Its head has a hash, so that a foreign edit is noticed; its body tells nginx what
//! to answer when it is asked what it has loaded.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::Target;
use super::sockets::SOCKET;
use crate::address::Address;
use crate::hex;
use crate::layout::{Place, Slot};
use crate::report::{Problem, quoted};

/// What the hashed part is announced by.
const HASH: &str = "# sha256 of all below: ";
const FACTS: &str = "# facts: ";
/// App servers close a connection that nobody uses after 2 s and more; a request must not be on its
/// way then.
const POOL: &str = "keepalive 32;\n    keepalive_timeout 1s;";

/// What the file says, and what nginx says that it has loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// Ends the names of everything that the file defines.
    pub(super) name: String,
    pub(super) environment: String,
    /// Where requests go; nothing in the symlink way, where the symlink says it.
    pub(super) active: Option<Target>,
    /// Where they would go if the gateway were not closed for maintenance.
    pub(super) held: Option<Target>,
    /// Set in the symlink way.
    pub(super) sockets: Option<PathBuf>,
    pub(super) status: Option<SocketAddr>,
}

/// What nginx answers when it is asked.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Loaded {
    pub(super) version: String,
    /// The process that answered.
    pub(super) worker: u32,
    /// Hash of the file that was loaded.
    pub(super) hash: String,
    #[serde(flatten)]
    pub(super) facts: Facts,
}

/// Where the file of an environment lies.
pub(super) fn path(place: &Place) -> PathBuf {
    place.gateway().join("nginx.conf")
}

/// Names in nginx's configuration are shared by everything that it serves.
pub(super) fn name(place: &Place) -> String {
    let root = place.root();
    let hash = hex(&Sha256::digest(root.to_string_lossy().as_bytes()));
    format!("deploy-{}-{}", place.environment(), &hash[..8])
}

/// The same as the beginning of a variable's name.
pub(super) fn variable(name: &str) -> String {
    name.replace('-', "_")
}

/// What the file on disk says, wherever it came from; nothing when there is none of ours.
pub(super) fn read(place: &Place) -> Option<Facts> {
    let text = fs::read_to_string(path(place)).ok()?;
    text.lines().find_map(|line| serde_json::from_str(line.strip_prefix(FACTS)?).ok())
}

/// Refuses a file that is not as we left it.
///
/// # Errors
/// `nginx-not-included` when there is none, `nginx-edited`.
pub(super) fn check(place: &Place) -> Result<(), Problem> {
    let path = path(place);
    let init = format!("deploy init --nginx {}", place.environment());
    let Ok(text) = fs::read_to_string(&path) else {
        return Err(Problem::new("nginx-not-included", "nginx has not been told of this environment yet")
            .detail(format!("there is no {}", path.display()))
            .hint(init));
    };
    let sound = text.split_once(HASH).and_then(|(_, rest)| rest.split_once('\n'));
    if sound.is_some_and(|(hash, below)| hash == hex(&Sha256::digest(below.as_bytes()))) {
        return Ok(());
    }
    Err(Problem::new("nginx-edited", format!("somebody edited {}", path.display()))
        .detail("the tools write this file whole; what was added belongs beside the server block")
        .hint(format!("mv {0} {0}.edited && {init}", quoted(path.display()))))
}

impl Facts {
    /// The file's whole text.
    pub(super) fn render(&self) -> String {
        let facts = serde_json::to_string(self).unwrap_or_default();
        let plain = format!("{FACTS}{facts}\n{}", self.directives());
        // Of what nginx will answer, the answer itself cannot be part.
        let inner = hex(&Sha256::digest(plain.as_bytes()));
        let below = format!("{plain}{}", self.answer(&facts, &inner[..16]));
        let hash = hex(&Sha256::digest(below.as_bytes()));
        format!(
            "# Written by the deployment tools for '{}': every deployment writes this file anew.\n\
             # Do not edit it; the server block that includes it is yours.\n\
             {HASH}{hash}\n{below}",
            self.environment
        )
    }

    /// What tells one content of the file from another, as nginx answers it.
    pub(super) fn hash(&self) -> String {
        let facts = serde_json::to_string(self).unwrap_or_default();
        let plain = format!("{FACTS}{facts}\n{}", self.directives());
        hex(&Sha256::digest(plain.as_bytes()))[..16].to_owned()
    }

    fn directives(&self) -> String {
        let (name, variable) = (&self.name, variable(&self.name));
        let closed = if self.sockets.is_none() && self.active.is_none() { "1" } else { "" };
        let slots = if self.sockets.is_some() { "1" } else { "" };
        let status = self.status.map(|address| address.to_string()).unwrap_or_default();
        format!(
            "{}\nmap $http_upgrade ${variable}_connection {{ default upgrade; \"\" \"\"; }}\n\
             map \"\" ${variable}_closed {{ default \"{closed}\"; }}\n\
             map \"\" ${variable}_slots {{ default \"{slots}\"; }}\n\
             map \"\" ${variable}_status {{ default \"{status}\"; }}\n\
             log_format {name} '$status';\n",
            self.upstreams()
        )
    }

    fn upstreams(&self) -> String {
        let name = &self.name;
        let slot = |slot: Slot, server: String| {
            format!("upstream {name}-{slot} {{\n    server {server} max_fails=0;\n}}\n")
        };
        match (&self.sockets, &self.active) {
            (Some(sockets), _) => {
                let server = |file: &str| format!("unix:{}", sockets.join(file).display());
                let current = server("current.sock");
                // Named twice, since nginx asks a second server when the first refuses.
                let pair = format!("    server {current} max_fails=0;\n").repeat(2);
                let both = Slot::BOTH.map(|of| slot(of, server(&format!("{of}/{SOCKET}")))).concat();
                format!("upstream {name} {{\n{pair}}}\n{both}")
            }
            (None, active) => {
                let server = match active.as_ref().map(|target| &target.address) {
                    Some(Address::Unix(path)) => format!("unix:{}", path.display()),
                    Some(Address::Tcp(address)) => address.to_string(),
                    None => "127.0.0.1:9".to_owned(),
                };
                let both = Slot::BOTH.map(|of| slot(of, server.clone())).concat();
                format!("upstream {name} {{\n    server {server};\n    {POOL}\n}}\n{both}")
            }
        }
    }

    /// Only who asks from this host learns it: it connects to an address from that same address.
    fn answer(&self, facts: &str, hash: &str) -> String {
        let rest = facts.strip_prefix('{').unwrap_or_default();
        format!(
            "map \"$remote_addr $server_addr\" ${}_gateway {{\n    \
             \"~^(\\S+) \\1$\" '{{\"version\":\"$nginx_version\",\"worker\":$pid,\"hash\":\"{hash}\",{rest}';\n    \
             default \"\";\n}}\n",
            variable(&self.name)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;

    fn facts(sockets: Option<&str>) -> Facts {
        let active = Target {
            slot: Slot::Blue,
            address: "127.0.0.1:20001".parse().unwrap(),
            deployment: "20260101T000000Z-abc".into(),
        };
        Facts {
            name: "deploy-dev-1".into(),
            environment: "dev".into(),
            active: Some(active).filter(|_| sockets.is_none()),
            held: None,
            sockets: sockets.map(PathBuf::from),
            status: None,
        }
    }

    #[test]
    fn what_is_written_is_read_and_an_edit_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::below(dir.path(), "dev");
        fs::create_dir_all(place.gateway()).unwrap();
        assert_eq!(check(&place).unwrap_err().kind, "nginx-not-included");
        for facts in [facts(None), facts(Some("/run/x"))] {
            durable::write(&path(&place), facts.render().as_bytes()).unwrap();
            check(&place).unwrap();
            assert_eq!(read(&place), Some(facts.clone()));
            fs::write(path(&place), facts.render().replace("$status", "$status $request")).unwrap();
            assert_eq!(check(&place).unwrap_err().kind, "nginx-edited");
        }
    }

    #[test]
    fn each_target_has_a_hash_of_its_own() {
        let (one, mut other) = (facts(None), facts(None));
        other.active.as_mut().unwrap().address = "127.0.0.1:20002".parse().unwrap();
        assert_ne!(one.hash(), other.hash());
        assert!(one.render().contains(&format!("\"hash\":\"{}\"", one.hash())));
    }
}
