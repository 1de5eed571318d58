//! The command line of every tool: shared options, the grammar `TOOL [ENV] [VERB] [OPTIONS]`,
//! the run that ends in one report, and the only code that may touch stdout, stderr or the exit.
//!
//! `Run` collects the report; `human` renders it for a terminal; `input` reads one from stdin.

mod grammar;
mod human;
mod input;
mod progress;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) use grammar::PRODUCT;
pub use input::{read_evidence, read_report};
pub use progress::{Meter, warn};
pub use run::Run;

use crate::config::{self, Config};
use crate::interrupt;
use crate::lock;
use crate::report::Problem;
use crate::space;

/// Options that every tool takes, anywhere on its command line.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Shared options")]
pub struct Shared {
    /// Configuration file [default: `$DEPLOY_CONFIG`, then `deploy.toml` here or above]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the report as JSON even on a terminal
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl Shared {
    /// Finds, reads and validates the configuration.
    pub fn load(&self) -> Result<Config, Problem> {
        let config = config::load(self.config.as_deref())?;
        let temporary = std::env::temp_dir();
        space::watch(vec![config.state_dir(), config.log_directory(), config.root().to_owned(), temporary]);
        Ok(config)
    }
}

/// A tool's parsed command line.
pub trait Grammar: clap::Parser {
    fn shared(&self) -> &Shared;
}

/// Parses the command line, tells the tool's story and exits by the report it printed.
pub fn main<A: Grammar>(tool: &'static str, story: fn(A, &mut Run) -> Result<(), Problem>) -> ExitCode {
    interrupt::listen();
    lock::keep_from_children();
    let args = match grammar::parse::<A>(tool) {
        Ok(args) => args,
        Err(ended) => return ended,
    };
    let mut run = Run::new(tool, args.shared());
    let result = story(args, &mut run);
    run.finish(result)
}
