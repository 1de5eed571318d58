//! Brings what a survey found into a backup: links to earlier copies, or copies that are read back.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use common::backups::{FILES, FILES_INDEX, FileFacts, FurtherFacts};
use common::cli::Meter;
use common::report::{OrProblem, Problem};
use jiff::Timestamp;
use serde::Serialize;

use super::folder::Folder;
use super::survey::{Found, is_link, split, unreadable};
use super::{Entry, Index, Stock, Survey, kept, naming};
use crate::archive;

/// How often a file is read that changes meanwhile.
const TRIES: usize = 3;
const SQLITE: &[u8] = b"SQLite format 3\0";

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Collected {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files that an earlier backup keeps already.
    pub(crate) linked: u64,
    #[serde(skip)]
    pub(crate) warnings: Vec<String>,
    /// Of `files.json`.
    #[serde(skip)]
    pub(crate) index: FileFacts,
}

impl Collected {
    pub(crate) fn facts(&self) -> FurtherFacts {
        FurtherFacts { files: self.files, bytes: self.bytes }
    }
}

/// Fills `files/` and writes `files.json` in the backup that is being made, on disk when this
/// returns. What vanishes meanwhile is not there.
///
/// # Errors
/// `files-unreadable`, `state-unwritable`, `interrupted`.
pub(crate) fn collect(
    shared: &Path,
    survey: Survey,
    stock: Stock,
    draft: &Path,
) -> Result<Collected, Problem> {
    let total = survey.bytes();
    let mut work = Work { shared, draft, stock, folders: None, done: Collected::default() };
    work.done.warnings = survey.left_out;
    let mut entries = BTreeMap::new();
    let mut meter = Meter::new("files");
    make_dir(&draft.join(FILES))?;
    for (path, found) in survey.found {
        common::interrupt::check()?;
        if let Some(entry) = work.take(&path, &found)? {
            entries.insert(naming::text_of(&path), entry);
        }
        meter.update(work.done.bytes, total);
    }
    let text = serde_json::to_string_pretty(&Index { entries }).unwrap_or_default();
    let file = draft.join(FILES_INDEX);
    let title = || format!("cannot write {}", file.display());
    work.done.index = archive::write_small(&file, &text).or_problem("state-unwritable", title)?;
    common::durable::sync_tree(draft).or_problem("state-unwritable", title)?;
    Ok(work.done)
}

struct Work<'a> {
    shared: &'a Path,
    draft: &'a Path,
    stock: Stock,
    /// The directory of the file before, held open.
    folders: Option<(PathBuf, Folder)>,
    done: Collected,
}

impl Work<'_> {
    fn take(&mut self, path: &Path, found: &Found) -> Result<Option<Entry>, Problem> {
        match found {
            Found::Directory { mode } => {
                make_dir(&kept(self.draft, path))?;
                Ok(Some(Entry::Directory { mode: *mode }))
            }
            Found::Link | Found::File { .. } => {
                let (parent, name) = split(path);
                let taken = self.enter(parent).and_then(|()| self.take_from(path, name, found));
                match taken {
                    Ok(entry) => Ok(entry),
                    Err(Trouble::Ours(problem)) => Err(problem),
                    Err(Trouble::Theirs(error)) if has_vanished(&error) => Ok(None),
                    Err(Trouble::Theirs(error)) => Err(unreadable(&self.shared.join(path), &error)),
                }
            }
        }
    }

    fn enter(&mut self, parent: &Path) -> Result<(), Trouble> {
        if self.folders.as_ref().is_none_or(|(path, _)| path != parent) {
            self.folders = Some((parent.to_owned(), Folder::open(self.shared)?.below(parent)?));
        }
        Ok(())
    }

    fn take_from(&mut self, path: &Path, name: &OsStr, found: &Found) -> Result<Option<Entry>, Trouble> {
        let Some((_, folder)) = &self.folders else { return Ok(None) };
        if let Found::Link = found {
            let target = fs::read_link(folder.path(name))?;
            return Ok(Some(Entry::Link { target: naming::text_of(target) }));
        }
        let mut file = folder.read(name)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Ok(None);
        }
        if is_database(&mut file)? {
            self.warn(path, "is a database of its own: its copy is sound only if nobody writes to it");
        }
        let target = kept(self.draft, path);
        let facts = self.take_steady(&mut file, path, &target)?;
        self.done.files += 1;
        self.done.bytes += facts.size;
        let modified = Timestamp::new(meta.mtime(), i32::try_from(meta.mtime_nsec()).unwrap_or_default());
        let modified = modified.unwrap_or_default();
        Ok(Some(Entry::File { facts, mode: meta.mode() & 0o7777, modified }))
    }

    /// Takes the file as it is at one moment; one that never holds still is taken as it was read.
    fn take_steady(&mut self, file: &mut File, path: &Path, target: &Path) -> Result<FileFacts, Trouble> {
        let mut before = stamp(&file.metadata()?);
        for round in 1.. {
            let (facts, is_linked) = self.store(file, target)?;
            let after = stamp(&file.metadata()?);
            if before == after || round == TRIES {
                if before != after {
                    self.warn(path, "changed while it was read: its copy may be of no one moment");
                }
                self.done.linked += u64::from(is_linked);
                return Ok(facts);
            }
            fs::remove_file(target).or_problem("state-unwritable", || title(target))?;
            before = after;
        }
        Err(io::Error::other("it never held still").into())
    }

    /// Stores the content under `target`; whether it is a link to an earlier copy.
    fn store(&mut self, file: &mut File, target: &Path) -> Result<(FileFacts, bool), Trouble> {
        file.rewind()?;
        if self.stock.may_hold(file.metadata()?.len()) {
            let facts = archive::measure_open(&mut *file)?;
            if self.stock.link(&facts, target) {
                return Ok((facts, true));
            }
            file.rewind()?;
        }
        let (_, facts) = archive::copy_new(&mut *file, target).map_err(|error| unwritten(target, &error))?;
        let read = archive::measure(target).map_err(|error| unwritten(target, &error))?;
        if read != facts {
            return Err(Trouble::Ours(Problem::new("state-unwritable", title(target)).hint("dmesg | tail")));
        }
        self.stock.add(&facts, target.to_owned());
        Ok((facts, false))
    }

    fn warn(&mut self, path: &Path, what: &str) {
        self.done.warnings.push(format!("{} {what}", naming::shown(path)));
    }
}

/// Whose fault it is decides what becomes of the backup.
enum Trouble {
    /// The app's file: it may be gone.
    Theirs(io::Error),
    Ours(Problem),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Theirs(error)
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Ours(problem)
    }
}

fn is_database(file: &mut File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(SQLITE.len() as u64).read_to_end(&mut head)?;
    Ok(head == SQLITE)
}

/// What changes when a file does: size, time of its content, time of its inode.
fn stamp(meta: &Metadata) -> (u64, i64, i64, i64, i64) {
    (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
}

fn has_vanished(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || is_link(error)
}

fn make_dir(dir: &Path) -> Result<(), Problem> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).or_problem("state-unwritable", || title(dir))
}

fn unwritten(target: &Path, error: &io::Error) -> Problem {
    Problem::new("state-unwritable", title(target)).detail(error.to_string())
}

fn title(target: &Path) -> String {
    format!("cannot write {}", target.display())
}
