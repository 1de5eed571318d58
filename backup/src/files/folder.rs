//! A directory that stays the one it was, however the app renames and links around it: it is held
//! open, and everything in it is reached through the open directory, by one name at a time.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

/// An open directory.
#[derive(Debug)]
pub(super) struct Folder(File);

impl Folder {
    /// Opens a directory that we trust; it may be a link.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        options(OFlags::DIRECTORY).open(path).map(Self)
    }

    /// Opens the directory `relative` below this one; a link on the way is an error.
    pub(super) fn below(&self, relative: &Path) -> io::Result<Self> {
        let mut folder = Self(self.0.try_clone()?);
        for part in relative.components() {
            let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
            let open = options(OFlags::DIRECTORY | OFlags::NOFOLLOW).open(folder.path(name));
            folder = Self(open?);
        }
        Ok(folder)
    }

    /// The name as a path for the system; only the last part of it may be a link.
    pub(super) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        Path::new("/proc/self/fd").join(self.0.as_raw_fd().to_string()).join(name.as_ref())
    }

    pub(super) fn file(&self) -> &File {
        &self.0
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    /// Names in it, sorted.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let entries = fs::read_dir(self.path(""))?;
        let mut names: Vec<OsString> =
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    }

    /// What a name stands for, itself when it is a link; `None` when it is gone.
    pub(super) fn look(&self, name: &OsStr) -> io::Result<Option<Metadata>> {
        match fs::symlink_metadata(self.path(name)) {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a file for reading; never a link, and never waiting for the other end of a pipe.
    pub(super) fn read(&self, name: &OsStr) -> io::Result<File> {
        options(OFlags::NOFOLLOW | OFlags::NONBLOCK).open(self.path(name))
    }
}

fn options(flags: OFlags) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    options
}
