//! The `nginx` table of an environment: which nginx takes its traffic, and how traffic is switched
//! there.

use std::path::PathBuf;

use serde::Deserialize;

use super::value::Listen;

/// How traffic moves from one instance to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// Our file names the instance's address, and nginx loads it.
    #[default]
    Reload,
    /// nginx knows one unix socket for good: a symlink to that of the instance.
    Symlink,
}

/// An nginx that the operator runs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nginx {
    /// Starts nginx with its configuration; `-t`, `-T` and `-s reload` are appended. Default `nginx`.
    #[serde(default = "default_command")]
    pub command: String,
    #[serde(default)]
    pub switch: Switch,
    /// A directory that nginx's workers may enter: the sockets, and a mark while answers are counted.
    #[serde(default)]
    pub sockets: Option<PathBuf>,
    /// Where `/_deploy/` leads.
    #[serde(default)]
    pub status: Option<Listen>,
}

impl Default for Nginx {
    fn default() -> Self {
        Self { command: default_command(), switch: Switch::Reload, sockets: None, status: None }
    }
}

fn default_command() -> String {
    String::from("nginx")
}
