//! The open descriptors of every process we may look at.
//!
//! Read through one directory descriptor per process: a host has thousands of descriptors, and a
//! full path lookup for each would be most of the time.

use std::ffi::{CStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, open, readlinkat, statat};

/// Holds sockets for others to take over.
const INIT: u32 = 1;

/// One open descriptor of one process.
pub(super) struct Descriptor<'a> {
    pub(super) pid: u32,
    directory: &'a OwnedFd,
    name: &'a CStr,
    target: &'a [u8],
}

impl Descriptor<'_> {
    /// The inode, when it is a socket.
    pub(super) fn socket_inode(&self) -> Option<u64> {
        let number = self.target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
        std::str::from_utf8(number).ok()?.parse().ok()
    }

    /// The path, when it has one.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.target.starts_with(b"/").then(|| PathBuf::from(OsString::from_vec(self.target.to_vec())))
    }

    /// Whether it is the file with that device and inode.
    pub(super) fn is_file(&self, device: u64, inode: u64) -> bool {
        self.target.starts_with(b"/")
            && statat(self.directory, self.name, AtFlags::empty())
                .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (device, inode))
    }
}

/// Shows `see` every descriptor of every process but pid 1; those we may not look at are passed
/// over, and so are processes that end meanwhile.
pub(super) fn visit(mut see: impl FnMut(&Descriptor<'_>)) -> io::Result<()> {
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid.filter(|pid| *pid != INIT) {
            let _ = visit_process(pid, &mut see);
        }
    }
    Ok(())
}

/// Shows `see` every descriptor of one process.
pub(super) fn visit_process(pid: u32, see: &mut impl FnMut(&Descriptor<'_>)) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(format!("/proc/{pid}/fd"), flags, Mode::empty())?;
    let mut target = Vec::new();
    for entry in Dir::read_from(directory.as_fd())? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes().starts_with(b".") {
            continue;
        }
        let Ok(link) = readlinkat(&directory, name, target) else {
            target = Vec::new();
            continue;
        };
        see(&Descriptor { pid, directory: &directory, name, target: link.as_bytes() });
        target = link.into_bytes();
    }
    Ok(())
}
