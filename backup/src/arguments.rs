//! The command line of `backup`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Options, Parser, Subcommand};
use common::cli::{Grammar, Shared};

/// The reason of a backup that nobody waits for with a deployment.
pub(crate) const MANUAL: &str = "manual";

/// Take, check, list and restore snapshots of an environment's database.
///
/// Without an environment, `backup create` continues the report on stdin.
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Args {
    /// Environment of deploy.toml
    #[arg(value_name = "ENV")]
    pub(crate) environment: Option<String>,
    #[command(flatten)]
    pub(crate) create: CreateOptions,
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Take a snapshot and prove it (the default)
    Create(CreateOptions),
    /// Show all backups, newest first
    List,
    /// Put the content of a backup back into the database
    Restore {
        /// A backup's id, as `list` shows it
        #[arg(value_name = "ID")]
        id: String,
        /// Accept that everything written since the backup is lost
        #[arg(long)]
        discard_writes: bool,
        /// Of a damaged database, keep every row that can still be read; nobody may have it open
        #[arg(long, conflicts_with = "discard_writes")]
        salvage: bool,
        /// The rollback it is done for
        #[arg(long, value_name = "ID", requires = "salvage")]
        deployment: Option<String>,
        /// Take the copy in the second place, also when there is one here
        #[arg(long)]
        second: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Check a backup by restoring it in a scratch place
    Verify {
        /// A backup's id, as `list` shows it
        #[arg(value_name = "ID")]
        id: String,
        /// Check the copy in the second place, also when there is one here
        #[arg(long)]
        second: bool,
    },
    /// Write a backup's database into a new file
    Extract {
        /// A backup's id, as `list` shows it
        #[arg(value_name = "ID")]
        id: String,
        /// Where to; nothing may be there
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Remove the backups that are no longer kept
    Prune {
        /// Say what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Write database.sql for the backups that lack it
    Export {
        #[command(flatten)]
        wait: Wait,
    },
    /// Bring the backups to the second place that are not there yet
    Send {
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, Options)]
pub(crate) struct CreateOptions {
    /// Why it is taken
    #[arg(long, value_name = "WORD", default_value = MANUAL, value_parser = ["deploy", "pre-rollback", MANUAL])]
    pub(crate) reason: String,
    /// Never prune it
    #[arg(long)]
    pub(crate) protect: bool,
    /// The deployment it is taken for
    #[arg(long, value_name = "ID")]
    pub(crate) deployment: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Clone, Copy, Options)]
pub(crate) struct Wait {
    /// Wait that long for another command on the same environment
    #[arg(long = "wait", value_name = "SECONDS", default_value_t = 0)]
    seconds: u64,
}

impl Wait {
    pub(crate) fn limit(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

impl Verb {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::List => "list",
            Self::Restore { .. } => "restore",
            Self::Verify { .. } => "verify",
            Self::Extract { .. } => "extract",
            Self::Prune { .. } => "prune",
            Self::Export { .. } => "export",
            Self::Send { .. } => "send",
        }
    }
}

impl Grammar for Args {
    fn shared(&self) -> &Shared {
        &self.shared
    }
}
