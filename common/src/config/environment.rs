//! One `[environments.NAME]` table: a place the app runs.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::nginx::Nginx;
use super::receiver::Receiver;
use super::systemd::SystemdOptions;
use super::value::{Listen, Span};

/// How a new release takes over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Old and new overlap; no request is lost.
    #[default]
    BlueGreen,
    /// Stop, then start, for apps that own one fixed port; short downtime.
    Restart,
}

/// What keeps an instance alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SupervisorKind {
    #[default]
    Process,
    Systemd,
    SystemdUser,
}

/// What takes traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayKind {
    #[default]
    Builtin,
    Nginx,
}

/// How a promotion joins the branches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Merge {
    #[default]
    FfOnly,
    Merge,
}

/// What the configuration says of one environment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Branch patterns that may be deployed here; the first is the default.
    pub branches: Vec<String>,
    /// Only a tree verified in that environment may come here.
    #[serde(default)]
    pub promote_from: Option<String>,
    /// The public side of the gateway.
    pub listen: Listen,
    /// `sqlite:PATH`; a relative path lies in this environment's shared directory.
    #[serde(default)]
    pub database: Option<String>,
    #[serde(default)]
    pub supervisor: SupervisorKind,
    /// As whom instances run under systemd, and what they may not do.
    #[serde(default)]
    pub systemd: Option<SystemdOptions>,
    #[serde(default)]
    pub gateway: GatewayKind,
    /// Which nginx, and how traffic is switched there.
    #[serde(default)]
    pub nginx: Option<Nginx>,
    /// Secrets, `NAME=value` a line; relative to deploy.toml.
    #[serde(default)]
    pub env_file: Option<PathBuf>,
    /// A command that prints the env file.
    #[serde(default)]
    pub env_command: Option<String>,
    #[serde(default)]
    pub backups: Backups,
    /// Whom to tell, [`Receiver`]s: `https://…`, `mailto:…`, `command …`.
    #[serde(default)]
    pub notify: Vec<String>,
    #[serde(default)]
    pub strategy: Strategy,
    /// The one address behind the gateway that the app can listen on; needs `strategy = "restart"`.
    #[serde(default)]
    pub bind: Option<Listen>,
    /// How long requests of the old release may finish. Default 30 s.
    #[serde(default = "default_drain")]
    pub drain: Span,
    /// How long a new instance may take until it is ready. Default 30 s.
    #[serde(default = "default_ready_timeout")]
    pub ready_timeout: Span,
    /// How long the gateway may hold requests. Default 10 s.
    #[serde(default = "default_hold_limit")]
    pub hold_limit: Span,
    /// Whether the previous instance keeps running after a deployment. Default true.
    #[serde(default = "default_keep_warm")]
    pub keep_warm: bool,
    /// How long the new instance is watched after cutover, before it is verified. Default 0 s.
    #[serde(default)]
    pub watch: Span,
    /// Whether an error that no release before had sends the new one back meanwhile.
    #[serde(default)]
    pub watch_errors: bool,
    #[serde(default)]
    pub merge: Merge,
    #[serde(default)]
    pub evidence: Evidence,
    #[serde(default)]
    pub deadlines: Deadlines,
}

/// Backup retention and extras.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backups {
    /// Default 10 where `promote_from` is set, else 5.
    #[serde(default)]
    pub keep: Option<u32>,
    /// Further files, relative to the shared directory.
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// A second place: a directory, or `command …`.
    #[serde(default)]
    pub second: Option<String>,
    /// How many stay in a second directory. Default as `keep`.
    #[serde(default)]
    pub second_keep: Option<u32>,
}

/// Where copies of backups go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second<'a> {
    /// Relative to deploy.toml.
    Directory(&'a Path),
    /// Gets the directory of a backup in `$BACKUP_DIRECTORY`.
    Command(&'a str),
}

impl Backups {
    /// The second place, when there is one.
    pub fn second(&self) -> Option<Second<'_>> {
        let text = self.second.as_deref()?;
        Some(match text.strip_prefix("command ") {
            Some(line) => Second::Command(line.trim()),
            None => Second::Directory(Path::new(text)),
        })
    }
}

/// What counts as evidence for a promotion.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Who may sign evidence from another host, as ssh's ALLOWED SIGNERS; relative to deploy.toml.
    #[serde(default)]
    pub allowed_signers: Option<PathBuf>,
    /// Default 7 days.
    #[serde(default = "default_max_age")]
    pub max_age: Span,
}

/// Limits on whole phases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadlines {
    /// Default 120 s.
    #[serde(default = "default_verify_deadline")]
    pub verify: Span,
    /// Default 300 s.
    #[serde(default = "default_rollback_deadline")]
    pub rollback: Span,
}

impl Default for Evidence {
    fn default() -> Self {
        Self { allowed_signers: None, max_age: default_max_age() }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { verify: default_verify_deadline(), rollback: default_rollback_deadline() }
    }
}

impl Environment {
    /// Whom to tell, as it is written and as it is read.
    pub fn receivers(&self) -> impl Iterator<Item = (&str, Receiver<'_>)> {
        self.notify.iter().filter_map(|written| Some((written.as_str(), Receiver::read(written).ok()?)))
    }

    /// How many backups are kept.
    pub fn kept_backups(&self) -> u32 {
        self.backups.keep.unwrap_or(if self.promote_from.is_some() { 10 } else { 5 })
    }

    /// How many backups are kept in a second directory.
    pub fn kept_in_second(&self) -> u32 {
        self.backups.second_keep.unwrap_or_else(|| self.kept_backups())
    }

    /// Whether `branch` may be deployed here.
    pub fn accepts_branch(&self, branch: &str) -> bool {
        self.branches.iter().any(|pattern| matches_pattern(pattern, branch))
    }

    /// The branch taken when none is named: the first one that is not a pattern.
    pub fn default_branch(&self) -> Option<&str> {
        self.branches.iter().map(String::as_str).find(|branch| !branch.contains('*'))
    }
}

/// `*` stands for any text, slashes too.
fn matches_pattern(pattern: &str, branch: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == branch;
    };
    let Some(tail) = branch.strip_prefix(start) else {
        return false;
    };
    (0..=tail.len()).filter(|&at| tail.is_char_boundary(at)).any(|at| matches_pattern(rest, &tail[at..]))
}

fn default_drain() -> Span {
    Span::seconds(30)
}

fn default_ready_timeout() -> Span {
    Span::seconds(30)
}

fn default_hold_limit() -> Span {
    Span::seconds(10)
}

fn default_keep_warm() -> bool {
    true
}

fn default_max_age() -> Span {
    Span::seconds(7 * 24 * 3600)
}

fn default_verify_deadline() -> Span {
    Span::seconds(120)
}

fn default_rollback_deadline() -> Span {
    Span::seconds(300)
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn patterns_match_whole_branch_names() {
        assert!(matches_pattern("main", "main"));
        assert!(!matches_pattern("main", "main2"));
        assert!(matches_pattern("feature/*", "feature/a/b"));
        assert!(!matches_pattern("feature/*", "features/a"));
        assert!(matches_pattern("*-ok-*", "a-ok-b"));
    }
}
