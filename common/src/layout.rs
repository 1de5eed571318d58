//! Where everything lies below the state directory. Paths only; creating the roots is here too,
//! since every directory of ours is born 0700.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Config, Environment};
use crate::ownership::{self, Use};
use crate::report::{OrProblem, Problem, quoted};

/// One of the two places an instance runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    Blue,
    Green,
}

impl Slot {
    pub const BOTH: [Self; 2] = [Self::Blue, Self::Green];

    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    /// The slot of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|slot| slot.name() == name)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a verification saw, in its directory below [`Place::verifications`].
pub const STRUCTURE: &str = "structure.json";
/// Ends the name of that directory when the verification failed.
pub const FAILED: &str = ".failed";

/// The name of the directory in which the verification of a deployment left what passed, or failed.
pub fn verification_name(deployment: &str, passed: bool) -> String {
    format!("{deployment}{}", if passed { "" } else { FAILED })
}

/// Beside the screenshot in `file`, the file of the same with what differs marked.
pub fn marked_picture(file: &str) -> String {
    format!("{}-difference.png", file.trim_end_matches(".png"))
}

/// Among the directories of environments.
const STATUS_SERVER: &str = "status";

/// The directories of one environment.
#[derive(Debug, Clone)]
pub struct Place {
    app: String,
    state: PathBuf,
    environment: String,
}

impl Place {
    pub fn new(config: &Config, environment: &str) -> Self {
        let (app, environment) = (config.app.name.clone(), environment.to_owned());
        Self { app, state: config.state_dir(), environment }
    }

    /// The app's name.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The state directory of all environments.
    pub fn state(&self) -> &Path {
        &self.state
    }

    #[cfg(test)]
    pub(crate) fn below(state: &Path, environment: &str) -> Self {
        Self { state: state.to_owned(), app: "app".to_owned(), environment: environment.to_owned() }
    }

    /// Where the status server has its socket and its keeper; no environment may have that name.
    pub fn of_status_server(config: &Config) -> Self {
        Self::new(config, STATUS_SERVER)
    }

    /// The same, as the directories of an environment know it.
    pub fn status_server(&self) -> PathBuf {
        self.state.join(STATUS_SERVER)
    }

    pub fn environment(&self) -> &str {
        &self.environment
    }

    pub fn root(&self) -> PathBuf {
        self.state.join(&self.environment)
    }

    pub fn lock(&self) -> PathBuf {
        self.root().join("lock")
    }

    pub fn releases(&self) -> PathBuf {
        self.root().join("releases")
    }

    pub fn release(&self, id: &str) -> PathBuf {
        self.releases().join(id)
    }

    pub fn shared(&self) -> PathBuf {
        self.root().join("shared")
    }

    pub fn slot(&self, slot: Slot) -> PathBuf {
        self.root().join("slots").join(slot.name())
    }

    pub fn gateway(&self) -> PathBuf {
        self.root().join("gateway")
    }

    pub fn backups(&self) -> PathBuf {
        self.state.join("backups").join(&self.environment)
    }

    /// What verifications leave beside the ledger.
    pub fn verifications(&self) -> PathBuf {
        self.root().join("verifications")
    }

    /// The environment's database file, when it has one.
    pub fn database(&self, environment: &Environment) -> Option<PathBuf> {
        let path = environment.database.as_deref()?.strip_prefix("sqlite:")?;
        Some(self.shared().join(path))
    }

    /// Makes the environment's directories, 0700, the state directory ignoring itself in git.
    ///
    /// # Errors
    /// `state-unwritable`, `state-untrusted`.
    pub fn create(&self) -> Result<(), Problem> {
        ownership::check(&self.state, Use::Writing)?;
        ownership::check(&self.root(), Use::Writing)?;
        for dir in [self.releases(), self.shared(), self.backups(), self.gateway()] {
            create_private_dir(&dir)?;
        }
        for slot in Slot::BOTH {
            create_private_dir(&self.slot(slot))?;
        }
        let ignore = self.state.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").or_problem("state-unwritable", || unwritable(&ignore))?;
        }
        Ok(())
    }
}

/// Whether joining this name to a directory leads to something right below it.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

/// Names of the environments that have directories here, whether or not they are still configured.
pub fn environments_on_disk(config: &Config) -> Vec<String> {
    let entries = fs::read_dir(config.state_dir()).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<String> = names.filter(|name| Place::new(config, name).releases().is_dir()).collect();
    found.sort();
    found
}

/// Makes a directory and its parents, readable for the owner only.
///
/// # Errors
/// `state-unwritable`.
pub fn create_private_dir(dir: &Path) -> Result<(), Problem> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .or_problem("state-unwritable", || unwritable(dir))
        .map_err(|problem| problem.hint(format!("ls -ld {}", quoted(nearest_existing(dir).display()))))
}

fn unwritable(path: &Path) -> String {
    format!("the state directory cannot be written: {}", path.display())
}

fn nearest_existing(path: &Path) -> &Path {
    path.ancestors().find(|dir| dir.exists()).unwrap_or(path)
}
