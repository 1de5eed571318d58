//! What was verified where releases come from, and is not yet where they go.

use common::config::Config;
use common::git::Repository;
use common::ledger::{Deployment, Ledger};
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

/// Two environments that differ, by what the ledger says.
pub(super) struct Gap {
    from: String,
    to: String,
    new: Deployment,
    old: Deployment,
}

/// Where something may wait on the way to these environments.
///
/// # Errors
/// Those of the ledger.
pub(super) fn gaps(config: &Config, ledger: &Ledger, names: &[String]) -> Result<Vec<Gap>, Problem> {
    let mut found = Vec::new();
    for to in names {
        let from = config.environments.get(to).and_then(|environment| environment.promote_from.as_ref());
        let Some(from) = from else { continue };
        let (Some(new), Some(old)) = (ledger.serving(from)?, ledger.serving(to)?) else { continue };
        if new.tree.is_none() || new.tree != old.tree {
            found.push(Gap { from: from.clone(), to: to.clone(), new, old });
        }
    }
    Ok(found)
}

/// The promotions that would close them; git says what waits.
pub(super) fn all(config: &Config, gaps: Vec<Gap>) -> Vec<Promotion> {
    if gaps.is_empty() {
        return Vec::new();
    }
    let Ok(repository) = Repository::open(config.root()) else { return Vec::new() };
    let promotion = |gap: Gap| {
        let (commits, count) = repository.between(&gap.old.revision, &gap.new.revision, NAMED);
        let further = count.saturating_sub(commits.len() as u64);
        let is_ready = gap.new.verified_ms.is_some();
        Promotion { from: gap.from, to: gap.to, commits, further, is_ready }
    };
    gaps.into_iter().map(promotion).collect()
}
