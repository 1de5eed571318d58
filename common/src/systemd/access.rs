//! What an app's own account may open: its release to read, what is shared to write. The state
//! around them stays root's alone; only a unit shows these two to the account.
//!
//! What is shared belongs to the app, which may lay links there: nothing here follows one.

use std::ffi::CStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::fs::{chownat, openat, openat2, statat};

use super::Account;
use crate::database::files_of;
use crate::durable;
use crate::layout::Place;
use crate::report::{OrProblem, Problem, quoted};

/// Others may pass, and no more.
const PASSABLE: u32 = 0o711;
const READ: u32 = 0o044;
const ENTER: u32 = 0o011;

/// Lets the account read a release. The release's own directory is opened last: it says that the
/// rest is done.
///
/// # Errors
/// `state-unwritable`.
pub(crate) fn open_release(place: &Place, release: &Path) -> Result<(), Problem> {
    let open = || {
        fs::set_permissions(place.releases(), Permissions::from_mode(PASSABLE))?;
        if fs::metadata(release)?.mode() & (READ | ENTER) == READ | ENTER {
            return Ok(());
        }
        for entry in walkdir::WalkDir::new(release).min_depth(1) {
            let entry = entry?;
            let meta = entry.metadata()?;
            let enters = if meta.is_dir() || meta.mode() & 0o100 != 0 { ENTER } else { 0 };
            if !meta.is_symlink() {
                fs::set_permissions(entry.path(), Permissions::from_mode(meta.mode() | READ | enters))?;
            }
        }
        durable::sync_tree(release)?;
        let mode = fs::metadata(release)?.mode();
        fs::set_permissions(release, Permissions::from_mode(mode | READ | ENTER))?;
        durable::sync_dir(release)
    };
    let opened: io::Result<()> = open();
    opened
        .or_problem("state-unwritable", || format!("cannot change the permissions of {}", release.display()))
        .map_err(|problem| problem.hint(format!("ls -ld {}", quoted(release.display()))))
}

/// Gives the account what is shared: all of it when it never had it, else what root has made there
/// since: the paths of `shared`, and the database with what belongs to it.
///
/// # Errors
/// `shared-failed`.
pub(crate) fn give_shared(
    place: &Place,
    account: &Account,
    shared: &[PathBuf],
    database: Option<&Path>,
) -> Result<(), Problem> {
    let root = place.shared();
    let give = || {
        let dir: OwnedFd = File::open(&root)?.into();
        if fs::metadata(&root)?.uid() != account.uid {
            give_tree(dir.as_fd(), account)?;
            return own(dir.as_fd(), c"", account);
        }
        for path in shared {
            give_path(dir.as_fd(), path, account)?;
        }
        let inside =
            database.and_then(|path| path.strip_prefix(&root).ok()).filter(|path| path.parent().is_some());
        for file in inside.map(files_of).iter().flatten() {
            give_path(dir.as_fd(), file, account)?;
        }
        Ok(())
    };
    let given: io::Result<()> = give();
    given
        .or_problem("shared-failed", || format!("cannot give {} to '{}'", root.display(), account.name))
        .map_err(|problem| problem.hint(format!("ls -la {}", quoted(root.display()))))
}

/// Gives the account the directory that its socket is in.
///
/// # Errors
/// `sockets-unusable`.
pub(crate) fn give_socket_dir(dir: &Path, account: &Account) -> Result<(), Problem> {
    let given = File::open(dir).and_then(|opened| own(opened.as_fd(), c"", account));
    given
        .or_problem("sockets-unusable", || format!("cannot give {} to '{}'", dir.display(), account.name))
        .map_err(|problem| problem.hint(format!("ls -ld {}", quoted(dir.display()))))
}

/// Gives each part of a path that is still root's, and all that lies below its end.
fn give_path(root: BorrowedFd<'_>, path: &Path, account: &Account) -> io::Result<()> {
    let mut parts: Vec<&Path> = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
    parts.reverse();
    for part in parts {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        // Not made yet, or led elsewhere by the app.
        let Ok(found) = openat2(root, part, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) else {
            return Ok(());
        };
        let meta = rustix::fs::fstat(&found)?;
        if meta.st_uid != 0 {
            continue;
        }
        if FileType::from_raw_mode(meta.st_mode) == FileType::Directory {
            let opened =
                openat(root, part, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            give_tree(opened.as_fd(), account)?;
        }
        own(found.as_fd(), c"", account)?;
    }
    Ok(())
}

fn give_tree(dir: BorrowedFd<'_>, account: &Account) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        own(dir, name, account)?;
        if FileType::from_raw_mode(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
            == FileType::Directory
        {
            let below =
                openat(dir, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            give_tree(below.as_fd(), account)?;
        }
    }
    Ok(())
}

/// A file with a second name may be one of somebody else's, and keeps its owner.
fn own(dir: BorrowedFd<'_>, name: &CStr, account: &Account) -> io::Result<()> {
    let flags = if name.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
    let meta = statat(dir, name, flags)?;
    if FileType::from_raw_mode(meta.st_mode) == FileType::RegularFile && meta.st_nlink > 1 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    Ok(chownat(dir, name, Some(uid), Some(gid), flags)?)
}
