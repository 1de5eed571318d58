//! `pre-push`: refuses on this side what the server would refuse, as far as it can be known here.
//! It says what it could not look at; the server has the last word.

use std::ffi::OsString;
use std::path::Path;

use common::cli::{self, Run};
use common::config::Config;
use common::git::Repository;
use common::report::Problem;

use super::update::Update;
use super::workflow::{self, Records, Workflow};

/// `arguments` are git's: the remote's name and its address.
pub(super) fn run(
    run: &mut Run,
    config: &Config,
    here: &Path,
    arguments: &[OsString],
    updates: &[Update],
) -> Result<(), Problem> {
    let repository = Repository::open(here)?;
    if !workflow::concerns(config, updates) || !is_deployed_from(&repository, arguments) {
        return Ok(());
    }
    if !repository.changes()?.is_empty() {
        cli::warn("the work tree has changes that are not committed; they are not part of this push");
    }
    let records = workflow::ledger(config)?.map_or(Records::Elsewhere, Records::Here);
    Workflow { config, repository: &repository, records }.judge(run, updates)
}

/// Pushes to a fork or a mirror are nobody's deployment.
fn is_deployed_from(repository: &Repository, arguments: &[OsString]) -> bool {
    let Some(remote) = repository.remote() else { return true };
    let address = repository.remote_address(&remote);
    let known = [Some(remote), address];
    arguments.iter().take(2).any(|word| known.iter().flatten().any(|known| *word == **known))
}
