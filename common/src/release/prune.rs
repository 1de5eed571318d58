//! Removing old releases; what somebody wrote into one after its build is kept aside first.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::durable;
use crate::fault;
use crate::layout::{Place, create_private_dir};
use crate::report::{OrProblem, Problem, quoted};

/// The permissions to write, of all.
const WRITE: u32 = 0o222;
/// A release that is being removed is named so, with its id behind it.
const GOING: &str = ".going-";

/// Removes all releases but those in `keep`, and what an earlier removal left. One that cannot be
/// removed does not keep the others.
///
/// Returns the ids removed and the files that were kept aside.
///
/// # Errors
/// `prune-failed`: the first release that could not be removed.
pub fn prune(place: &Place, keep: &BTreeSet<String>) -> Result<(Vec<String>, Vec<PathBuf>), Problem> {
    let (mut removed, mut aside, mut failed) = (Vec::new(), Vec::new(), None);
    let entries =
        fs::read_dir(place.releases()).or_problem("prune-failed", || "cannot list the releases".into())?;
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if keep.contains(&id) || (id.starts_with('.') && !id.starts_with(GOING)) {
            continue;
        }
        match keep_late_files(place, &id).and_then(|late| remove(&entry.path()).map(|()| late)) {
            Ok(late) => {
                aside.extend(late);
                removed.push(id);
            }
            Err(problem) => failed = failed.or(Some(problem)),
        }
    }
    failed.map_or(Ok((removed, aside)), Err)
}

/// Removes a release directory, sealed or not; one that is gone is fine. It loses its name first:
/// nobody ever takes half a release for a whole one.
///
/// # Errors
/// `prune-failed`.
pub fn remove(dir: &Path) -> Result<(), Problem> {
    let Some(name) = dir.file_name().map(|name| name.to_string_lossy().into_owned()) else { return Ok(()) };
    if name.starts_with('.') {
        return remove_tree(dir);
    }
    let going = dir.with_file_name(format!("{GOING}{name}"));
    remove_tree(&going)?;
    if dir.symlink_metadata().is_err() {
        return Ok(());
    }
    durable::rename(dir, &going).map_err(|error| unremovable(dir, &error))?;
    fault::point("prune.after-rename");
    remove_tree(&going)
}

/// Removes a directory whatever the permissions in it, and of a link only the link; what is gone is
/// fine.
///
/// # Errors
/// `prune-failed`.
pub fn remove_tree(dir: &Path) -> Result<(), Problem> {
    let removed = dir.symlink_metadata().and_then(|meta| {
        if meta.is_dir() { open_up(dir).and_then(|()| fs::remove_dir_all(dir)) } else { fs::remove_file(dir) }
    });
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(unremovable(dir, &error)),
        _ => Ok(()),
    }
}

/// Lets us list and empty every directory: each must be opened before it can be looked into.
fn open_up(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

fn unremovable(dir: &Path, error: &io::Error) -> Problem {
    Problem::new("prune-failed", format!("cannot remove {}", dir.display()))
        .detail(error.to_string())
        .hint(format!("ls -ld {}", quoted(dir.display())))
}

/// Moves files that are newer than the release's seal to `kept/ID/`: by their time, or, since a
/// clock may have been set back, by a permission to write, which the seal takes from all of them.
fn keep_late_files(place: &Place, id: &str) -> Result<Vec<PathBuf>, Problem> {
    let dir = place.release(id);
    let Some(sealed) = sealed_at(&dir) else { return Ok(Vec::new()) };
    let is_sealed = dir.metadata().is_ok_and(|meta| meta.mode() & WRITE == 0);
    let mut kept = Vec::new();
    for entry in walkdir::WalkDir::new(&dir).into_iter().flatten().filter(|entry| entry.file_type().is_file())
    {
        let late = entry.metadata().is_ok_and(|meta| {
            (is_sealed && meta.mode() & WRITE != 0) || meta.modified().is_ok_and(|at| at > sealed)
        });
        let inside = entry.path().strip_prefix(&dir).unwrap_or(entry.path());
        if late && !is_bytecode(inside) {
            let target = place.root().join("kept").join(id).join(inside);
            create_private_dir(target.parent().unwrap_or(&dir))?;
            // A removal that was cut off may have kept it already, without the right to write.
            let _ = fs::remove_file(&target);
            copy(entry.path(), &target)
                .or_problem("prune-failed", || format!("cannot keep {}", target.display()))?;
            kept.push(target);
        }
    }
    Ok(kept)
}

/// On disk when this returns: the original goes right after.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    durable::sync_file(&fs::File::open(to)?)?;
    to.parent().map_or(Ok(()), durable::sync_dir)
}

/// When the release was sealed: the last change of the directory's own inode.
fn sealed_at(dir: &Path) -> Option<SystemTime> {
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
        set_mode(&precious, 0o555);
        set_mode(&release, 0o555);
        for doomed in ["release", "link", "gone"] {
            remove(&dir.path().join(doomed)).unwrap();
            assert!(dir.path().join(doomed).symlink_metadata().is_err());
        }
        assert!(fs::metadata(&precious).unwrap().permissions().readonly());
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "kept");
        set_mode(&precious, 0o755);
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Says nothing when root runs it: no mode keeps root out.
    #[test]
    fn a_tree_of_any_mode_is_removed_and_nothing_behind_its_links() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("note"), "").unwrap();
        fs::write(tree.join("a/b/file"), "").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        for (path, mode) in [("a/b/file", 0), ("a/b", 0o111), ("a", 0), ("", 0o500)] {
            set_mode(&tree.join(path), mode);
        }
        remove(&tree).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(outside.join("note").exists());
    }

    #[test]
    fn what_an_earlier_removal_left_goes_with_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(format!("{GOING}x"));
        fs::create_dir_all(left.join("half")).unwrap();
        fs::create_dir(dir.path().join("x")).unwrap();
        remove(&dir.path().join("x")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::create_dir_all(left.join("half")).unwrap();
        remove(&dir.path().join("x")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
