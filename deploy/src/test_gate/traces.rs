//! What a test run leaves in the release directory: data of coverage and caches must not be served,
//! nor become the first content of a shared path.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::release;
use common::report::{OrProblem, Problem, quoted};
use walkdir::{DirEntry, WalkDir};

const NAMED: usize = 10;

/// How a file looked: mode, inode, size, time of the last change of its content.
type Stamp = (u32, u64, u64, i64, i64);

/// A release directory as its build left it.
pub(super) struct Inventory {
    dir: PathBuf,
    stamps: HashMap<PathBuf, Stamp>,
}

impl Inventory {
    /// # Errors
    /// `release-changed`: the directory cannot be read.
    pub(super) fn take(dir: &Path) -> Result<Self, Problem> {
        let mut stamps = HashMap::new();
        for entry in WalkDir::new(dir).min_depth(1) {
            let (path, stamp) = entry
                .map_err(|error| error.to_string())
                .and_then(|entry| look(dir, &entry))
                .map_err(unlooked)?;
            stamps.insert(path, stamp);
        }
        Ok(Self { dir: dir.to_owned(), stamps })
    }

    /// Removes what is new; gives how many files and directories that were. What the build made
    /// may have changed, such as its caches; files of the revision may not.
    ///
    /// # Errors
    /// `release-changed`, naming files of the revision that are not as they were.
    pub(super) fn restore(mut self, of_revision: &BTreeSet<PathBuf>) -> Result<u64, Problem> {
        let (mut removed, mut changed) = (0, Vec::new());
        let mut walk = WalkDir::new(&self.dir).min_depth(1).into_iter();
        while let Some(entry) = walk.next() {
            let entry = entry.map_err(|error| unlooked(error.to_string()))?;
            let (path, stamp) = look(&self.dir, &entry).map_err(unlooked)?;
            match self.stamps.remove(&path) {
                None => {
                    if entry.file_type().is_dir() {
                        walk.skip_current_dir();
                    }
                    remove(&entry)?;
                    removed += 1;
                }
                Some(before) if before != stamp && of_revision.contains(&path) => changed.push(path),
                Some(_) => {}
            }
        }
        changed.extend(self.stamps.into_keys().filter(|path| of_revision.contains(path)));
        if changed.is_empty() { Ok(removed) } else { Err(refuse(changed)) }
    }
}

fn look(dir: &Path, entry: &DirEntry) -> Result<(PathBuf, Stamp), String> {
    let meta = fs::symlink_metadata(entry.path()).map_err(|error| error.to_string())?;
    let path = entry.path().strip_prefix(dir).unwrap_or(entry.path()).to_owned();
    Ok((path, (meta.mode(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec())))
}

fn remove(entry: &DirEntry) -> Result<(), Problem> {
    if entry.file_type().is_dir() {
        return release::remove_tree(entry.path());
    }
    fs::remove_file(entry.path())
        .or_problem("release-changed", || {
            format!("cannot remove {}, which the tests wrote", entry.path().display())
        })
        .map_err(|problem| problem.hint(format!("ls -ld {}", quoted(entry.path().display()))))
}

fn unlooked(why: String) -> Problem {
    Problem::new("release-changed", "cannot tell what the tests changed in the release")
        .detail(why)
        .hint("git status --short --ignored   # after running app.test here")
}

fn refuse(mut changed: Vec<PathBuf>) -> Problem {
    changed.sort();
    let mut lines: Vec<String> = changed.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    lines.extend((changed.len() > NAMED).then(|| format!("… {} files in all", changed.len())));
    Problem::new("release-changed", "the app's tests changed files of the revision")
        .detail(lines.join("\n"))
        .hint("git status --short   # after running app.test here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_new_goes_and_what_the_build_made_may_change() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("venv")).unwrap();
        fs::write(at("venv/cache"), "1").unwrap();
        fs::write(at("app.py"), "").unwrap();
        let inventory = Inventory::take(dir.path()).unwrap();
        fs::write(at("venv/cache"), "22").unwrap();
        fs::write(at(".coverage"), "").unwrap();
        fs::create_dir_all(at("htmlcov/deep")).unwrap();
        fs::write(at("htmlcov/deep/index.html"), "").unwrap();
        symlink("/etc", at("venv/link")).unwrap();
        assert_eq!(inventory.restore(&BTreeSet::from(["app.py".into()])).unwrap(), 3);
        let left: BTreeSet<_> = WalkDir::new(dir.path())
            .min_depth(1)
            .into_iter()
            .map(|entry| entry.unwrap().path().strip_prefix(dir.path()).unwrap().to_owned())
            .collect();
        assert_eq!(left, BTreeSet::from(["app.py".into(), "venv".into(), "venv/cache".into()]));
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn changed_and_vanished_files_of_the_revision_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(name), "1").unwrap();
        }
        let inventory = Inventory::take(dir.path()).unwrap();
        fs::write(dir.path().join("a"), "22").unwrap();
        fs::remove_file(dir.path().join("b")).unwrap();
        let problem = inventory.restore(&["a", "b", "c"].map(PathBuf::from).into()).unwrap_err();
        assert_eq!((problem.kind.as_str(), problem.detail.as_deref()), ("release-changed", Some("a\nb")));
    }
}
