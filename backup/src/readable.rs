//! The readable text of a backup, `database.sql`. A restore never needs it, so it is written once
//! the backup itself counts: right away for a person, and after the deployment for a deployment.

use std::path::Path;
use std::time::Instant;

use common::backups::{self, Backup, EXPORT, FileFacts};
use common::cli::Run;
use common::durable;
use common::report::{OrProblem, Problem};

use crate::site::Site;
use crate::{export, provisional, space, verification};

/// The snapshot before compression, and the database that the text is loaded into.
pub(crate) const RAW: &str = "raw.db";
const LOADED: &str = "loaded.db";

/// Adds the text to a new backup, whose database lies unpacked in `scratch`. When that fails the
/// backup is there all the same.
pub(crate) fn follow_creation(run: &mut Run, site: &Site<'_>, backup: &mut Backup, scratch: &Path) {
    let begun = Instant::now();
    match add(backup, scratch).map_err(|problem| space::explain(problem, scratch)) {
        Ok(None) => run.end_step("backup.export", None, begun.elapsed(), None),
        Ok(Some(reason)) => run.skip("backup.export", &reason),
        Err(problem) => {
            run.skip("backup.export", &problem.title);
            run.warn_all(&[format!("{problem}; added later by: backup {} export", site.name())]);
        }
    }
}

/// `backup ENV export`, under the lock: completes provisional backups and adds the text to all that
/// lack it, newest first.
///
/// # Errors
/// `no-space`, `backup-damaged`, `state-unreadable`, `state-unwritable`.
pub(crate) fn export(run: &mut Run, site: &Site<'_>) -> Result<(), Problem> {
    let mut completed = Vec::new();
    let completion = run.step("backup.complete", || provisional::complete_all(site, &mut completed));
    run.report.changed |= !completed.is_empty();
    run.detail("completed", completed);
    let (mut exported, mut refused) = (Vec::new(), Vec::new());
    let result = run.step("backup.export", || {
        for mut backup in backups::list(&site.place)?.backups.into_iter().filter(lacks_it) {
            common::interrupt::check()?;
            let scratch = site.scratch()?;
            let reason = verification::unpack(&backup, &scratch.path().join(RAW))
                .and_then(|()| add(&mut backup, scratch.path()))
                .map_err(|problem| space::explain(problem, scratch.path()))?;
            let list = if reason.is_none() { &mut exported } else { &mut refused };
            list.push(backup.manifest.id);
        }
        Ok(())
    });
    run.report.changed |= !exported.is_empty();
    run.detail("exported", exported);
    run.detail("unexportable", refused);
    result.and(completion)
}

fn lacks_it(backup: &Backup) -> bool {
    let manifest = &backup.manifest;
    manifest.verified.holds() && !manifest.verified.export && manifest.unexportable.is_none()
}

/// Writes the text and proves it, or notes why there is none: a database that only the app itself
/// can load, with collations or functions of its own, is no worse a backup.
fn add(backup: &mut Backup, scratch: &Path) -> Result<Option<String>, Problem> {
    let target = scratch.join(EXPORT);
    let reason = match write(backup, scratch, &target) {
        Ok(facts) => {
            let named = backup.directory.join(EXPORT);
            durable::rename(&target, &named)
                .or_problem("state-unwritable", || format!("cannot write {}", named.display()))?;
            backup.manifest.verified.export = true;
            backup.manifest.files.insert(EXPORT.to_owned(), facts);
            None
        }
        Err(problem) if common::space::is_full(scratch) => return Err(problem),
        Err(problem) => Some(problem.to_string()),
    };
    backup.manifest.unexportable.clone_from(&reason);
    backup.manifest.write(&backup.directory)?;
    Ok(reason)
}

fn write(backup: &Backup, scratch: &Path, target: &Path) -> Result<FileFacts, Problem> {
    let facts = export::write(&scratch.join(RAW), target)?;
    export::prove(target, &scratch.join(LOADED), &verification::expected(backup))?;
    Ok(facts)
}
