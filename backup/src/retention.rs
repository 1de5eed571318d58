//! Which backups may go, and their going. The plan is a function of what there is; only whole
//! backups that hold nothing foreign are ever touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::backups::{self, Backup, EXPORT, EXPORT_COMPRESSED, FILES, Listing, MANIFEST, Manifest, order};
use common::cli::{Run, warn};
use common::durable;
use common::report::{OrProblem, Problem};

use crate::archive;
use crate::files::Index;
use crate::site::{DOOMED, Site};

/// What retention did, or would do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) removed: Vec<String>,
    compressed: Vec<String>,
}

/// Ids of the backups to remove, oldest last.
///
/// `keep` counts verified and other backups that are neither protected nor of a deployment in
/// `needed`. Without any verified backup nothing goes.
pub(crate) fn plan(backups: &[&Manifest], keep: usize, needed: &[String]) -> Vec<String> {
    let mut newest_first = backups.to_vec();
    newest_first.sort_by(|a, b| order(b).cmp(&order(a)));
    let Some(newest_verified) = newest_first.iter().find(|manifest| manifest.verified.holds()) else {
        return Vec::new();
    };
    let is_needed = |manifest: &Manifest| manifest.deployment.as_ref().is_some_and(|id| needed.contains(id));
    newest_first
        .iter()
        .filter(|manifest| !manifest.protected && !is_needed(manifest))
        .skip(keep)
        .filter(|manifest| manifest.id != newest_verified.id)
        .map(|manifest| manifest.id.clone())
        .collect()
}

/// `backup ENV prune`, under the lock.
///
/// # Errors
/// `state-unreadable`, `state-unwritable`, `ledger-unreadable`.
pub(crate) fn prune(run: &mut Run, site: &Site<'_>, dry_run: bool) -> Result<(), Problem> {
    let done = run.step("backup.retention", || tidy(site, dry_run))?;
    run.detail("dry_run", dry_run);
    describe(run, done);
    Ok(())
}

/// Prunes after a new backup; when that fails the backup is there all the same.
pub(crate) fn follow_creation(run: &mut Run, site: &Site<'_>) {
    let begun = Instant::now();
    match tidy(site, false) {
        Ok(done) => {
            run.end_step("backup.retention", None, begun.elapsed(), None);
            describe(run, done);
        }
        Err(problem) => {
            warn(&problem.to_string());
            run.skip("backup.retention", &problem.to_string());
        }
    }
}

fn describe(run: &mut Run, done: Done) {
    run.detail("removed", done.removed);
    run.detail("compressed", done.compressed);
}

fn tidy(site: &Site<'_>, dry_run: bool) -> Result<Done, Problem> {
    let listing = backups::list(&site.place)?;
    let doomed = doomed(site, &listing.backups, site.settings.kept_backups())?;
    tidy_up(&site.place.backups(), &listing, &doomed, dry_run)
}

/// Ids of those of `backups` that go when `keep` stay.
///
/// # Errors
/// `ledger-unreadable`.
pub(crate) fn doomed(site: &Site<'_>, backups: &[Backup], keep: u32) -> Result<Vec<String>, Problem> {
    let manifests: Vec<&Manifest> = backups.iter().map(|backup| &backup.manifest).collect();
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    Ok(plan(&manifests, keep, &site.rollback_needs()?))
}

/// Removes the `doomed` ones of the backups in `root` and compresses the exports of older ones.
///
/// # Errors
/// `state-unreadable`, `state-unwritable`.
pub(crate) fn tidy_up(
    root: &Path,
    listing: &Listing,
    doomed: &[String],
    dry_run: bool,
) -> Result<Done, Problem> {
    let mut done = Done::default();
    for (age, backup) in listing.backups.iter().enumerate() {
        let id = &backup.manifest.id;
        let title = || format!("cannot tidy {}", backup.directory.display());
        if doomed.contains(id) {
            if holds_nothing_foreign(backup).or_problem("state-unreadable", title)? {
                done.removed.push(id.clone());
                if !dry_run {
                    remove(root, backup).or_problem("state-unwritable", title)?;
                }
            }
        } else if age > 0 && backup.directory.join(EXPORT).exists() {
            done.compressed.push(id.clone());
            if !dry_run {
                compress_export(backup).or_problem("state-unwritable", title)?;
            }
        }
    }
    Ok(done)
}

fn holds_nothing_foreign(backup: &Backup) -> std::io::Result<bool> {
    for entry in fs::read_dir(&backup.directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // A draft is what a kill left of the manifest that was being written.
        let name = name.strip_suffix(durable::DRAFT).unwrap_or(&name);
        let ours = [MANIFEST, EXPORT, EXPORT_COMPRESSED].contains(&name);
        let further = name == FILES && backup.manifest.further.is_some();
        if !ours && !further && !backup.manifest.files.contains_key(name) {
            return Ok(false);
        }
    }
    holds_only_its_files(backup)
}

fn holds_only_its_files(backup: &Backup) -> std::io::Result<bool> {
    let Ok(index) = Index::of(backup) else { return Ok(false) };
    let root = backup.directory.join(FILES);
    let mut due: Vec<PathBuf> = backup.manifest.further.map(|_| root.clone()).into_iter().collect();
    while let Some(dir) = due.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            if !path.strip_prefix(&root).is_ok_and(|below| index.holds(below)) {
                return Ok(false);
            }
            due.extend(entry.file_type()?.is_dir().then_some(path));
        }
    }
    Ok(true)
}

/// Takes the name away first: what is half removed must not look like a backup.
fn remove(root: &Path, backup: &Backup) -> std::io::Result<()> {
    let doomed = root.join(format!("{DOOMED}{}", backup.manifest.id));
    durable::rename(&backup.directory, &doomed)?;
    fs::remove_dir_all(&doomed)
}

/// Compresses the readable export. The manifest names one form or the other at any moment.
fn compress_export(backup: &Backup) -> std::io::Result<()> {
    let (plain, packed) = (backup.directory.join(EXPORT), backup.directory.join(EXPORT_COMPRESSED));
    let mut manifest = backup.manifest.clone();
    if let Some(facts) = manifest.files.remove(EXPORT) {
        if packed.exists() {
            fs::remove_file(&packed)?;
        }
        let written = archive::compress(&plain, &packed, &mut |_| {})?;
        if written.raw != facts {
            fs::remove_file(&packed)?;
            return Err(std::io::Error::other(format!("{EXPORT} has changed since it was written")));
        }
        manifest.files.insert(EXPORT_COMPRESSED.to_owned(), written.file);
        manifest.write(&backup.directory).map_err(std::io::Error::other)?;
    }
    fs::remove_file(&plain)?;
    durable::sync_dir(&backup.directory)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use common::backups::{FORMAT, Verified};
    use common::report::now;
    use proptest::prelude::*;

    use super::*;

    fn manifest(
        number: usize,
        second: i64,
        verified: bool,
        protected: bool,
        deployment: Option<u8>,
    ) -> Manifest {
        let created_at = now().checked_add(std::time::Duration::from_secs(second.unsigned_abs())).unwrap();
        Manifest {
            format: FORMAT,
            id: format!("2026-01-01_00-00-00-{number}"),
            environment: "dev".into(),
            deployment: deployment.map(|number| format!("D{number}")),
            reason: "manual".into(),
            number: u64::try_from(number % 3).unwrap(),
            protected,
            created_at,
            tool_version: String::new(),
            sqlite_version: String::new(),
            page_size: 4096,
            journal_mode: "wal".into(),
            applied: None,
            user_version: 0,
            application_id: 0,
            files: BTreeMap::new(),
            raw_bytes: 0,
            raw_sha256: String::new(),
            tables: BTreeMap::new(),
            schema_hash: String::new(),
            further: None,
            unexportable: None,
            verified: Verified { integrity_check: verified, read_back: verified, ..Verified::default() },
        }
    }

    proptest! {
        #[test]
        fn nothing_goes_that_is_needed_and_nothing_stays_beyond_the_limit(
            rows in prop::collection::vec((0_i64..50, prop::bool::weighted(0.8), prop::bool::weighted(0.2), prop::option::of(0_u8..6)), 0..25),
            keep in 1_usize..8,
            needed in prop::collection::vec(0_u8..6, 0..3),
        ) {
            let all: Vec<Manifest> = rows
                .iter()
                .enumerate()
                .map(|(number, (second, verified, protected, deployment))| {
                    manifest(number + 2, *second * 1000, *verified, *protected, *deployment)
                })
                .collect();
            let borrowed: Vec<&Manifest> = all.iter().collect();
            let needed: Vec<String> = needed.iter().map(|number| format!("D{number}")).collect();
            let doomed = plan(&borrowed, keep, &needed);
            let newest_verified = all.iter().filter(|m| m.verified.holds()).max_by(|a, b| order(a).cmp(&order(b)));
            let is_needed = |m: &Manifest| m.deployment.as_ref().is_some_and(|id| needed.contains(id));
            for manifest in &all {
                let goes = doomed.contains(&manifest.id);
                prop_assert!(!(goes && (manifest.protected || is_needed(manifest))));
                prop_assert!(!(goes && newest_verified.is_none_or(|newest| newest.id == manifest.id)));
                let newer = all.iter().filter(|other| order(other) > order(manifest));
                let newer = newer.filter(|other| !other.protected && !is_needed(other)).count();
                prop_assert!(!goes || newer >= keep);
            }
            let stay = all.iter().filter(|m| !doomed.contains(&m.id) && !m.protected && !is_needed(m)).count();
            prop_assert!(newest_verified.is_none() || stay <= keep + 1);
        }
    }
}
