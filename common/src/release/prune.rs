//! Removing old releases; what somebody wrote into one after its build is kept aside first.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::set_writable;
use crate::layout::{Place, create_private_dir};
use crate::report::{OrProblem, Problem};

/// Removes all releases but those in `keep`.
///
/// Returns the ids removed and the files that were kept aside.
///
/// # Errors
/// `prune-failed`.
pub fn prune(place: &Place, keep: &[String]) -> Result<(Vec<String>, Vec<PathBuf>), Problem> {
    let (mut removed, mut aside) = (Vec::new(), Vec::new());
    let entries =
        fs::read_dir(place.releases()).or_problem("prune-failed", || "cannot list the releases".into())?;
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if id.starts_with('.') || keep.contains(&id) {
            continue;
        }
        aside.extend(keep_late_files(place, &id)?);
        remove(&entry.path())?;
        removed.push(id);
    }
    Ok((removed, aside))
}

/// Removes a release directory, sealed or not; one that is gone is fine.
///
/// # Errors
/// `prune-failed`.
pub fn remove(dir: &Path) -> Result<(), Problem> {
    let Ok(meta) = dir.symlink_metadata() else { return Ok(()) };
    if meta.is_symlink() {
        return fs::remove_file(dir)
            .or_problem("prune-failed", || format!("cannot remove {}", dir.display()));
    }
    set_writable(dir, true)?;
    fs::remove_dir_all(dir).or_problem("prune-failed", || format!("cannot remove {}", dir.display()))
}

/// Moves files that are newer than the release's seal to `kept/ID/`.
fn keep_late_files(place: &Place, id: &str) -> Result<Vec<PathBuf>, Problem> {
    let dir = place.release(id);
    let Some(sealed) = sealed_at(&dir) else { return Ok(Vec::new()) };
    let mut kept = Vec::new();
    for entry in walkdir::WalkDir::new(&dir).into_iter().flatten().filter(|entry| entry.file_type().is_file())
    {
        let late = entry.metadata().is_ok_and(|meta| meta.modified().is_ok_and(|at| at > sealed));
        let inside = entry.path().strip_prefix(&dir).unwrap_or(entry.path());
        if late && !is_bytecode(inside) {
            let target = place.root().join("kept").join(id).join(inside);
            create_private_dir(target.parent().unwrap_or(&dir))?;
            fs::copy(entry.path(), &target)
                .or_problem("prune-failed", || format!("cannot keep {}", target.display()))?;
            kept.push(target);
        }
    }
    Ok(kept)
}

/// When the release was sealed: the last change of the directory's own inode.
fn sealed_at(dir: &Path) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::symlink_metadata(dir).ok()?;
    let seconds = u64::try_from(meta.ctime()).ok()?;
    let nanoseconds = u32::try_from(meta.ctime_nsec()).ok()?;
    Some(SystemTime::UNIX_EPOCH + std::time::Duration::new(seconds, nanoseconds))
}

fn is_bytecode(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "__pycache__")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_is_removed_and_what_it_leads_to_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (precious, release) = (dir.path().join("precious"), dir.path().join("release"));
        for made in [&precious, &release] {
            fs::create_dir(made).unwrap();
        }
        fs::write(precious.join("file"), "kept").unwrap();
        symlink(&precious, release.join("inside")).unwrap();
        symlink(&precious, dir.path().join("link")).unwrap();
        set_writable(&precious, false).unwrap();
        set_writable(&release, false).unwrap();
        for doomed in ["release", "link", "gone"] {
            remove(&dir.path().join(doomed)).unwrap();
            assert!(dir.path().join(doomed).symlink_metadata().is_err());
        }
        assert!(fs::metadata(&precious).unwrap().permissions().readonly());
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "kept");
        set_writable(&precious, true).unwrap();
    }
}
