//! `pre-receive`: refuses a push that breaks the workflow, as a whole and before any ref moves.
//! What is pushed is in quarantine then; whatever cannot be judged is refused.

use std::path::Path;

use common::cli::Run;
use common::config::Config;
use common::git::Repository;
use common::report::Problem;

use super::update::Update;
use super::workflow::{self, Records, Workflow};

pub(super) fn run(run: &mut Run, config: &Config, here: &Path, updates: &[Update]) -> Result<(), Problem> {
    if !workflow::concerns(config, updates) {
        return Ok(());
    }
    let repository = Repository::open_with_quarantine(here)?;
    let records = workflow::ledger(config)?.map_or(Records::Nothing, Records::Here);
    Workflow { config, repository: &repository, records }.judge(run, updates)
}
