//! What a restore sets aside before it changes the database: writers wait, so it is a copy and its
//! hash. Who comes later checks and compresses it, as every backup is.

use std::fs;
use std::path::Path;
use std::time::Instant;

use common::backups::{self, Backup, DATABASE, DATABASE_PLAIN, FileFacts};
use common::cli::Run;
use common::durable;
use common::interrupt;
use common::report::{OrProblem, Problem};

use crate::creation::{self, Request};
use crate::draft::Draft;
use crate::proof::{self, Damage};
use crate::site::Site;
use crate::{restoration, space, verification};

/// Makes the `copy` of the database a protected backup, on disk when this returns; the file moves there.
///
/// # Errors
/// `no-space`, `state-unwritable`, `database-unreadable`; nothing is left behind.
pub(crate) fn keep(
    run: &mut Run,
    site: &Site<'_>,
    copy: &Path,
    facts: &FileFacts,
) -> Result<Backup, Problem> {
    let request = Request { reason: "pre-restore", protect: true, deployment: run.report.deployment.clone() };
    run.step("backup.set_aside", || {
        publish(site, &request, copy, facts).map_err(|problem| space::explain(problem, &site.place.backups()))
    })
}

fn publish(
    site: &Site<'_>,
    request: &Request<'_>,
    copy: &Path,
    facts: &FileFacts,
) -> Result<Backup, Problem> {
    let draft = Draft::begin(&site.place)?;
    let plain = draft.path(DATABASE_PLAIN);
    let mut manifest = creation::blank(site, request, &draft, backups::next_number(&site.place)?);
    proof::describe(copy, facts.clone(), &mut manifest)?;
    durable::rename(copy, &plain)
        .or_problem("state-unwritable", || format!("cannot write {}", plain.display()))?;
    manifest.files.insert(DATABASE_PLAIN.to_owned(), facts.clone());
    creation::write_provenance(site, &draft, &mut manifest)?;
    draft.publish(manifest)
}

/// Completes what a person's restore has set aside. Where that fails the restore is done all the same,
/// and whoever comes next tries again; who restores for a deployment keeps nobody waiting.
pub(crate) fn follow_restore(run: &mut Run, site: &Site<'_>, request: &restoration::Request<'_>) {
    if due(site).is_ok_and(|due| due.is_empty()) {
        return;
    }
    if request.deployment.is_some() {
        return run.skip(
            "backup.complete",
            "a deployment waits; done once it is verified, or by: backup ENV export",
        );
    }
    let begun = Instant::now();
    match complete_all(site) {
        Ok(_) => run.end_step("backup.complete", None, begun.elapsed(), None),
        Err(problem) => {
            run.skip("backup.complete", &problem.title);
            run.warn_all(&[format!("{problem}; tried again by: backup {} export", site.name())]);
        }
    }
}

/// Checks and compresses it; only under the lock. A database that is damaged stays what it is, and
/// never counts as verified.
///
/// # Errors
/// `backup-damaged`, `no-space`, `snapshot-failed`, `state-unwritable`: it is as it was.
pub(crate) fn complete(backup: &mut Backup) -> Result<(), Problem> {
    let (plain, packed) = (backup.directory.join(DATABASE_PLAIN), backup.directory.join(DATABASE));
    let title = || format!("cannot complete {}", backup.directory.display());
    if backup.manifest.is_provisional() {
        remove(&packed).or_problem("state-unwritable", title)?;
        verification::check_file(backup, DATABASE_PLAIN)?;
        let mut manifest = backup.manifest.clone();
        proof::prove_and_compress(&plain, &packed, &mut manifest, Damage::Kept)
            .map_err(|problem| space::explain(problem, &backup.directory))
            .inspect_err(|_| drop(remove(&packed)))?;
        manifest.files.remove(DATABASE_PLAIN);
        manifest.write(&backup.directory)?;
        backup.manifest = manifest;
    }
    if plain.exists() {
        durable::remove(&plain).or_problem("state-unwritable", title)?;
    }
    Ok(())
}

/// Completes all that are to be; only under the lock. Gives their ids.
///
/// # Errors
/// As those of [`complete`].
pub(crate) fn complete_all(site: &Site<'_>) -> Result<Vec<String>, Problem> {
    let mut completed = Vec::new();
    for mut backup in due(site)? {
        interrupt::check()?;
        complete(&mut backup)?;
        completed.push(backup.manifest.id);
    }
    Ok(completed)
}

fn due(site: &Site<'_>) -> Result<Vec<Backup>, Problem> {
    let all = backups::list(&site.place)?.backups;
    Ok(all.into_iter().filter(|backup| backup.directory.join(DATABASE_PLAIN).exists()).collect())
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.exists() { fs::remove_file(path) } else { Ok(()) }
}
