//! What every change leaves behind in the file system, in one hash: of each file its place, inode,
//! size and times, of each directory its names, of a database also what is beside it.
//!
//! The time of the last change of an inode can be set by nobody but the kernel, so an edit shows
//! whatever is done to the other time. It is fine enough only when it is past: within the same tick
//! a second change looks like the first, so what changed just now has no traces to go by.

mod walk;

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use common::database::with_suffix;
use rustix::fs::{FsWord, statfs};
use sha2::{Digest, Sha256};

pub(crate) use walk::Walk;

/// Coarser than the times of any file system that is in use.
const TICK_NS: i128 = 2_000_000_000;
/// A power cut may take content and leave the times.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// The two copies of the header with which SQLite publishes a commit in WAL mode.
const SHARED_HEADER: u64 = 96;
/// File systems that only this host writes to (ext, XFS, Btrfs, F2FS, ZFS, bcachefs, tmpfs, overlay):
/// what others change may be told late.
const LOCAL: [FsWord; 8] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x2FC1_2FC1, 0xCA45_1A4E, 0x0102_1994, 0x794C_7630];

#[derive(Clone)]
pub(crate) struct Traces {
    digest: Sha256,
    now_ns: i128,
    /// Those that are known to be local.
    devices: Vec<u64>,
    is_settled: bool,
}

impl Traces {
    /// Begins with what the files are looked at for.
    pub(crate) fn begin(words: &[&str]) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Self::at(i128::try_from(now).unwrap_or(0), words)
    }

    fn at(now_ns: i128, words: &[&str]) -> Self {
        let boot = fs::read(BOOT);
        let mut traces =
            Self { digest: Sha256::new(), now_ns, devices: Vec::new(), is_settled: boot.is_ok() };
        traces.word(&boot.unwrap_or_default());
        for word in words {
            traces.word(word.as_bytes());
        }
        traces
    }

    /// A file, or that there is none.
    pub(crate) fn file(&mut self, path: &Path) {
        self.word(path.as_os_str().as_bytes());
        match fs::metadata(path) {
            Ok(meta) => {
                if !self.devices.contains(&meta.dev()) && is_local(path) {
                    self.devices.push(meta.dev());
                }
                let changed = (meta.ctime(), meta.ctime_nsec());
                self.inode(
                    [meta.dev(), meta.ino(), meta.size()],
                    [(meta.mtime(), meta.mtime_nsec()), changed],
                );
            }
            Err(error) if error.kind() == ErrorKind::NotFound => self.digest.update([0]),
            Err(_) => self.is_settled = false,
        }
    }

    /// A database with its journals. Only to be called while this process has it closed: closing a
    /// file gives up all locks that SQLite has on it.
    pub(crate) fn database(&mut self, path: &Path) {
        // SQLite looks for journals beside what a link leads to.
        let Ok(path) = path.canonicalize() else {
            self.is_settled = false;
            return;
        };
        self.file(&path);
        self.file(&with_suffix(&path, "-journal"));
        match fs::metadata(with_suffix(&path, "-wal")) {
            Ok(meta) => self.log(&meta, &with_suffix(&path, "-shm")),
            Err(error) => self.is_settled &= error.kind() == ErrorKind::NotFound,
        }
    }

    /// In WAL mode a commit stands in the file before readers see it; what publishes it is another
    /// header beside it, with a checksum of all that it publishes. The last change of the file itself
    /// tells nothing: whoever opens it as root gives it to the owner of the database.
    fn log(&mut self, meta: &Metadata, shared: &Path) {
        match head(shared) {
            Ok(header) => self.word(&header),
            Err(_) => self.is_settled = false,
        }
        self.numbers([meta.dev(), meta.ino(), meta.size()]);
        self.numbers([meta.mtime(), meta.mtime_nsec()].map(i64::cast_unsigned));
    }

    /// The hash; `None` when a later change could leave the same.
    pub(crate) fn end(self) -> Option<String> {
        self.is_settled.then(|| common::hex(&self.digest.finalize()))
    }

    /// Device, inode number and size; last change of the content and of the inode, in seconds and the
    /// nanoseconds after them.
    fn inode(&mut self, facts: [u64; 3], times: [(i64, i64); 2]) {
        self.digest.update([1]);
        self.numbers(facts);
        for (seconds, nanoseconds) in times {
            self.numbers([seconds, nanoseconds].map(i64::cast_unsigned));
        }
        let [_, (seconds, nanoseconds)] = times;
        let changed_ns = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        self.is_settled &= changed_ns + TICK_NS <= self.now_ns && self.devices.contains(&facts[0]);
    }

    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        for number in numbers {
            self.digest.update(number.to_le_bytes());
        }
    }

    /// With its length, so that two words are never taken for one.
    fn word(&mut self, bytes: &[u8]) {
        self.digest.update((bytes.len() as u64).to_le_bytes());
        self.digest.update(bytes);
    }
}

fn is_local(path: &Path) -> bool {
    statfs(path).is_ok_and(|facts| LOCAL.contains(&facts.f_type))
}

fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SHARED_HEADER).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
