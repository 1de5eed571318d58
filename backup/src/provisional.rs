//! What a restore sets aside before it changes the database: writers wait, so it is a copy and its
//! hash. Who comes later checks and compresses it, as every backup is.

use std::fs;
use std::path::Path;
use std::time::Instant;

use common::backups::{self, Backup, DATABASE, DATABASE_PLAIN, FileFacts};
use common::cli::Run;
use common::durable;
use common::interrupt;
use common::lock::Lock;
use common::report::{OrProblem, Problem};

use crate::creation::{self, Request};
use crate::draft::Draft;
use crate::proof::{self, Damage};
use crate::site::Site;
use crate::{archive, space, verification};

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

/// Completes what a restore has set aside. Where that fails the restore is done all the same, and
/// whoever comes next tries again. Whoever passed the lock on to us waits.
pub(crate) fn follow_restore(run: &mut Run, site: &Site<'_>, lock: &Lock) {
    if due(site).is_ok_and(|due| due.is_empty()) {
        return;
    }
    if !lock.is_own() {
        return run.skip("backup.complete", "a deployment waits; done when it has ended");
    }
    let begun = Instant::now();
    match complete_all(site, &mut Vec::new()) {
        Ok(()) => run.end_step("backup.complete", None, begun.elapsed(), None),
        Err(problem) => {
            run.skip("backup.complete", &problem.title);
            run.warn_all(&[format!("{problem}; tried again by: backup {} export", site.name())]);
        }
    }
}

/// Checks and compresses it, and says whether that was still to be done; only under the lock. A
/// database that is damaged stays what it is, and never counts as verified.
///
/// # Errors
/// `backup-damaged`, `no-space`, `snapshot-failed`, `state-unwritable`: it is as it was.
pub(crate) fn complete(site: &Site<'_>, backup: &mut Backup) -> Result<bool, Problem> {
    let (plain, packed) = (backup.directory.join(DATABASE_PLAIN), backup.directory.join(DATABASE));
    let title = || format!("cannot complete {}", backup.directory.display());
    let is_provisional = backup.manifest.is_provisional();
    if is_provisional {
        remove(&packed).or_problem("state-unwritable", title)?;
        verification::check_file(backup, DATABASE_PLAIN)?;
        let mut manifest = backup.manifest.clone();
        proof::prove_and_compress(&plain, &packed, &mut manifest, Damage::Kept)
            .map_err(|problem| space::explain(problem, &backup.directory))
            .inspect_err(|_| drop(remove(&packed)))?;
        creation::share_snapshot(site, &backup.directory, &manifest)?;
        manifest.files.remove(DATABASE_PLAIN);
        manifest.write(&backup.directory)?;
        backup.manifest = manifest;
    }
    if plain.exists() && is_leftover(backup, &plain)? {
        durable::remove(&plain).or_problem("state-unwritable", title)?;
    }
    Ok(is_provisional)
}

/// Whether a plain file is what was compressed, and not somebody's own.
fn is_leftover(backup: &Backup, plain: &Path) -> Result<bool, Problem> {
    let manifest = &backup.manifest;
    let raw = FileFacts { size: manifest.raw_bytes, sha256: manifest.raw_sha256.clone() };
    verification::check_file(backup, DATABASE)?;
    Ok(archive::measure(plain).is_ok_and(|held| held == raw))
}

/// Completes all that are to be; only under the lock. Their ids go into `completed`; a damaged one does
/// not keep back the rest.
///
/// # Errors
/// As those of [`complete`].
pub(crate) fn complete_all(site: &Site<'_>, completed: &mut Vec<String>) -> Result<(), Problem> {
    let mut damaged = Ok(());
    for mut backup in due(site)? {
        interrupt::check()?;
        match complete(site, &mut backup) {
            Ok(true) => completed.push(backup.manifest.id),
            Ok(false) => {}
            Err(problem) if problem.kind == "backup-damaged" => damaged = Err(problem),
            Err(problem) => return Err(problem),
        }
    }
    damaged
}

fn due(site: &Site<'_>) -> Result<Vec<Backup>, Problem> {
    let all = backups::list(&site.place)?.backups;
    Ok(all.into_iter().filter(|backup| backup.directory.join(DATABASE_PLAIN).exists()).collect())
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.exists() { fs::remove_file(path) } else { Ok(()) }
}
