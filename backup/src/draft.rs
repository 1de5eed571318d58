//! A backup that is being made: a private directory that becomes a backup in one rename, or
//! vanishes.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use common::backups::{Backup, Manifest};
use common::durable;
use common::layout::Place;
use common::report::{OrProblem, Problem, now};

use crate::site::DRAFT;

pub(crate) struct Draft {
    pub(crate) id: String,
    pub(crate) directory: PathBuf,
    root: PathBuf,
    published: bool,
}

impl Draft {
    /// Makes the directory under an id that no backup has; only under the lock.
    ///
    /// # Errors
    /// `state-unwritable`.
    pub(crate) fn begin(place: &Place) -> Result<Self, Problem> {
        let root = place.backups();
        let stamp = now().strftime("%Y-%m-%d_%H-%M-%S").to_string();
        let title = || format!("cannot make a directory in {}", root.display());
        for number in used(&root, &stamp).or_problem("state-unwritable", title)? + 1.. {
            let id = if number == 1 { stamp.clone() } else { format!("{stamp}-{number}") };
            let directory = root.join(format!("{DRAFT}{id}"));
            match DirBuilder::new().mode(0o700).create(&directory) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => {
                    made.or_problem("state-unwritable", title)?;
                    return Ok(Self { id, directory, root, published: false });
                }
            }
        }
        Err(Problem::new("state-unwritable", title()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes the manifest and makes the directory a backup; on disk when this returns.
    ///
    /// # Errors
    /// `state-unwritable`.
    pub(crate) fn publish(mut self, manifest: Manifest) -> Result<Backup, Problem> {
        let title = || format!("cannot finish {}", self.directory.display());
        manifest.write(&self.directory)?;
        let directory = self.root.join(&self.id);
        durable::rename(&self.directory, &directory).or_problem("state-unwritable", title)?;
        self.published = true;
        Ok(Backup { directory, manifest })
    }
}

/// The highest number in use of this second: the name of one that is gone is not given again, since
/// a copy of it may lie elsewhere.
fn used(root: &Path, stamp: &str) -> std::io::Result<u32> {
    let mut highest = 0;
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = match name.strip_prefix(stamp) {
            Some("") => Some(1),
            Some(rest) => rest.strip_prefix('-').and_then(|number| number.parse().ok()),
            None => None,
        };
        highest = highest.max(number.unwrap_or(0));
    }
    Ok(highest)
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}
