//! The command line of `migrate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Parser, Subcommand};
use common::cli::{Grammar, Shared};

use crate::down::Manner;
use crate::recorded::Choice;

/// Applies and undoes the schema changes of a release
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Args {
    /// Environment; without one, `up` and `down` continue the report on stdin
    pub(crate) environment: Option<String>,
    #[command(flatten)]
    pub(crate) up: UpOptions,
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

impl Grammar for Args {
    fn shared(&self) -> &Shared {
        &self.shared
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Apply everything pending, in one transaction (the default)
    Up(UpOptions),
    /// Undo applied migrations, newest first
    Down(DownOptions),
    /// Show what is applied and what is pending
    Status(Origin),
    /// Show what `up` would do, statement by statement, on a copy
    Plan(PlanOptions),
    /// Prove on a copy of the database that `up` works and can be undone
    Rehearse(RehearseOptions),
    /// Record pending migrations as applied without running them
    Baseline(BaselineOptions),
    /// Write the database's schema to `schema.sql`; `status` reports what differs from it
    Schema,
    /// Make the files of the next migration
    New(NewOptions),
    /// Make one migration of the first ones in the work tree
    Squash {
        /// The last one of them [default: the newest]
        #[arg(long, value_name = "V")]
        to: Option<i64>,
    },
}

impl Verb {
    /// How long a changing verb waits for the lock; `None` for verbs that change nothing.
    pub(crate) fn patience(&self) -> Option<Duration> {
        match self {
            Self::Up(options) => Some(options.patience.wait()),
            Self::Down(options) => Some(options.patience.wait()),
            Self::Baseline(options) => Some(options.patience.wait()),
            _ => None,
        }
    }

    /// The deployment that `up` works for.
    pub(crate) fn deployment(&self) -> Option<String> {
        match self {
            Self::Up(options) => options.deployment.clone(),
            _ => None,
        }
    }

    /// Whether deferred migrations are to run now.
    pub(crate) fn contract(&self) -> bool {
        match self {
            Self::Up(options) => options.contract,
            Self::Rehearse(options) => options.contract,
            Self::Plan(options) => options.contract,
            _ => false,
        }
    }

    /// The release that was named.
    pub(crate) fn release(&self) -> Option<&str> {
        match self {
            Self::Up(options) => options.origin.release.as_deref(),
            Self::Rehearse(options) => options.origin.release.as_deref(),
            Self::Baseline(options) => options.origin.release.as_deref(),
            Self::Plan(options) => options.origin.release.as_deref(),
            Self::Status(origin) => origin.release.as_deref(),
            Self::Down(_) | Self::New(_) | Self::Squash { .. } | Self::Schema => None,
        }
    }
}

/// Where the migrations come from.
#[derive(Debug, Clone, Group)]
pub(crate) struct Origin {
    /// Take the migrations of this release, or of a revision in a directory, by its absolute path
    /// [default: the serving one, then the work tree]
    #[arg(long, value_name = "ID")]
    release: Option<String>,
}

/// How long to wait for another changing command.
#[derive(Debug, Clone, Group)]
pub(crate) struct Patience {
    /// Seconds to wait for the environment's lock
    #[arg(long, value_name = "S", default_value_t = 60)]
    wait: u64,
}

impl Patience {
    fn wait(&self) -> Duration {
        Duration::from_secs(self.wait)
    }
}

#[derive(Debug, Clone, Group)]
pub(crate) struct UpOptions {
    #[command(flatten)]
    origin: Origin,
    /// One transaction for each migration: those before a failure stay
    #[arg(long)]
    pub(crate) each: bool,
    /// Also run migrations of `phase: after`, although an older release may still run
    #[arg(long)]
    contract: bool,
    /// Record the migrations with this deployment
    #[arg(long, value_name = "ID")]
    deployment: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

#[derive(Debug, Clone, Group)]
pub(crate) struct DownOptions {
    /// How many [default: 1]
    #[arg(long, value_name = "N", conflicts_with_all = ["to", "deployment"])]
    steps: Option<usize>,
    /// Undo everything newer than this version; 0 undoes everything
    #[arg(long, value_name = "V", value_parser = clap::value_parser!(i64).range(0..), conflicts_with = "deployment")]
    to: Option<i64>,
    /// Undo exactly what this deployment applied
    #[arg(long, value_name = "ID")]
    deployment: Option<String>,
    /// A backup from right before what is undone
    #[arg(long, value_name = "ID")]
    backup: Option<String>,
    /// Where `rehearse --back-to` has unpacked that backup
    #[arg(long, value_name = "DIR", requires = "backup")]
    prepared: Option<PathBuf>,
    /// Go back to that backup's schema and keep what was written since, whatever the down texts say
    #[arg(long, requires = "backup")]
    in_place: bool,
    /// Say which values the older schema has no room for
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    patience: Patience,
}

impl DownOptions {
    pub(crate) fn manner(&self) -> Manner<'_> {
        Manner {
            backup: self.backup.as_deref(),
            prepared: self.prepared.as_deref(),
            in_place: self.in_place,
            listed: self.list,
        }
    }

    pub(crate) fn choice(&self) -> Choice {
        match (self.to, &self.deployment) {
            (Some(version), _) => Choice::To(version),
            (None, Some(id)) => Choice::Deployment(id.clone()),
            (None, None) => Choice::Steps(self.steps.unwrap_or(1)),
        }
    }
}

#[derive(Debug, Clone, Group)]
pub(crate) struct PlanOptions {
    #[command(flatten)]
    origin: Origin,
    /// With the migrations of `phase: after`
    #[arg(long)]
    contract: bool,
}

#[derive(Debug, Clone, Group)]
pub(crate) struct NewOptions {
    /// What it does, such as `add_email`
    pub(crate) name: String,
    /// One file in Python, with `up(db)` and `down(db)`
    #[arg(long)]
    pub(crate) python: bool,
}

#[derive(Debug, Clone, Group)]
pub(crate) struct RehearseOptions {
    #[command(flatten)]
    origin: Origin,
    /// With the migrations of `phase: after`
    #[arg(long)]
    contract: bool,
    /// Keep the migrated copy at this path, which must not exist
    #[arg(long, value_name = "PATH")]
    pub(crate) keep_copy: Option<PathBuf>,
    /// Find the way back to this version instead, and try it on a copy
    #[arg(long, value_name = "V", value_parser = clap::value_parser!(i64).range(0..), conflicts_with_all = ["keep_copy", "contract", "release"])]
    pub(crate) back_to: Option<i64>,
    /// A backup from right before what is to be undone
    #[arg(long, value_name = "ID", requires = "back_to")]
    pub(crate) backup: Option<String>,
    /// Unpack that backup in this directory, for the way back itself
    #[arg(long, value_name = "DIR", requires = "backup")]
    pub(crate) prepared: Option<PathBuf>,
}

#[derive(Debug, Clone, Group)]
pub(crate) struct BaselineOptions {
    #[command(flatten)]
    origin: Origin,
    /// Only up to this version [default: all]
    #[arg(long, value_name = "V")]
    pub(crate) to: Option<i64>,
    /// The database is a copy from another environment and belongs to this one now
    #[arg(long)]
    pub(crate) take_over: bool,
    #[command(flatten)]
    patience: Patience,
}
