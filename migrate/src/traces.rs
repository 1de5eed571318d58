//! What every change leaves behind in the file system, in one hash: of each file its place, inode,
//! size and times, of each directory its names, of a database also what is beside it.
//!
//! The time of the last change of an inode can be set by nobody but the kernel, so an edit shows
//! whatever is done to the other time. It is fine enough only when it is past: within the same tick
//! a second change looks like the first, so what changed just now has no traces to go by.

use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use common::database::with_suffix;
use rustix::fs::{FsWord, statfs};
use sha2::{Digest, Sha256};

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
/// So many entries of a directory are not worth a thread.
const FEW: usize = 256;

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
                self.inode(&meta);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => self.digest.update([0]),
            Err(_) => self.is_settled = false,
        }
    }

    /// A directory with everything below it, or that there is none. What a link in it leads to
    /// could be anywhere. Not looked at where it could change nothing any more.
    pub(crate) fn tree(&mut self, dir: &Path) {
        self.file(dir);
        if !self.is_settled {
            return;
        }
        let list = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        match list {
            Ok(entries) => self.entries(&entries),
            Err(error) => self.is_settled &= error.kind() == ErrorKind::NotFound,
        }
    }

    /// In the order of the directory, which stays the same as long as it does; many of them on all
    /// cores, since the kernel is asked about each.
    fn entries(&mut self, entries: &[DirEntry]) {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let mut chunks = entries.chunks(FEW.max(entries.len().div_ceil(cores)));
        let (this, first) = (&*self, chunks.next().unwrap_or_default());
        let parts = thread::scope(|scope| {
            let begin = |chunk| thread::Builder::new().spawn_scoped(scope, move || this.part(chunk));
            let others: Vec<_> = chunks.map(begin).collect();
            let mut parts = vec![Some(this.part(first))];
            parts.extend(others.into_iter().map(|other| other.ok()?.join().ok()));
            parts
        });
        for part in parts {
            self.is_settled &= part.as_ref().is_some_and(|part| part.is_settled);
            self.word(&part.map(|part| part.digest.finalize()).unwrap_or_default());
        }
    }

    fn part(&self, entries: &[DirEntry]) -> Self {
        let mut part = Self { digest: Sha256::new(), devices: self.devices.clone(), ..*self };
        for entry in entries {
            if !part.is_settled {
                break;
            }
            part.entry(entry);
        }
        part
    }

    fn entry(&mut self, entry: &DirEntry) {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => self.tree(&entry.path()),
            Ok(meta) if meta.is_file() => {
                self.word(entry.file_name().as_bytes());
                self.inode(&meta);
            }
            _ => self.is_settled = false,
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

    fn inode(&mut self, meta: &Metadata) {
        self.digest.update([1]);
        self.numbers([meta.dev(), meta.ino(), meta.size()]);
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        self.numbers(times.map(i64::cast_unsigned));
        let changed_ns = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
        self.is_settled &= changed_ns + TICK_NS <= self.now_ns && self.devices.contains(&meta.dev());
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
mod tests {
    use std::collections::BTreeMap;
    use std::fs::FileTimes;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use common::durable;
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    #[derive(Debug, Clone)]
    enum Edit {
        Write(usize, u8),
        /// With the time of before.
        Forge(usize, u8),
        Rename(usize, usize),
        Remove(usize),
        Insert,
        Delete,
        Restore,
        Nothing,
    }

    const NAMES: [&str; 4] = ["1.sql", "2.sql", "sub/up.sql", "sub/down.sql"];

    fn edits() -> impl Strategy<Value = Vec<Edit>> {
        let (name, byte) = (0..NAMES.len(), b'a'..b'c');
        let edit = prop_oneof![
            (name.clone(), byte.clone()).prop_map(|(name, byte)| Edit::Write(name, byte)),
            (name.clone(), byte).prop_map(|(name, byte)| Edit::Forge(name, byte)),
            (name.clone(), name.clone()).prop_map(|(from, to)| Edit::Rename(from, to)),
            name.prop_map(Edit::Remove),
            Just(Edit::Insert),
            Just(Edit::Delete),
            Just(Edit::Restore),
            Just(Edit::Nothing),
        ];
        prop::collection::vec(edit, 1..8)
    }

    fn change(dir: &Path, edit: &Edit) {
        let path = |name: usize| dir.join("migrations").join(NAMES[name]);
        let sql = |text: &str| Connection::open(dir.join("app.db")).unwrap().execute_batch(text).unwrap();
        match edit {
            Edit::Write(name, byte) => fs::write(path(*name), [*byte]).unwrap(),
            Edit::Forge(name, byte) => {
                let before = fs::metadata(path(*name)).and_then(|meta| meta.modified());
                fs::write(path(*name), [*byte]).unwrap();
                let file = File::options().write(true).open(path(*name)).unwrap();
                let set = before.map(|time| file.set_times(FileTimes::new().set_modified(time)));
                drop(set);
            }
            Edit::Rename(from, to) => drop(durable::rename_for_now(&path(*from), &path(*to))),
            Edit::Remove(name) => drop(fs::remove_file(path(*name))),
            Edit::Insert => sql("INSERT INTO t VALUES (1)"),
            Edit::Delete => sql("DELETE FROM t"),
            Edit::Restore => drop(fs::copy(dir.join("empty.db"), dir.join("app.db")).unwrap()),
            Edit::Nothing => {}
        }
    }

    /// Waits until the clock of the file system has gone on.
    fn tick(dir: &Path) {
        let time = || {
            fs::write(dir.join("probe"), "").unwrap();
            let meta = fs::metadata(dir.join("probe")).unwrap();
            (meta.ctime(), meta.ctime_nsec())
        };
        let begun = time();
        while time() == begun {}
    }

    fn traces(dir: &Path) -> String {
        let mut traces = Traces::at(i128::MAX, &[]);
        traces.tree(&dir.join("migrations"));
        traces.database(&dir.join("app.db"));
        traces.end().unwrap()
    }

    /// All that is read from there.
    fn content(dir: &Path) -> (BTreeMap<PathBuf, Vec<u8>>, i64) {
        let files = NAMES.iter().map(|name| dir.join("migrations").join(name));
        let files = files.filter_map(|file| Some((file.clone(), fs::read(file).ok()?))).collect();
        let db = Connection::open(dir.join("app.db")).unwrap();
        (files, db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Whatever is done to files and database, and however much of it is undone.
        #[test]
        fn the_same_traces_mean_the_same_content(edits in edits()) {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("migrations/sub")).unwrap();
            for database in ["app.db", "empty.db"] {
                Connection::open(dir.path().join(database)).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
            }
            let mut seen = vec![(traces(dir.path()), content(dir.path()))];
            for edit in &edits {
                tick(dir.path());
                change(dir.path(), edit);
                let now = (traces(dir.path()), content(dir.path()));
                if matches!(edit, Edit::Nothing) {
                    prop_assert_eq!(&seen.last().unwrap().0, &now.0);
                }
                for (traces, content) in &seen {
                    prop_assert!(*traces != now.0 || *content == now.1, "{:?}", edits);
                }
                seen.push(now);
            }
        }
    }

    #[test]
    fn what_could_change_again_unseen_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("1.sql"), dir.path().join("2.sql"));
        let of = |at: i128| {
            let mut traces = Traces::at(at, &["dev"]);
            traces.tree(dir.path());
            traces.end()
        };
        fs::write(&file, "SELECT 1").unwrap();
        let meta = fs::metadata(dir.path()).unwrap();
        let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
        assert_eq!(of(changed), None);
        assert_eq!(of(changed + TICK_NS - 1), None);
        let later = of(changed + 2 * TICK_NS);
        assert!(later.is_some());
        assert_eq!(of(i128::MAX), later);
        symlink(&file, link).unwrap();
        assert_eq!(of(i128::MAX), None, "nobody watches where it leads");
        let mut traces = Traces::at(i128::MAX, &[]);
        traces.database(&dir.path().join("none.db"));
        assert_eq!(traces.end(), None);
        let mut traces = Traces::at(i128::MAX, &[]);
        traces.file(Path::new("/proc/version"));
        assert_eq!(traces.end(), None, "not a file system that keeps times");
    }
}
