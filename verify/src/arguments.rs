//! The command line: `verify [ENV] [init] [OPTIONS]`.

use std::path::PathBuf;

use common::cli::{Grammar, Shared};
use common::layout::Slot;

use crate::stages::Stage;

/// Prove that the new release answers, and answers rightly
///
/// Without ENV, continues the report on stdin: `deploy dev | verify`.
#[derive(Debug, clap::Parser)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Args {
    /// Environment to verify [default: the one that the report on stdin names]
    #[arg(value_name = "ENV")]
    pub(crate) environment: Option<String>,
    /// Only these stages; the result is no evidence
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) only: Vec<Stage>,
    /// The instance in this slot, on its private address; the result is no evidence
    #[arg(long, value_name = "blue|green", value_parser = parse_slot)]
    pub(crate) slot: Option<Slot>,
    /// Sign the result as evidence for another host: a private key's file, or a public one whose
    /// other half ssh-agent has
    #[arg(long, value_name = "KEY", conflicts_with_all = ["only", "slot"])]
    pub(crate) sign: Option<PathBuf>,
    /// Run the one check of this id, as the report names it, and show what was asked and answered
    #[arg(long, value_name = "ID", requires = "environment", conflicts_with_all = ["only", "sign"])]
    pub(crate) explain: Option<String>,
    /// Accept this change since the release before, for the tree in which it was found; checks nothing
    #[arg(long, value_name = "ID", requires = "environment", conflicts_with_all = ["only", "slot", "sign", "explain", "html", "junit", "tap", "github"])]
    pub(crate) approve: Vec<String>,
    /// Write the report and the screenshots as one HTML page to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write a JUnit report to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write TAP lines to stderr
    #[arg(long)]
    pub(crate) tap: bool,
    /// Write GitHub annotations to stderr
    #[arg(long)]
    pub(crate) github: bool,
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Write a first verify.toml from what serves in ENV; never overwrites
    Init(InitOptions),
}

#[derive(Debug, clap::Args)]
pub(crate) struct InitOptions {
    /// The file to write, beside deploy.toml
    #[arg(long, value_name = "FILE", default_value = "verify.toml")]
    pub(crate) file: PathBuf,
}

impl Args {
    /// Whether less than everything is checked.
    pub(crate) fn is_partial(&self) -> bool {
        self.slot.is_some() || !self.only.is_empty() || self.explain.is_some()
    }
}

impl Grammar for Args {
    fn shared(&self) -> &Shared {
        &self.shared
    }
}

fn parse_slot(text: &str) -> Result<Slot, String> {
    Slot::from_name(text).ok_or_else(|| "expected blue or green".to_owned())
}
