//! What is left to do when a deployment is verified: tag, push, prune, what is left of the backups. None
//! of it can undo a good release: failures are warnings. A tag or a push that failed is recorded, and
//! the next deploy or rollback tries again.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::backups;
use crate::exec::Sibling;
use crate::git::{Repository, short};
use crate::instance::Instance;
use crate::layout::Slot;
use crate::ledger::{Chore, Deployment};
use crate::release;
use crate::report::Problem;
use crate::site::Site;
use crate::version;

/// Verified releases whose directories are kept, besides what serves or is warm.
const KEPT_RELEASES: u32 = 5;
const SENDING: Duration = Duration::from_secs(4 * 3600);

/// Does the chores of a deployment, those that failed before, and prunes; the sentences returned are
/// warnings.
pub fn run(site: &Site, deployment: &Deployment) -> Vec<String> {
    let mut warnings = Vec::new();
    if is_released(site, deployment) {
        for chore in Chore::ALL {
            warnings.extend(settle(site, deployment, chore));
        }
    }
    warnings.extend(retry_but(site, Some(&deployment.id)));
    let last = [prune(site), finish_backups(site)];
    warnings.extend(
        last.into_iter().filter_map(Result::err).map(|problem| site.secrets.hide(&problem.to_string())),
    );
    warnings
}

/// Does for the backups what nobody waited for while the deployment ran: their readable text, and
/// the way to their second place.
fn finish_backups(site: &Site) -> Result<(), Problem> {
    let settings = site.settings();
    if settings.database.is_none() {
        return Ok(());
    }
    let backup = Sibling::find("backup")?;
    let exported = site.run_sibling(&backup, &["export"], SENDING)?.verdict();
    if settings.backups.second().is_some() {
        site.run_sibling(&backup, &["send"], SENDING)?.verdict()?;
    }
    exported
}

/// Tries again what failed before, and completes what a restore has set aside; the sentences returned
/// are warnings.
pub fn retry(site: &Site) -> Vec<String> {
    let mut warnings = retry_but(site, None);
    let listing = backups::list(&site.place).unwrap_or_default();
    if listing.backups.iter().any(|backup| backup.manifest.is_provisional()) {
        warnings.extend(finish_backups(site).err().map(|problem| site.secrets.hide(&problem.to_string())));
    }
    warnings
}

/// Records all chores of a deployment as still to be done: the run has no time for them.
pub fn postpone(site: &Site, deployment: &Deployment, problem: &Problem) {
    if is_released(site, deployment) {
        for chore in Chore::ALL {
            drop(site.ledger.postpone_chore(&deployment.id, chore, &problem.to_string()));
        }
    }
}

/// Only verified deployments of an environment that is promoted to are tagged and pushed.
fn is_released(site: &Site, deployment: &Deployment) -> bool {
    site.settings().promote_from.is_some() && deployment.verified_ms.is_some()
}

/// A remote that does not answer is asked once, not for each push that it still lacks.
fn retry_but(site: &Site, done: Option<&str>) -> Vec<String> {
    let rows = match site.ledger.postponed_chores(&site.environment) {
        Ok(rows) => rows,
        Err(problem) => return vec![problem.to_string()],
    };
    let mut away = rows.iter().any(|row| row.chore == Chore::Push && Some(row.deployment.as_str()) == done);
    let mut warnings = Vec::new();
    for row in rows.into_iter().filter(|row| Some(row.deployment.as_str()) != done) {
        let Ok(Some(deployment)) = site.ledger.deployment(&row.deployment) else { continue };
        if row.chore == Chore::Push && away {
            warnings.push(format!("{} is still to be pushed: {}", tag_name(&deployment), row.problem));
            continue;
        }
        let warning = settle(site, &deployment, row.chore);
        away |= row.chore == Chore::Push && warning.is_some();
        warnings.extend(warning);
    }
    warnings
}

/// Does one chore; the ledger then knows whether it is still to be done.
fn settle(site: &Site, deployment: &Deployment, chore: Chore) -> Option<String> {
    let result = match chore {
        // Found bad since then.
        _ if !is_released(site, deployment) => Ok(None),
        Chore::Tag => tag(site, deployment).map(|()| None),
        Chore::VersionTag => tag_version(site, deployment),
        Chore::Push => push(site, deployment).map(|()| None),
    };
    let recorded = match &result {
        Ok(_) => site.ledger.settle_chore(&deployment.id, chore),
        Err(problem) => {
            let problem = site.secrets.hide(&problem.to_string());
            site.ledger.postpone_chore(&deployment.id, chore, &problem)
        }
    };
    let warning = result.unwrap_or_else(|problem| Some(problem.to_string()));
    let unrecorded = recorded.err().map(|problem| problem.to_string());
    warning.or(unrecorded).map(|warning| site.secrets.hide(&warning))
}

/// The tag of a deployment.
pub fn tag_name(deployment: &Deployment) -> String {
    format!("deploy/{}/{}", deployment.environment, deployment.id)
}

fn tag(site: &Site, deployment: &Deployment) -> Result<(), Problem> {
    let message = format!("{} {}", deployment.environment, deployment.id);
    site.repository()?.tag(&tag_name(deployment), &deployment.revision, &message)
}

/// Tags the version that the revision gives itself. A tag that stands elsewhere is never moved: the
/// text returned says where.
fn tag_version(site: &Site, deployment: &Deployment) -> Result<Option<String>, Problem> {
    let (repository, revision) = (site.repository()?, deployment.revision.as_str());
    let Some(version) = version::of_revision(&repository, revision) else { return Ok(None) };
    let name = version::tag_name(&version);
    match repository.tags()?.get(&name) {
        Some(commit) if commit == revision => Ok(None),
        Some(commit) => Ok(Some(format!(
            "the tag {name} stands on {} and was not moved; {} names the same version",
            short(commit),
            short(revision)
        ))),
        None => {
            let message = format!("{} {version}\n\n{}", site.config.app.name, tag_name(deployment));
            repository.tag(&name, revision, &message).map(|()| None)
        }
    }
}

/// Pushes the deployed branch, unless the remote has the revision there, and the tags; never forced.
fn push(site: &Site, deployment: &Deployment) -> Result<(), Problem> {
    let repository = site.repository()?;
    let Some(remote) = repository.remote() else { return advance(&repository, deployment) };
    let mut pairs = Vec::new();
    if let Some(branch) = &deployment.branch {
        let known = repository.commit(&format!("refs/remotes/{remote}/{branch}"));
        if known.is_none_or(|known| !repository.contains(&known, &deployment.revision)) {
            pairs.push(format!("{}:refs/heads/{branch}", deployment.revision));
        }
    }
    let tags = repository.tags()?;
    let version = version::of_revision(&repository, &deployment.revision);
    let names = [Some(tag_name(deployment)), version.map(|version| version::tag_name(&version))];
    for name in names.into_iter().flatten().filter(|name| tags.get(name) == Some(&deployment.revision)) {
        pairs.push(format!("refs/tags/{name}:refs/tags/{name}"));
    }
    let pushed = if pairs.is_empty() { Ok(()) } else { repository.push(&remote, &pairs) };
    let there = deployment
        .branch
        .as_ref()
        .and_then(|branch| repository.commit(&format!("refs/remotes/{remote}/{branch}")));
    // Also when the tags beside the branch were refused.
    if there.is_some_and(|there| repository.contains(&there, &deployment.revision)) {
        advance(&repository, deployment)?;
    }
    pushed
}

/// Brings the local branch up to a revision that was promoted to it.
fn advance(repository: &Repository, deployment: &Deployment) -> Result<(), Problem> {
    let (Some(branch), revision) = (&deployment.branch, &deployment.revision) else { return Ok(()) };
    let Some(local) = repository.commit(&format!("refs/heads/{branch}")) else { return Ok(()) };
    if local == *revision || !repository.contains(revision, &local) {
        return Ok(());
    }
    repository.fast_forward(branch, revision, &local)
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
        // The release that it makes bears its id, also before the ledger says so.
        keep.insert(deployment.id);
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
