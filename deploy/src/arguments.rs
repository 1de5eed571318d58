//! The command line of `deploy`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use common::cli::{Grammar, Shared};
use common::config::Span;

use crate::hooks::Hook;

/// Make a revision serve, or leave everything as it was
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true, after_help = "Example: deploy prod | verify | rollback")]
pub(crate) struct Arguments {
    /// The environment to deploy to
    #[arg(value_name = "ENV")]
    pub(crate) environment: Option<String>,
    #[command(flatten)]
    pub(crate) options: DeployOptions,
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

impl Grammar for Arguments {
    fn shared(&self) -> &Shared {
        &self.shared
    }
}

#[derive(Debug, Args)]
pub(crate) struct DeployOptions {
    /// Branch to deploy [default: the checked-out one, else the environment's first]
    #[arg(long, value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
    /// Commit or tag to deploy, out of the branch's history
    #[arg(long, value_name = "REVISION", conflicts_with = "promote")]
    pub(crate) revision: Option<String>,
    /// Deploy the branch as the remote has it, whatever is checked out here
    #[arg(long, conflicts_with_all = ["revision", "promote"])]
    pub(crate) pushed: bool,
    /// First bring the environment's branch up to the one it is promoted from
    #[arg(long)]
    pub(crate) promote: bool,
    /// Change nothing; say what would happen
    #[arg(long)]
    pub(crate) plan: bool,
    /// Keep requests waiting while the serving release ends, for a change that cannot overlap
    #[arg(long)]
    pub(crate) hold: bool,
    /// Prove identity and health only; the release is no rollback target until `verify` passed
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// At the end, also run the migrations of `phase: after`; the release before stops for good
    #[arg(long, conflicts_with_all = ["confirm", "no_verify"])]
    pub(crate) contract: bool,
    /// Deploy even if the revision serves and is verified already
    #[arg(long)]
    pub(crate) again: bool,
    /// Undo it unless somebody runs `deploy ENV confirm` within this time
    #[arg(long, value_name = "TIME", value_parser = parse_span, conflicts_with = "plan")]
    pub(crate) confirm: Option<Duration>,
    /// Take the evidence from a report of `verify --sign`: a file, or `-` for stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) evidence: Option<PathBuf>,
    /// Deploy a tree without evidence; `status` shows it as long as the release serves
    #[arg(long, requires = "reason", conflicts_with = "evidence")]
    pub(crate) force_unverified: bool,
    /// Why --force-unverified
    #[arg(long, value_name = "TEXT", requires = "force_unverified", value_parser = parse_reason)]
    pub(crate) reason: Option<String>,
    /// How many seconds to wait for another command to end
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

impl DeployOptions {
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs(self.wait)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write deploy.toml and verify.toml for the project at hand
    Init(InitOptions),
    /// Check that this host can deploy
    Doctor,
    /// Confirm the deployment that waits for it
    Confirm(ConfirmOptions),
    /// Git hooks that enforce the workflow and deploy what is pushed
    #[command(subcommand)]
    Hooks(HooksVerb),
}

#[derive(Debug, Subcommand)]
pub(crate) enum HooksVerb {
    /// Write the hooks; those that are there are kept and run first
    Install(HooksOptions),
    /// Take the hooks away and put back what was there
    Remove(HooksOptions),
    /// Say which hooks are installed
    Status(HooksOptions),
    /// What an installed hook calls
    #[command(hide = true)]
    Run(HookOptions),
}

#[derive(Debug, Args)]
pub(crate) struct HooksOptions {
    /// The repository: a bare one gets pre-receive and post-receive, a work tree pre-push
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) repository: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct HookOptions {
    #[arg(value_enum)]
    pub(crate) hook: Hook,
    /// What git gave the hook
    #[arg(last = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfirmOptions {
    /// Undo this deployment, when its own run has died, as soon as its time is up
    #[arg(long, value_name = "DEPLOYMENT", hide = true)]
    pub(crate) guard: Option<String>,
}

fn parse_span(text: &str) -> Result<Duration, String> {
    Span::parse(text)
        .map(|span| span.0)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| String::from("expected a length of time such as 60s or 5m"))
}

#[derive(Debug, Args)]
pub(crate) struct InitOptions {
    /// Directory of the project
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Name of the app [default: the directory's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Write what nginx has to include to serve this environment, and nothing else
    #[arg(long, value_name = "ENV", conflicts_with_all = ["dir", "name"])]
    pub(crate) nginx: Option<String>,
}

/// One line that says something, and fits into a status.
fn parse_reason(text: &str) -> Result<String, String> {
    let reason = text.trim();
    if reason.is_empty() {
        return Err("a reason is needed".into());
    }
    if reason.chars().count() > 500 || reason.contains(char::is_control) {
        return Err("a reason is one line of at most 500 characters".into());
    }
    Ok(reason.into())
}
