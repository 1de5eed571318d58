//! The command line of `rollback`.

use std::time::Duration;

use clap::Parser;
use common::cli::{Grammar, Shared};
use common::report::Problem;

/// Undo a failed deployment, or go back to an earlier verified one
#[derive(Debug, Parser)]
#[command(after_help = "Examples: deploy prod | verify | rollback\n          rollback prod --last")]
pub(crate) struct Arguments {
    /// The environment to roll back; without it, a report is read from stdin
    #[arg(value_name = "ENV")]
    pub(crate) environment: Option<String>,
    /// Go to the newest verified deployment older than what serves (the default)
    #[arg(long, conflicts_with_all = ["to_commit", "to_version"])]
    pub(crate) last: bool,
    /// Go to a commit that was verified here
    #[arg(long, value_name = "COMMIT", conflicts_with = "to_version")]
    pub(crate) to_commit: Option<String>,
    /// Go to a tagged version that was verified here
    #[arg(long, value_name = "TAG")]
    pub(crate) to_version: Option<String>,
    /// Change nothing; say where it would go, and how
    #[arg(long)]
    pub(crate) plan: bool,
    /// Where the schema has to go back, restore the backup from before it: what was written since
    /// then is lost, but for the protected snapshot
    #[arg(long)]
    pub(crate) discard_writes: bool,
    /// How many seconds to wait for another command to end
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    #[command(flatten)]
    pub(crate) shared: Shared,
}

impl Grammar for Arguments {
    fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Arguments {
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs(self.wait)
    }

    /// A report says itself what is to be undone.
    pub(crate) fn refuse_wishes(&self) -> Result<(), Problem> {
        let wishes = self.last || self.to_commit.is_some() || self.to_version.is_some();
        if wishes || self.plan || self.discard_writes {
            let named = "--last, --to-commit, --to-version, --plan and --discard-writes need an environment";
            return Err(Problem::usage(named).hint("rollback prod --last"));
        }
        Ok(())
    }
}
