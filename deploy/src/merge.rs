//! Joining two branches for a promotion, without touching any work tree or branch.

use common::config::Merge;
use common::git::{Repository, short};
use common::report::{Problem, quoted};

/// The commit that has both histories: `newer` when it contains `target`, else what `policy` allows.
///
/// # Errors
/// `not-fast-forward`, `promotion-conflict`.
pub(crate) fn join(
    repository: &Repository,
    target: &str,
    newer: &str,
    branch: &str,
    from: &str,
    policy: Merge,
) -> Result<String, Problem> {
    if repository.contains(newer, target) {
        return Ok(newer.to_owned());
    }
    if repository.contains(target, newer) {
        return Ok(target.to_owned());
    }
    match policy {
        Merge::FfOnly => Err(Problem::new(
            "not-fast-forward",
            format!("'{branch}' ({}) has commits that '{from}' ({}) lacks", short(target), short(newer)),
        )
        .detail("this environment promotes by fast-forward only")
        .hint(format!("git switch {} && git merge {}", quoted(from), quoted(branch)))),
        Merge::Merge => repository.merge_commit(target, newer, &format!("Promote {from} to {branch}")),
    }
}
