//! Puts further files back. Nothing of the app's is ever overwritten: a file that differs changes
//! places with the one from the backup at one moment and stays beside it as `NAME.aside-TIME`;
//! files that the backup does not know stay where they are.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use common::backups::Backup;
use common::durable;
use common::report::{Problem, quoted};
use sha2::{Digest, Sha256};

use super::folder::Folder;
use super::survey::{database_files, split};
use super::{Entry, Index, kept, naming};
use crate::archive;
use crate::site::Site;

const DRAFT: &str = ".restoring";

/// How an entry differs from what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing is there.
    Missing,
    /// Something else is there.
    Differing,
}

/// What has to be put back of one backup.
#[derive(Debug)]
pub(crate) struct Placing {
    shared: PathBuf,
    directory: PathBuf,
    stamp: String,
    /// The live database's own files, which were others when the backup was taken: left alone. Closing one
    /// would give up what locks this process has on it.
    database: Vec<(u64, u64)>,
    entries: Vec<(PathBuf, Entry, Way)>,
    /// Directories among them: what lies below one has to be put back with it.
    roots: BTreeMap<PathBuf, Way>,
    /// What a run that was cut off left under the name of a draft: it may be the app's.
    stale: Vec<PathBuf>,
    /// Paths below the shared directory under which lies what was there before.
    pub(crate) aside: Vec<String>,
    pub(crate) placed: usize,
}

impl Placing {
    /// Compares a backup's further files with the shared directory; nothing is changed.
    ///
    /// # Errors
    /// `files-outside`, `files-unreadable`, `backup-damaged`.
    pub(crate) fn plan(site: &Site<'_>, backup: &Backup, stamp: &str) -> Result<Self, Problem> {
        let mut plan = Self {
            shared: site.place.shared(),
            directory: backup.directory.clone(),
            stamp: stamp.to_owned(),
            database: database_files(site),
            entries: Vec::new(),
            roots: BTreeMap::new(),
            stale: Vec::new(),
            aside: Vec::new(),
            placed: 0,
        };
        let index = Index::of(backup)?;
        if index.entries.is_empty() {
            return Ok(plan);
        }
        let root = Folder::open(&plan.shared).map_err(|error| plan.unreadable(Path::new(""), &error))?;
        for (name, entry) in index.entries {
            common::interrupt::check()?;
            let Some(path) = naming::path_of(&name) else { continue };
            if let Some(way) = plan.compare(&root, &path, &entry)? {
                if let Entry::Directory { .. } = entry {
                    plan.roots.insert(path.clone(), way);
                }
                plan.entries.push((path, entry, way));
            }
        }
        Ok(plan)
    }

    /// Whether anything has to be done in that way.
    pub(crate) fn needs(&self, way: Way) -> bool {
        self.entries.iter().any(|(.., other)| *other == way)
            || (way == Way::Missing && !self.stale.is_empty())
    }

    /// A directory on each disk that files go to, and how many bytes of them.
    pub(crate) fn room(&self) -> Vec<(PathBuf, u64)> {
        let mut disks: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
        for (path, entry, _) in &self.entries {
            let Entry::File { facts, .. } = entry else { continue };
            let full = self.shared.join(path);
            let above = full.ancestors().skip(1).find_map(|dir| Some((dir, fs::metadata(dir).ok()?)));
            if let Some((dir, meta)) = above {
                disks.entry(meta.dev()).or_insert_with(|| (dir.to_owned(), 0)).1 += facts.size;
            }
        }
        disks.into_values().collect()
    }

    fn compare(&mut self, root: &Folder, path: &Path, entry: &Entry) -> Result<Option<Way>, Problem> {
        if let Some(way) = path.ancestors().find_map(|above| self.roots.get(above)) {
            return Ok(Some(*way));
        }
        let (parent, name) = split(path);
        let found = root.below(parent).and_then(|folder| Ok((folder.look(name)?, folder)));
        let (meta, folder) = found.map_err(|error| self.unreadable(parent, &error))?;
        if folder.path(draft_of(name)).symlink_metadata().is_ok() {
            self.stale.push(path.to_owned());
        }
        let Some(meta) = meta else { return Ok(Some(Way::Missing)) };
        if self.database.contains(&(meta.dev(), meta.ino())) {
            return Ok(None);
        }
        let is_same = match entry {
            Entry::Directory { .. } if meta.is_symlink() => return Err(self.outside(path)),
            Entry::Directory { .. } => Ok(meta.is_dir()),
            Entry::Link { target } => Ok(meta.is_symlink()
                && fs::read_link(folder.path(name)).is_ok_and(|link| naming::text_of(link) == *target)),
            Entry::File { facts, .. } if !meta.is_file() || meta.len() != facts.size => Ok(false),
            Entry::File { facts, .. } => {
                folder.read(name).and_then(archive::measure_open).map(|held| &held == facts)
            }
        };
        let is_same = is_same.map_err(|error| self.unreadable(path, &error))?;
        Ok((!is_same).then_some(Way::Differing))
    }

    /// Puts back everything of that way, on disk when this returns. May be repeated.
    ///
    /// # Errors
    /// `files-unplaced`, `backup-damaged`, `interrupted`.
    pub(crate) fn place(&mut self, way: Way) -> Result<(), Problem> {
        let due: Vec<(PathBuf, Entry, Way)> =
            self.entries.iter().filter(|(.., other)| *other == way).cloned().collect();
        if !self.needs(way) {
            return Ok(());
        }
        let root = Folder::open(&self.shared).map_err(|error| self.unreadable(Path::new(""), &error))?;
        for path in std::mem::take(&mut self.stale) {
            let (parent, name) = split(&path);
            let folder = root.below(parent).map_err(|error| self.unplaced(&path, &error))?;
            let moved = self.lay_aside(&folder, &folder.path(draft_of(name)), name, &path);
            moved.map_err(|error| self.unplaced(&path, &error))?;
        }
        for (path, entry, _) in due {
            common::interrupt::check()?;
            let (parent, name) = split(&path);
            let placed = root.below(parent).and_then(|folder| self.put(&folder, name, &path, &entry));
            placed.map_err(|error| self.unplaced(&path, &error))?;
            self.placed += 1;
        }
        Ok(())
    }

    fn unplaced(&self, path: &Path, error: &io::Error) -> Problem {
        let full = self.shared.join(path);
        Problem::new("files-unplaced", format!("cannot put back {}", full.display()))
            .detail(error.to_string())
            .hint(format!("ls -ld {}", quoted(full.parent().unwrap_or(&full).display())))
    }

    fn put(&mut self, folder: &Folder, name: &OsStr, path: &Path, entry: &Entry) -> io::Result<()> {
        let draft_name = draft_of(name);
        let draft = folder.path(&draft_name);
        let owner = folder.metadata()?;
        let (uid, gid) = (Some(owner.uid()), Some(owner.gid()));
        match entry {
            Entry::Directory { mode } => {
                fs::create_dir(&draft)?;
                dress(folder.below(Path::new(&draft_name))?.file(), uid, gid, *mode)?;
            }
            Entry::Link { target } => {
                symlink(naming::name_of(target).unwrap_or_default(), &draft)?;
                lchown(&draft, uid, gid)?;
            }
            Entry::File { facts, mode, modified } => {
                let copied = archive::copy_new(File::open(kept(&self.directory, path))?, &draft);
                let file = match copied {
                    Ok((file, held)) if &held == facts => file,
                    other => {
                        let _ = fs::remove_file(&draft);
                        let changed = || io::Error::other("its copy has changed since it was checked");
                        return Err(other.err().unwrap_or_else(changed));
                    }
                };
                dress(&file, uid, gid, *mode)?;
                file.set_modified(SystemTime::from(*modified))?;
                durable::sync_file(&file)?;
            }
        }
        self.swap(folder, &draft, name, path)
    }

    /// Gives the draft its name; what had the name before is laid aside.
    fn swap(&mut self, folder: &Folder, draft: &Path, name: &OsStr, path: &Path) -> io::Result<()> {
        let target = folder.path(name);
        match durable::rename_new(draft, &target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => return done,
        }
        if durable::exchange(draft, &target).is_ok() {
            return self.lay_aside(folder, draft, name, path);
        }
        // A file system without that: the name is free for a moment.
        self.lay_aside(folder, &target, name, path)?;
        durable::rename_new(draft, &target)
    }

    fn lay_aside(&mut self, folder: &Folder, from: &Path, name: &OsStr, path: &Path) -> io::Result<()> {
        for number in 1_u32.. {
            let bytes = name.as_bytes();
            let mut aside = OsString::from_vec(bytes[..bytes.len().min(LONGEST)].to_vec());
            aside.push(format!(".aside-{}", self.stamp));
            if number > 1 {
                aside.push(format!("-{number}"));
            }
            match durable::rename_new(from, &folder.path(&aside)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    self.aside.push(naming::shown(&path.with_file_name(aside)));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn outside(&self, path: &Path) -> Problem {
        let full = self.shared.join(path);
        Problem::new("files-outside", format!("{} is a link, and was a directory", full.display()))
            .detail("its files would be put where it leads; nothing has been changed")
            .hint(format!("ls -ld {}", quoted(full.display())))
    }

    fn unreadable(&self, path: &Path, error: &io::Error) -> Problem {
        super::survey::unreadable(&self.shared.join(path), error)
    }
}

/// Names have a limit that what is put before and behind them must not exceed.
const LONGEST: usize = 200;

fn draft_of(name: &OsStr) -> OsString {
    let hash = common::hex(&Sha256::digest(name.as_bytes()));
    format!(".{}{DRAFT}", hash.split_at(16).0).into()
}

/// Whether a name is that of a file being put back.
pub(super) fn is_draft(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(DRAFT.as_bytes())
}

fn dress(file: &File, uid: Option<u32>, gid: Option<u32>, mode: u32) -> io::Result<()> {
    fchown(file, uid, gid)?;
    file.set_permissions(Permissions::from_mode(mode))
}
