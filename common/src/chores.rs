//! What is left to do when a deployment is verified: tag, push, prune. None of it can undo a good
//! release: failures are warnings, and the next command tries again.

use std::collections::BTreeSet;

use crate::git::Repository;
use crate::instance::Instance;
use crate::layout::Slot;
use crate::ledger::Deployment;
use crate::release;
use crate::report::Problem;
use crate::site::Site;

/// Verified releases whose directories are kept, besides what serves or is warm.
const KEPT_RELEASES: u32 = 5;

/// Does all chores; the sentences returned are warnings.
pub fn run(site: &Site, deployment: &Deployment) -> Vec<String> {
    [tag(site, deployment), push_promotion(site, deployment), prune(site)]
        .into_iter()
        .filter_map(|result| result.err().map(|problem| problem.to_string()))
        .collect()
}

/// Only verified deployments of an environment that is promoted to are tagged and pushed.
fn is_released(site: &Site, deployment: &Deployment) -> bool {
    site.settings().promote_from.is_some() && deployment.verified_ms.is_some()
}

/// Brings a local branch that is not checked out up to what was pushed.
fn follow_remote(repository: &Repository, branch: &str, revision: &str) -> Result<(), Problem> {
    let Some(local) = repository.commit(&format!("refs/heads/{branch}")) else { return Ok(()) };
    let behind = local != revision && repository.contains(revision, &local);
    if behind && repository.branch().as_deref() != Some(branch) {
        repository.move_branch(branch, revision, &local)?;
    }
    Ok(())
}

/// Tags a deployment of an environment that is promoted to: `deploy/ENV/ID`.
pub fn tag(site: &Site, deployment: &Deployment) -> Result<(), Problem> {
    if !is_released(site, deployment) {
        return Ok(());
    }
    let (name, message) = (tag_name(deployment), format!("{} {}", deployment.environment, deployment.id));
    site.repository()?.tag(&name, &deployment.revision, &message)
}

/// The tag of a deployment.
pub fn tag_name(deployment: &Deployment) -> String {
    format!("deploy/{}/{}", deployment.environment, deployment.id)
}

/// Pushes the deployed branch and the tag when the remote does not have them yet; never forced.
pub fn push_promotion(site: &Site, deployment: &Deployment) -> Result<(), Problem> {
    if !is_released(site, deployment) {
        return Ok(());
    }
    let repository = site.repository()?;
    let Some(remote) = repository.remote() else { return Ok(()) };
    if let Some(branch) = &deployment.branch {
        let known = repository.commit(&format!("refs/remotes/{remote}/{branch}"));
        if known.is_none_or(|known| !repository.contains(&known, &deployment.revision)) {
            repository.push(&remote, &deployment.revision, &format!("refs/heads/{branch}"))?;
        }
        follow_remote(&repository, branch, &deployment.revision)?;
    }
    let tag = format!("refs/tags/{}", tag_name(deployment));
    repository.push(&remote, &tag, &tag)
}

/// Removes old releases; never one that serves, is warm, or is a recent rollback target.
pub fn prune(site: &Site) -> Result<(), Problem> {
    let mut keep = BTreeSet::new();
    keep.extend(site.ledger.serving(&site.environment)?.and_then(|serving| serving.release));
    keep.extend(
        Slot::BOTH
            .into_iter()
            .filter_map(|slot| Instance::read(&site.place, slot))
            .map(|instance| instance.release),
    );
    for deployment in site.ledger.verified(&site.environment, KEPT_RELEASES)? {
        keep.extend(deployment.release);
    }
    for deployment in site.ledger.unfinished(&site.environment)? {
        keep.extend(deployment.release);
    }
    let (_, aside) = release::prune(&site.place, &keep)?;
    match aside.as_slice() {
        [] => Ok(()),
        files => Err(Problem::new(
            "files-kept",
            format!("{} files written into a pruned release were kept", files.len()),
        )
        .detail(site.place.root().join("kept").display().to_string())),
    }
}
