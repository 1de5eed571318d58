//! `deploy.toml`: where and how an app is deployed. One frozen value, validated once.
//!
//! Owns the types, their defaults and their meaning; finding and reading the file is in `load`,
//! what the keys must satisfy in `validate`. Never reads a secret.

mod environment;
mod load;
mod nearest;
mod nginx;
mod receiver;
mod status;
mod systemd;
mod validate;
mod value;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

pub use environment::{
    Backups, Deadlines, Environment, Evidence, GatewayKind, Merge, Second, Strategy, SupervisorKind,
};
pub use load::load;
pub use nearest::{nearest, nearest_first};
pub use nginx::{Nginx, Switch};
pub use receiver::{Receiver, is_mail_address, is_webhook};
pub use status::{ENDPOINTS, StatusServer};
pub(crate) use systemd::can_name;
pub use systemd::{ServiceType, SystemdOptions};
pub use value::{Listen, Span};

use crate::report::Problem;

/// The whole configuration, as written in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub app: App,
    pub environments: BTreeMap<String, Environment>,
    /// Where state lives; relative to the file. Default `.deploy`.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// Where each run writes its log file. Default `/tmp`.
    #[serde(default = "default_log_dir")]
    pub log_dir: PathBuf,
    /// One JSON line per event. Default `deployments.log` in `state`.
    #[serde(default)]
    pub event_log: Option<PathBuf>,
    #[serde(default)]
    pub status: Option<StatusServer>,
    /// The file all this was read from.
    #[serde(skip)]
    pub file: PathBuf,
}

/// The app: what is deployed, the same in every environment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    pub name: String,
    /// Starts the app; run by `sh -c` in the release directory, with `$BIND` and `$PORT` set.
    pub run: String,
    /// Builds a release, in its directory, before anything is live.
    #[serde(default)]
    pub build: Option<String>,
    /// The app's own tests: a gate.
    #[serde(default)]
    pub test: Option<String>,
    /// Background jobs: one more process, for the serving release only.
    #[serde(default)]
    pub jobs: Option<String>,
    /// Paths that survive releases.
    #[serde(default)]
    pub shared: Vec<PathBuf>,
    /// Path asked for readiness and health. Default `/`.
    #[serde(default = "default_health")]
    pub health: String,
    /// `tcp:HOST:PORT` or `command:PROGRAM ARG…`, checked before anything starts.
    #[serde(default)]
    pub requires: Vec<String>,
    #[serde(default)]
    pub coverage: Option<Coverage>,
    /// Accepts an app that changes its schema when it starts.
    #[serde(default)]
    pub schema_at_start: bool,
}

/// A coverage threshold for the test gate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// A Cobertura file that the test command writes.
    pub file: PathBuf,
    /// Percent of lines, 0 to 100.
    pub minimum: f64,
}

/// `path` as seen from `base`, without `.` and `..`.
fn resolve(base: &Path, path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in base.join(path).components() {
        match part {
            Component::ParentDir => drop(resolved.pop()),
            Component::CurDir => {}
            other => resolved.push(other),
        }
    }
    resolved
}

fn default_state() -> PathBuf {
    PathBuf::from(".deploy")
}

fn default_log_dir() -> PathBuf {
    PathBuf::from("/tmp")
}

fn default_health() -> String {
    String::from("/")
}

impl Config {
    /// The directory of the file: the operator's checkout of the app.
    pub fn root(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// The state directory, absolute.
    pub fn state_dir(&self) -> PathBuf {
        resolve(self.root(), &self.state)
    }

    /// The directory of the runs' log files, absolute.
    pub fn log_directory(&self) -> PathBuf {
        resolve(self.root(), &self.log_dir)
    }

    /// The event log, absolute.
    pub fn event_log_file(&self) -> PathBuf {
        match &self.event_log {
            Some(path) => resolve(self.root(), path),
            None => self.state_dir().join("deployments.log"),
        }
    }

    /// `path` of the configuration, absolute.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        resolve(self.root(), path)
    }

    /// The file of those who may sign evidence for `environment`, absolute.
    pub fn allowed_signers(&self, environment: &Environment) -> Option<PathBuf> {
        environment.evidence.allowed_signers.as_ref().map(|path| resolve(self.root(), path))
    }

    /// The named environment.
    ///
    /// # Errors
    /// Usage (exit 2): lists the environments and the nearest word.
    pub fn environment(&self, name: &str) -> Result<&Environment, Problem> {
        self.environments.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.environments.keys().map(String::as_str).collect();
            let guess = nearest(name, known.iter().copied()).or(known.first().copied());
            Problem::usage(format!("unknown environment '{name}'"))
                .detail(format!("{} has {}", self.file.display(), known.join(", ")))
                .hint(format!("status {}", guess.unwrap_or("all")))
        })
    }
}
