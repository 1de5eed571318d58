//! All files of a directory, looked at by two: a thread that begins at once, and the caller when it
//! has nothing else to do any more.
//!
//! The kernel is asked about each file, which takes longer than all the rest of a run without work.
//! Whoever comes first lists the directory; then both take names, a few at a time, until none is left.

use std::ffi::CStr;
use std::iter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, StatxFlags, makedev, openat, statx};
use rustix::io::{self, Errno};
use rustix::path::Arg;
use sha2::{Digest, Sha256};

use super::Traces;
use crate::cores;

/// So many names are taken at once.
const FEW: usize = 64;
/// Room for what the kernel tells of a directory at once, in bytes.
const ROOM: usize = 32 * 1024;

/// A directory that is being looked at.
pub(crate) struct Walk {
    shared: Arc<Shared>,
    other: Option<JoinHandle<Vec<Part>>>,
}

struct Shared {
    dir: PathBuf,
    /// What parts begin with.
    traces: Traces,
    list: OnceLock<io::Result<List>>,
    next: AtomicUsize,
}

/// The how-manieth, and its traces.
type Part = (usize, Traces);

impl Walk {
    /// Begins to look at a directory with everything below it. What a link in it leads to could be
    /// anywhere.
    pub(crate) fn begin(mut traces: Traces, dir: PathBuf) -> Self {
        traces.file(&dir);
        let shared = Arc::new(Shared { dir, traces, list: OnceLock::new(), next: AtomicUsize::new(0) });
        // Otherwise there is nothing to do for anybody.
        let other = if shared.traces.is_settled {
            let theirs = Arc::clone(&shared);
            thread::Builder::new().spawn(move || theirs.work()).ok()
        } else {
            None
        };
        if other.is_some() {
            cores::step_aside();
        }
        Self { shared, other }
    }

    /// Helps with what is left, and gives the traces of all.
    pub(crate) fn end(self) -> Traces {
        let mut parts = self.shared.work();
        let theirs = self.other.map_or(Ok(Vec::new()), JoinHandle::join);
        let mut traces = self.shared.traces.clone();
        match self.shared.list.get() {
            Some(Ok(_) | Err(Errno::NOENT)) => {}
            _ => traces.is_settled = false,
        }
        traces.is_settled &= theirs.is_ok();
        parts.extend(theirs.unwrap_or_default());
        parts.sort_unstable_by_key(|(number, _)| *number);
        for (_, part) in parts {
            traces.is_settled &= part.is_settled;
            traces.word(&part.digest.finalize());
        }
        traces
    }
}

impl Shared {
    fn work(&self) -> Vec<Part> {
        if !self.traces.is_settled {
            return Vec::new();
        }
        let Ok(list) = self.list.get_or_init(|| List::read(CWD.as_fd(), &self.dir)) else {
            return Vec::new();
        };
        let numbers = iter::from_fn(|| Some(self.next.fetch_add(1, Ordering::Relaxed)));
        numbers
            .map_while(|number| list.few(number).map(|names| (number, self.traces.part(&list.dir, names))))
            .collect()
    }
}

/// The names in a directory, in its order, which stays the same as long as it does.
struct List {
    dir: OwnedFd,
    /// Each with its NUL.
    names: Vec<u8>,
    /// Where each few of them begin.
    starts: Vec<usize>,
}

impl List {
    fn read(parent: BorrowedFd<'_>, name: impl Arg) -> io::Result<Self> {
        let dir = openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let (mut names, mut starts, mut count) = (Vec::new(), Vec::new(), 0_usize);
        let mut room = Vec::with_capacity(ROOM);
        let mut entries = RawDir::new(&dir, room.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if count.is_multiple_of(FEW) {
                starts.push(names.len());
            }
            count += 1;
            names.extend_from_slice(name.to_bytes_with_nul());
        }
        Ok(Self { dir, names, starts })
    }

    fn few(&self, number: usize) -> Option<&[u8]> {
        let end = self.starts.get(number + 1).copied().unwrap_or(self.names.len());
        self.starts.get(number).map(|start| &self.names[*start..end])
    }
}

impl Traces {
    fn part(&self, dir: &OwnedFd, names: &[u8]) -> Self {
        let mut part = Self { digest: Sha256::new(), devices: self.devices.clone(), ..*self };
        part.entries(dir.as_fd(), names);
        part
    }

    /// Not looked at where it could change nothing any more.
    fn entries(&mut self, dir: BorrowedFd<'_>, names: &[u8]) {
        let names =
            names.split_inclusive(|byte| *byte == 0).map_while(|name| CStr::from_bytes_with_nul(name).ok());
        for name in names {
            if !self.is_settled {
                return;
            }
            self.word(name.to_bytes());
            self.is_settled &= self.entry(dir, name).is_ok();
        }
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let facts = statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
        let device = makedev(facts.stx_dev_major, facts.stx_dev_minor);
        let (changed, modified) = (facts.stx_ctime, facts.stx_mtime);
        self.inode(
            [device, facts.stx_ino, facts.stx_size],
            [(modified.tv_sec, modified.tv_nsec.into()), (changed.tv_sec, changed.tv_nsec.into())],
        );
        match FileType::from_raw_mode(facts.stx_mode.into()) {
            FileType::RegularFile => Ok(()),
            FileType::Directory => {
                let list = List::read(dir, name)?;
                self.entries(list.dir.as_fd(), &list.names);
                Ok(())
            }
            _ => Err(Errno::LOOP),
        }
    }
}
