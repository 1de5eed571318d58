//! `backup ENV verify ID`: every file is what was written, and what a restore would give is the
//! database that was backed up. A restore begins with the same two checks.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use common::backups::{Backup, DATABASE, DATABASE_PLAIN, EXPORT, EXPORT_COMPRESSED, FILES};
use common::cli::Run;
use common::report::{OrProblem, Problem, quoted};

use crate::content::{self, Content};
use crate::files::{self, Index};
use crate::site::Site;
use crate::{archive, second, space};

/// Checks one backup by restoring it into a scratch place.
///
/// # Errors
/// Usage (exit 2) for an unknown id; `backup-damaged`; `no-space`.
pub(crate) fn verify(run: &mut Run, site: &Site<'_>, id: &str, in_second: bool) -> Result<(), Problem> {
    run.begin(site.name(), None);
    let locate = || second::locate(site, id, in_second);
    let mut backup = locate()?;
    run.detail("id", id);
    run.detail("directory", backup.directory.display().to_string());
    let scratch = site.check_scratch()?;
    let raw = scratch.path().join("raw.db");
    check_and_unpack(run, &mut backup, &locate, &raw)
        .map_err(|problem| space::explain(problem, scratch.path()))?;
    let copy = content::open_private(&raw)?;
    run.step("backup.check", || {
        if content::check(&copy)? || !backup.manifest.verified.foreign_key_check {
            return Ok(());
        }
        Err(damaged(&backup, "its foreign keys no longer hold"))
    })?;
    if backup.manifest.is_provisional() {
        run.skip("backup.content", "its tables are not in its manifest yet: backup ENV export");
    } else {
        run.step("backup.content", || {
            if content::read(&copy)? == expected(&backup) {
                return Ok(());
            }
            Err(damaged(&backup, "its tables are not those of the manifest"))
        })?;
    }
    run.detail("verified", !backup.manifest.is_provisional());
    Ok(())
}

/// Writes the database of backup `id` into the new file `target`, as it was when it was backed up.
///
/// # Errors
/// Usage (exit 2) for an unknown id; `backup-damaged`, `file-exists`, `state-unwritable`.
pub(crate) fn extract(run: &mut Run, site: &Site<'_>, id: &str, target: &Path) -> Result<(), Problem> {
    run.begin(site.name(), None);
    let locate = || second::locate(site, id, false);
    let mut backup = locate()?;
    if target.symlink_metadata().is_ok() {
        return Err(Problem::usage(format!("{} is there already", target.display()))
            .hint(format!("ls -l {}", quoted(target.display()))));
    }
    run.detail("id", id);
    check_and_unpack(run, &mut backup, &locate, target)
        .and_then(|()| archive::sync(target))
        .map_err(|problem| space::explain(problem, target.parent().unwrap_or(target)))?;
    run.detail("file", target.display().to_string());
    Ok(())
}

/// The content that the manifest promises.
pub(crate) fn expected(backup: &Backup) -> Content {
    let manifest = &backup.manifest;
    Content {
        tables: manifest.tables.clone(),
        schema_hash: manifest.schema_hash.clone(),
        user_version: manifest.user_version,
        application_id: manifest.application_id,
    }
}

/// Works without the lock: a newer backup may just have had the export compressed, or this one have been
/// completed. Then it is done once more with what there is now.
fn check_and_unpack(
    run: &mut Run,
    backup: &mut Backup,
    locate: &dyn Fn() -> Result<Backup, Problem>,
    target: &Path,
) -> Result<(), Problem> {
    let mut act = |backup: &Backup| {
        run.step("backup.files", || check_files(backup))?;
        run.step("backup.unpack", || unpack(backup, target))
    };
    let Err(problem) = act(backup) else { return Ok(()) };
    let again = locate()?;
    if again.manifest == backup.manifest {
        return Err(problem);
    }
    *backup = again;
    if target.exists() {
        fs::remove_file(target)
            .or_problem("state-unwritable", || format!("cannot remove {}", target.display()))?;
    }
    act(backup)
}

/// Compares every file with the manifest.
///
/// # Errors
/// `backup-damaged`.
pub(crate) fn check_files(backup: &Backup) -> Result<(), Problem> {
    backup.manifest.files.keys().try_for_each(|name| check_file(backup, name))?;
    check_further(backup)
}

/// Compares what a restore reads with the manifest, but for the snapshot: that is compared while it is
/// unpacked. The readable text is not among it.
///
/// # Errors
/// `backup-damaged`.
pub(crate) fn check_restored(backup: &Backup) -> Result<(), Problem> {
    let unread = [DATABASE, EXPORT, EXPORT_COMPRESSED];
    let read = backup.manifest.files.keys().filter(|name| !unread.contains(&name.as_str()));
    read.into_iter().try_for_each(|name| check_file(backup, name))?;
    check_further(backup)
}

/// Compares one file with the manifest.
///
/// # Errors
/// `backup-damaged`.
pub(crate) fn check_file(backup: &Backup, name: &str) -> Result<(), Problem> {
    let measured = archive::measure(&backup.directory.join(name))
        .map_err(|error| damaged(backup, &format!("{name}: {error}")))?;
    if backup.manifest.files.get(name) == Some(&measured) {
        return Ok(());
    }
    Err(changed(backup, name))
}

fn changed(backup: &Backup, name: &str) -> Problem {
    damaged(backup, &format!("{name} has changed since it was written"))
}

fn check_further(backup: &Backup) -> Result<(), Problem> {
    for (path, facts) in Index::of(backup)?.files() {
        let changed =
            || damaged(backup, &format!("{FILES}/{} has changed since it was written", path.display()));
        let measured = archive::measure(&files::kept(&backup.directory, &path));
        let measured = measured.map_err(|error| changed().detail(format!("{}: {error}", path.display())))?;
        if &measured != facts {
            return Err(changed());
        }
    }
    Ok(())
}

/// Decompresses the snapshot into the new file `target` (0600), equal to what was backed up.
///
/// # Errors
/// `backup-damaged`, `state-unwritable`.
pub(crate) fn unpack(backup: &Backup, target: &Path) -> Result<(), Problem> {
    let title = || format!("cannot unpack backup {} into {}", backup.manifest.id, target.display());
    let is_plain = backup.manifest.is_provisional();
    let name = if is_plain { DATABASE_PLAIN } else { DATABASE };
    let Some(facts) = backup.manifest.files.get(name) else {
        return Err(damaged(backup, "it holds no database"));
    };
    let source = backup.directory.join(name);
    let out = archive::create_private(target).or_problem("state-unwritable", title)?;
    let unpack = if is_plain { archive::copy_out } else { archive::decompress };
    let unpacked = unpack(&source, out).map_err(|error| match error.kind() {
        // What the decoder says, and that of a file which is gone.
        ErrorKind::Other | ErrorKind::UnexpectedEof | ErrorKind::NotFound => {
            damaged(backup, &format!("{name}: {error}"))
        }
        _ => Problem::new("state-unwritable", title()).detail(error.to_string()),
    })?;
    if &unpacked.file != facts {
        return Err(changed(backup, name));
    }
    if unpacked.raw.sha256 != backup.manifest.raw_sha256 {
        return Err(damaged(backup, "its snapshot is not the database that was backed up"));
    }
    Ok(())
}

fn damaged(backup: &Backup, why: &str) -> Problem {
    let (id, environment) = (&backup.manifest.id, &backup.manifest.environment);
    Problem::new("backup-damaged", format!("backup {id} is damaged"))
        .detail(why)
        .hint(format!("backup {environment} list"))
}
