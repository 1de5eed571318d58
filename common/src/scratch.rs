//! A private directory for copies of a database, removed when it is let go; what a killed one left behind is
//! removed by the next. A kernel lock on the directory itself tells the two apart.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{Builder, TempDir};

use crate::report::{OrProblem, Problem};

const PREFIX: &str = "scratch-";
/// Younger ones may not have taken their lock yet.
const SETTLED: Duration = Duration::from_secs(60);

/// The directory, 0700.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes a new directory in `root`.
    ///
    /// # Errors
    /// `state-unwritable`.
    pub fn make(root: &Path) -> Result<Self, Problem> {
        sweep(root, SETTLED);
        let unwritable = || format!("cannot make a directory in {}", root.display());
        let dir = Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(root)
            .or_problem("state-unwritable", unwritable)?;
        let lock = File::open(dir.path()).or_problem("state-unwritable", unwritable)?;
        lock.lock().or_problem("state-unwritable", unwritable)?;
        Ok(Self { dir, _lock: lock })
    }

    /// The directory's own path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn sweep(root: &Path, settled: Duration) {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        let unused = || File::open(entry.path()).is_ok_and(|dir| dir.try_lock().is_ok());
        if age.is_some_and(|age| age >= settled) && unused() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let used = Scratch::make(root.path()).unwrap();
        let stale = root.path().join("scratch-old");
        fs::create_dir(&stale).unwrap();
        fs::write(stale.join("copy.db"), "x").unwrap();
        fs::create_dir(root.path().join("releases")).unwrap();
        sweep(root.path(), Duration::ZERO);
        assert!(!stale.exists() && used.dir.path().exists() && root.path().join("releases").exists());
        let path = used.dir.path().to_path_buf();
        drop(used);
        assert!(!path.exists());
    }
}
