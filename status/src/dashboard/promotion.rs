//! What was verified where releases come from, and is not yet where they go.

use common::config::Config;
use common::git::Repository;
use common::ledger::Ledger;
use common::report::Problem;

/// So many commits are named.
const NAMED: usize = 10;

/// The way from one environment to another.
pub(super) struct Promotion {
    pub(super) from: String,
    pub(super) to: String,
    /// Revision, in short, and subject, newest first.
    pub(super) commits: Vec<(String, String)>,
    /// More than those that are named.
    pub(super) further: u64,
    /// What serves where it comes from is verified.
    pub(super) is_ready: bool,
}

/// The promotions that lead to these environments, where something waits.
///
/// # Errors
/// Those of the ledger.
pub(super) fn all(config: &Config, ledger: &Ledger, names: &[String]) -> Result<Vec<Promotion>, Problem> {
    let mut found = Vec::new();
    for to in names {
        let from = config.environments.get(to).and_then(|environment| environment.promote_from.as_ref());
        let Some(from) = from else { continue };
        let (Some(new), Some(old)) = (ledger.serving(from)?, ledger.serving(to)?) else { continue };
        if new.tree.is_some() && new.tree == old.tree {
            continue;
        }
        let Ok(repository) = Repository::open(config.root()) else { continue };
        let (commits, count) = repository.between(&old.revision, &new.revision, NAMED);
        let further = count.saturating_sub(commits.len() as u64);
        let (from, to, is_ready) = (from.clone(), to.clone(), new.verified_ms.is_some());
        found.push(Promotion { from, to, commits, further, is_ready });
    }
    Ok(found)
}
