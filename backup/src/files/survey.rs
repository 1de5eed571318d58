//! What `backups.files` names, as it stands now: directories, files, links, and what is left out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use common::database::files_of;
use common::report::{Problem, quoted};

use super::Stock;
use super::folder::Folder;
use super::naming::shown;
use super::placing::is_draft;
use crate::site::Site;

/// What one name stands for.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    File { size: u64 },
    Link,
    Directory { mode: u32 },
}

/// Everything that is named, parents first, by path below the shared directory.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) found: BTreeMap<PathBuf, Found>,
    /// What is not backed up, and why.
    pub(crate) left_out: Vec<String>,
}

impl Survey {
    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.sizes().sum()
    }

    /// Bytes of the files that are not of the size of a kept one.
    pub(crate) fn bytes_beyond(&self, stock: &Stock) -> u64 {
        self.sizes().filter(|size| !stock.may_hold(*size)).sum()
    }

    fn sizes(&self) -> impl Iterator<Item = u64> {
        self.found.values().map(|found| if let Found::File { size } = found { *size } else { 0 })
    }
}

/// Walks what the configuration names; the database and its log are left to SQLite.
///
/// # Errors
/// `files-unreadable`; `files-outside`: a link on the way leads out of the shared directory.
pub(crate) fn survey(site: &Site<'_>) -> Result<Survey, Problem> {
    let mut walk = Walk { site, database: database_files(site), survey: Survey::default() };
    if site.settings.backups.files.is_empty() {
        return Ok(walk.survey);
    }
    let shared =
        Folder::open(&site.place.shared()).map_err(|error| walk.unreadable(Path::new(""), &error))?;
    for named in &site.settings.backups.files {
        walk.enter(&shared, named)?;
    }
    Ok(walk.survey)
}

struct Walk<'a> {
    site: &'a Site<'a>,
    database: Vec<(u64, u64)>,
    survey: Survey,
}

impl Walk<'_> {
    fn enter(&mut self, shared: &Folder, named: &Path) -> Result<(), Problem> {
        let (parent, name) = split(named);
        let folder = match shared.below(parent) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.leave_out(named, "is not there");
                return Ok(());
            }
            Err(error) if is_link(&error) => return Err(self.outside(parent)),
            Err(error) => return Err(self.unreadable(parent, &error)),
        };
        match folder.look(name).map_err(|error| self.unreadable(named, &error))? {
            None => self.leave_out(named, "is not there"),
            Some(meta) if meta.is_symlink() => return Err(self.outside(named)),
            Some(meta) => {
                self.add_parents(shared, parent)?;
                self.visit(&folder, name, named, &meta)?;
            }
        }
        Ok(())
    }

    fn add_parents(&mut self, shared: &Folder, parent: &Path) -> Result<(), Problem> {
        for above in parent.ancestors().filter(|above| !above.as_os_str().is_empty()) {
            let meta = shared.below(above).and_then(|folder| folder.metadata());
            let mode = meta.map_err(|error| self.unreadable(above, &error))?.mode() & 0o7777;
            self.survey.found.insert(above.to_owned(), Found::Directory { mode });
        }
        Ok(())
    }

    fn visit(&mut self, folder: &Folder, name: &OsStr, path: &Path, meta: &Metadata) -> Result<(), Problem> {
        common::interrupt::check()?;
        if self.database.contains(&(meta.dev(), meta.ino())) || is_draft(name) {
            return Ok(());
        }
        let found = match meta.file_type() {
            kind if kind.is_file() => Found::File { size: meta.len() },
            kind if kind.is_symlink() => Found::Link,
            kind if kind.is_dir() => Found::Directory { mode: meta.mode() & 0o7777 },
            kind => {
                self.leave_out(path, special(kind));
                return Ok(());
            }
        };
        self.survey.found.insert(path.to_owned(), found);
        if meta.is_dir() { self.descend(folder, name, path) } else { Ok(()) }
    }

    fn descend(&mut self, folder: &Folder, name: &OsStr, path: &Path) -> Result<(), Problem> {
        let inner = match folder.below(Path::new(name)) {
            Ok(inner) => inner,
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_link(&error) => return Ok(()),
            Err(error) => return Err(self.unreadable(path, &error)),
        };
        for name in inner.names().map_err(|error| self.unreadable(path, &error))? {
            let below = path.join(&name);
            if let Some(meta) = inner.look(&name).map_err(|error| self.unreadable(&below, &error))? {
                self.visit(&inner, &name, &below, &meta)?;
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &Path, why: &str) {
        self.survey.left_out.push(format!("{} is not backed up: it {why}", shown(path)));
    }

    fn outside(&self, path: &Path) -> Problem {
        let full = self.site.place.shared().join(path);
        Problem::new("files-outside", format!("{} is a link, and may lead anywhere", full.display()))
            .detail("backups.files takes what really lies in the shared directory")
            .hint(format!("ls -ld {}", quoted(full.display())))
    }

    fn unreadable(&self, path: &Path, error: &io::Error) -> Problem {
        unreadable(&self.site.place.shared().join(path), error)
    }
}

pub(super) fn unreadable(file: &Path, error: &io::Error) -> Problem {
    Problem::new("files-unreadable", format!("cannot read {}", file.display()))
        .detail(error.to_string())
        .hint(format!("ls -ld {}", quoted(file.display())))
}

/// The directory and the name in it.
pub(super) fn split(path: &Path) -> (&Path, &OsStr) {
    (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default())
}

/// Whether a path could not be followed because something on the way is no directory.
pub(super) fn is_link(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

fn special(kind: FileType) -> &'static str {
    if kind.is_socket() {
        "is a socket"
    } else if kind.is_fifo() {
        "is a pipe"
    } else {
        "is a device"
    }
}

/// The files of the live database, by device and inode.
pub(super) fn database_files(site: &Site<'_>) -> Vec<(u64, u64)> {
    let files = site.database().map(|database| files_of(&database)).unwrap_or_default();
    let metas = files.iter().filter_map(|file| fs::metadata(file).ok());
    metas.map(|meta| (meta.dev(), meta.ino())).collect()
}
