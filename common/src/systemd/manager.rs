//! The manager of units: the host's, or the user's own. Runs `systemctl` and `journalctl`; what a
//! unit is for is not known here.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::exec::{Finished, Program};
use crate::lock::{INHERITED, account_name};
use crate::report::Problem;

/// There while systemd is what the host was started with.
const BOOTED: &str = "/run/systemd/system";

/// The first that knows `ProtectProc`.
const OLDEST: u32 = 247;
/// Holds a file for each user whose manager starts at boot.
const LINGERING: &str = "/var/lib/systemd/linger";

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Manager {
    System,
    User,
}

/// What `systemctl show` says of one unit.
#[derive(Debug, Default, Clone)]
pub(crate) struct Properties(BTreeMap<String, String>);

impl Properties {
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or(0)
    }
}

impl Manager {
    /// Whether this manager runs here and obeys us.
    ///
    /// # Errors
    /// `systemd-unavailable`.
    pub(crate) fn check(self) -> Result<(), Problem> {
        let unavailable = |title: &str| Problem::new("systemd-unavailable", title);
        if !is_booted() {
            return Err(unavailable("systemd does not run here")
                .detail("this host was started with something else")
                .hint("ps -p 1 -o comm="));
        }
        match self {
            Self::System if !rustix::process::geteuid().is_root() => {
                Err(unavailable("only root may start the host's units")
                    .detail("supervisor = \"systemd-user\" needs no root")
                    .hint("sudo -v"))
            }
            Self::User if !runtime_dir().join("systemd/private").exists() => {
                Err(unavailable("no systemd manager runs for this user")
                    .detail("one starts with a login, or at boot for a user that lingers")
                    .hint("loginctl enable-linger"))
            }
            _ => Ok(()),
        }
    }

    /// Whether it answers, knows all that our units say, and a boot starts what is enabled: a user's
    /// manager comes with a login otherwise.
    ///
    /// # Errors
    /// `systemd-unavailable`, `not-lingering`.
    pub(crate) fn check_boot(self) -> Result<(), Problem> {
        self.check()?;
        let version = self.version();
        if version < OLDEST {
            let told = if version == 0 { "does not answer".to_owned() } else { format!("is {version}") };
            return Err(Problem::new("systemd-unavailable", format!("systemd {told}, {OLDEST} is needed"))
                .hint(format!("systemctl {} --version", self.option())));
        }
        let user = account_name(rustix::process::geteuid().as_raw());
        if self == Self::System || Path::new(LINGERING).join(&user).exists() {
            return Ok(());
        }
        Err(Problem::new("not-lingering", format!("a reboot does not start the units of '{user}'"))
            .detail("the manager of a user who does not linger starts with a login and ends with it")
            .hint("loginctl enable-linger"))
    }

    /// Where the administrator's units lie.
    pub(crate) fn unit_dir(self) -> PathBuf {
        match self {
            Self::System => PathBuf::from("/etc/systemd/system"),
            Self::User => {
                let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".config");
                let config = env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty());
                config.map_or_else(home, PathBuf::from).join("systemd/user")
            }
        }
    }

    /// The target that a boot, or a login, leads to.
    pub(crate) fn boot_target(self) -> &'static str {
        match self {
            Self::System => "multi-user.target",
            Self::User => "default.target",
        }
    }

    /// 0 when it does not say.
    fn version(self) -> u32 {
        let mut command = Command::new("systemctl");
        command.args([self.option(), "show", "--property", "Version", "--value"]);
        let text = output_of(command).unwrap_or_default();
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    }

    /// The option that names this manager to its programs.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::System => "--system",
            Self::User => "--user",
        }
    }

    /// Runs `systemctl ARGS…`.
    ///
    /// # Errors
    /// `interrupted`, or `command-failed` with what it printed.
    pub(crate) fn control(self, args: &[&str]) -> Result<Finished, Problem> {
        let program = Program::new("systemctl").args([self.option(), "--no-pager", "--no-ask-password"]);
        program.args(args).env("XDG_RUNTIME_DIR", runtime_dir()).succeed()
    }

    /// What the manager says of units, in the order of `units`. A unit that it cannot be asked
    /// about has no properties.
    pub(crate) fn show(self, units: &[&str], properties: &str) -> Vec<Properties> {
        let mut command = Command::new("systemctl");
        command.args([self.option(), "show", "--property", properties]).args(units);
        let text = output_of(command).unwrap_or_default();
        let mut blocks: Vec<Properties> = text
            .split("\n\n")
            .map(|block| {
                let pairs = block.lines().filter_map(|line| line.split_once('='));
                Properties(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
            })
            .collect();
        blocks.resize(units.len(), Properties::default());
        blocks
    }

    /// Reads the files of units again, when there is need to.
    ///
    /// # Errors
    /// `not-started`.
    pub(crate) fn reload(self) -> Result<(), Problem> {
        self.control(&["daemon-reload"]).map(drop).or_problem_kind("not-started")
    }

    /// The option by which `journalctl` finds all that concerns a unit.
    pub(crate) fn journal_option(self) -> &'static str {
        match self {
            Self::System => "-u",
            Self::User => "--user-unit",
        }
    }

    /// The field by which `journalctl` finds what a unit's own processes print.
    pub(crate) fn journal_field(self) -> &'static str {
        match self {
            Self::System => "_SYSTEMD_UNIT",
            Self::User => "_SYSTEMD_USER_UNIT",
        }
    }
}

/// Runs `journalctl ARGS…`; nothing where the journal may not be read.
pub(crate) fn journal(args: &[&str]) -> String {
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--no-pager"]).args(args);
    output_of(command).unwrap_or_default()
}

pub(crate) fn is_booted() -> bool {
    Path::new(BOOTED).is_dir()
}

/// Where the user's manager listens; not every way to become a user says so.
pub(crate) fn runtime_dir() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    env::var_os("XDG_RUNTIME_DIR").map_or_else(|| PathBuf::from(format!("/run/user/{uid}")), PathBuf::from)
}

fn output_of(mut command: Command) -> Option<String> {
    command.env_remove(INHERITED).env("XDG_RUNTIME_DIR", runtime_dir()).stdin(Stdio::null());
    let output = command.stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What went wrong with a program of systemd, under the name of what it was for.
pub(crate) trait OrKind<T> {
    fn or_problem_kind(self, kind: &str) -> Result<T, Problem>;
}

impl<T> OrKind<T> for Result<T, Problem> {
    fn or_problem_kind(self, kind: &str) -> Self {
        self.map_err(|problem| match problem.kind.as_str() {
            "interrupted" => problem,
            _ => Problem { kind: kind.to_owned(), ..problem },
        })
    }
}
