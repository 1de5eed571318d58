//! A second directory: `PLACE/APP/ENV/ID`, as whole and as private as the backups here. A copy is
//! read back before it gets its name.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use common::backups::{self, Backup, FILES, FileFacts, Listing, MANIFEST, Manifest};
use common::durable;
use common::layout::create_private_dir;
use common::report::{OrProblem, Problem, quoted};

use super::{Held, Sending, key};
use crate::files::{Entry, Index, Stock, kept, path_of};
use crate::site::{DRAFT, Site, sweep};
use crate::{archive, retention, space};

/// What the directory holds; that it cannot be reached is a warning.
pub(super) fn held(site: &Site<'_>, place: &Path) -> Held {
    match listing(site, place) {
        Ok(listing) => Held {
            keys: listing.backups.iter().map(key).collect(),
            backups: listing.backups,
            unreadable: listing.unreadable,
            warnings: Vec::new(),
        },
        Err(problem) => Held { warnings: vec![problem.to_string()], ..Held::default() },
    }
}

/// The copy of that id.
///
/// # Errors
/// As [`backups::find`].
pub(super) fn find(site: &Site<'_>, place: &Path, id: &str) -> Result<Backup, Problem> {
    backups::find_in(&home(site, place), site.name(), id)
}

/// Copies what is missing and removes what is no longer kept there.
///
/// # Errors
/// `second-place`, `backup-damaged`, `no-space`.
pub(super) fn bring(site: &Site<'_>, place: &Path, sending: &mut Sending) -> Result<(), Problem> {
    let home = home(site, place);
    sending.place = home.display().to_string();
    let mut listing = listing(site, place)?;
    create_private_dir(&home)?;
    sweep(&home).or_problem("second-place", || format!("cannot clean up {}", home.display()))?;
    let due = super::due(site, &listing.backups, &listing.backups.iter().map(key).collect())?;
    let copied = super::each(&due, sending, &mut |backup| {
        let copy =
            Copy { from: &backup.directory, draft: home.join(format!("{DRAFT}{}", backup.manifest.id)) };
        let made = copy.make(backup, &home, &Stock::of(&listing.backups));
        if made.is_err() {
            let _ = fs::remove_dir_all(&copy.draft);
        }
        listing.backups.insert(0, made.map_err(|problem| space::explain(problem, &home))?);
        Ok(())
    });
    let listing = backups::list_in(&home, site.name())?;
    let doomed = retention::doomed(site, &listing.backups, site.settings.kept_in_second())?;
    sending.removed = retention::tidy_up(&home, &listing, &doomed, false)?.removed;
    copied
}

fn home(site: &Site<'_>, place: &Path) -> PathBuf {
    site.config.resolve(place).join(site.place.app()).join(site.name())
}

/// A mount that is away must not be taken for an empty place: the directory itself is never made.
fn listing(site: &Site<'_>, place: &Path) -> Result<Listing, Problem> {
    let place_dir = site.config.resolve(place);
    if !place_dir.is_dir() {
        return Err(Problem::new("second-place", format!("{} is not there", place_dir.display()))
            .detail("the second place for backups is never made: is it mounted?")
            .hint(format!("ls -ld {}", quoted(place_dir.display())))
            .retryable());
    }
    backups::list_in(&home(site, place), site.name())
}

/// One copy under way.
struct Copy<'a> {
    from: &'a Path,
    draft: PathBuf,
}

impl Copy<'_> {
    fn make(&self, backup: &Backup, home: &Path, stock: &Stock) -> Result<Backup, Problem> {
        space::require_bytes(backup.bytes(), home)?;
        let directory = home.join(&backup.manifest.id);
        if directory.exists() {
            return Err(Problem::new(
                "second-place",
                format!("{} is no backup of ours", directory.display()),
            )
            .hint(format!("ls -l {}", quoted(directory.display()))));
        }
        let title = || format!("cannot write {}", self.draft.display());
        DirBuilder::new().mode(0o700).create(&self.draft).or_problem("second-place", title)?;
        for (name, facts) in &backup.manifest.files {
            self.copy(Path::new(name), facts, backup)?;
        }
        self.copy_further(backup, stock)?;
        durable::sync_tree(&self.draft).or_problem("second-place", title)?;
        let sealed = fs::read(self.from.join(MANIFEST)).or_problem("backup-damaged", title)?;
        durable::write(&self.draft.join(MANIFEST), &sealed).or_problem("second-place", title)?;
        let manifest = Manifest::read(&self.draft)?;
        durable::rename(&self.draft, &directory).or_problem("second-place", title)?;
        Ok(Backup { directory, manifest })
    }

    fn copy_further(&self, backup: &Backup, stock: &Stock) -> Result<(), Problem> {
        if backup.manifest.further.is_none() {
            return Ok(());
        }
        let title = || format!("cannot write {}", self.draft.display());
        let root = self.draft.join(FILES);
        DirBuilder::new().mode(0o700).create(&root).or_problem("second-place", title)?;
        for (name, entry) in &Index::of(backup)?.entries {
            common::interrupt::check()?;
            let Some(path) = path_of(name) else { continue };
            match entry {
                Entry::Directory { .. } => {
                    let target = root.join(&path);
                    DirBuilder::new().mode(0o700).create(&target).or_problem("second-place", title)?;
                }
                Entry::File { facts, .. } if stock.link(facts, &kept(&self.draft, &path)) => {}
                Entry::File { facts, .. } => self.copy(&Path::new(FILES).join(&path), facts, backup)?,
                Entry::Link { .. } => {}
            }
        }
        Ok(())
    }

    /// Copies one file and reads the copy back.
    fn copy(&self, name: &Path, facts: &FileFacts, backup: &Backup) -> Result<(), Problem> {
        let (from, target) = (self.from.join(name), self.draft.join(name));
        let damaged = || {
            let id = &backup.manifest.id;
            Problem::new("backup-damaged", format!("backup {id} is damaged and is not copied"))
                .detail(format!("{} has changed since it was written", name.display()))
                .hint(format!("backup {} verify {id}", backup.manifest.environment))
        };
        let file = File::open(&from).map_err(|error| damaged().detail(error.to_string()))?;
        let title = || format!("cannot write {}", target.display());
        let (_, copied) = archive::copy_new(file, &target).or_problem("second-place", title)?;
        if &copied != facts {
            return Err(damaged());
        }
        match archive::measure(&target).or_problem("second-place", title)? {
            held if &held == facts => Ok(()),
            _ => Err(io::Error::other("it does not read back the same")).or_problem("second-place", title),
        }
    }
}
