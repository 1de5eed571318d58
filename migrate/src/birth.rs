//! Makes the database file and its directories for the first migration, and takes them away again
//! when that fails: nothing remains that was not there.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use common::database::files_of;
use common::layout::create_private_dir;
use common::report::{OrProblem, Problem};

/// What was made; dropped without [`Birth::keep`], it is removed.
pub(crate) struct Birth {
    file: Option<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Birth {
    /// Makes `path` (0600, empty) unless it exists.
    ///
    /// # Errors
    /// `state-unwritable`.
    pub(crate) fn ensure(path: &Path) -> Result<Self, Problem> {
        let mut birth = Self { file: None, directories: Vec::new() };
        if path.exists() {
            return Ok(birth);
        }
        if let Some(parent) = path.parent() {
            birth.directories =
                parent.ancestors().take_while(|dir| !dir.exists()).map(Path::to_path_buf).collect();
            create_private_dir(parent)?;
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .or_problem("state-unwritable", || format!("cannot make the database {}", path.display()))?;
        birth.file = Some(path.to_path_buf());
        Ok(birth)
    }

    /// The database has its first content and stays.
    pub(crate) fn keep(mut self) {
        self.file = None;
        self.directories.clear();
    }
}

impl Drop for Birth {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            for name in files_of(file).iter().rev() {
                let _ = fs::remove_file(name);
            }
        }
        for dir in &self.directories {
            let _ = fs::remove_dir(dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_what_was_made_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/app.db");
        drop(Birth::ensure(&path).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        Birth::ensure(&path).unwrap().keep();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(Birth::ensure(&path).unwrap());
        assert!(path.exists());
    }
}
