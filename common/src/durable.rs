//! What must outlive a power cut. The only place of the product that renames and fsyncs, so that
//! the order is right everywhere: content first, then the name, then the directory.
//!
//! Each act has a fault point before and after it. What a power cut makes untrue anyway (who runs,
//! on which socket) is replaced whole for its readers, and not synced: `_for_now`.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::fault;

/// Ends the name of a file that is being written.
pub const DRAFT: &str = ".new";

/// Writes a file of ours (0600), whole or not at all; on disk when this returns.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = draft_of(path);
    let written =
        write_draft(&draft, bytes).and_then(|file| sync_file(&file)).and_then(|()| rename(&draft, path));
    forget_draft(&draft, written)
}

/// As [`write`], but everybody may read it.
pub fn write_readable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = draft_of(path);
    let written = write_draft(&draft, bytes)
        .and_then(|file| file.set_permissions(Permissions::from_mode(0o644)).and_then(|()| sync_file(&file)))
        .and_then(|()| rename(&draft, path));
    forget_draft(&draft, written)
}

/// Makes a symbolic link, or turns one; on disk when this returns.
pub fn link(target: &Path, path: &Path) -> io::Result<()> {
    let draft = draft_of(path);
    let _ = fs::remove_file(&draft);
    let made = symlink(target, &draft).and_then(|()| rename(&draft, path));
    forget_draft(&draft, made)
}

/// Removes a file or link; it stays gone.
pub fn remove(path: &Path) -> io::Result<()> {
    fault::point("remove.before");
    fs::remove_file(path)?;
    fault::point("remove.after");
    sync_dir(parent(path))
}

/// Writes a file that no reader ever sees half of; a power cut may take it.
pub fn write_for_now(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = draft_of(path);
    let written = write_draft(&draft, bytes).and_then(|_| rename_for_now(&draft, path));
    forget_draft(&draft, written)
}

/// Renames a file or directory whose content is on disk already; so is its new name then.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fault::point("rename.before");
    fs::rename(from, to)?;
    fault::point("rename.after");
    sync_names(from, to)
}

/// As [`rename`], but an error when the new name is taken.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    fault::point("rename-new.before");
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?;
    fault::point("rename-new.after");
    sync_names(from, to)
}

/// Lets two names change places at one moment; both must be in use, and in one file system.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    fault::point("exchange.before");
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    fault::point("exchange.after");
    sync_names(one, other)
}

/// Renames what a power cut may take.
pub fn rename_for_now(from: &Path, to: &Path) -> io::Result<()> {
    fault::point("rename-for-now.before");
    fs::rename(from, to)?;
    fault::point("rename-for-now.after");
    Ok(())
}

/// Brings a file's content to the disk.
pub fn sync_file(file: &File) -> io::Result<()> {
    fault::point("file.before-sync");
    file.sync_all()?;
    fault::point("file.after-sync");
    Ok(())
}

/// Brings the names in a directory to the disk: files made, renamed and removed.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    fault::point("directory.before-sync");
    File::open(dir)?.sync_all()?;
    fault::point("directory.after-sync");
    Ok(())
}

/// Brings everything below `dir` to the disk, whoever wrote it. One call for the whole file system:
/// a build leaves thousands of files, and a flush for each takes longer than the build.
pub fn sync_tree(dir: &Path) -> io::Result<()> {
    fault::point("tree.before-sync");
    rustix::fs::syncfs(File::open(dir)?)?;
    fault::point("tree.after-sync");
    Ok(())
}

fn sync_names(from: &Path, to: &Path) -> io::Result<()> {
    sync_dir(parent(to))?;
    if parent(from) == parent(to) { Ok(()) } else { sync_dir(parent(from)) }
}

/// The directory that holds the name; a bare name lies in the working directory.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(DRAFT);
    name.into()
}

fn write_draft(draft: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// On a full disk, what could not be finished must not stay and take room.
fn forget_draft(draft: &Path, written: io::Result<()>) -> io::Result<()> {
    if written.is_err() {
        let _ = fs::remove_file(draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for text in ["longer than the next", "short"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        write_for_now(&path, b"x").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_content_and_no_draft() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::create_dir(&path).unwrap();
        assert!(write(&path, b"x").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_turned_and_removed_and_a_readable_file_is_readable() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = (dir.path().join("a"), dir.path().join("b"));
        for target in ["/one", "/two"] {
            link(Path::new(target), &path).unwrap();
            assert_eq!(fs::read_link(&path).unwrap(), Path::new(target));
        }
        remove(&path).unwrap();
        write_readable(&file, b"x").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_name_is_never_taken_from_another_unless_they_change_places() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&from, "a").unwrap();
        fs::write(&to, "b").unwrap();
        assert_eq!(rename_new(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::create_dir(dir.path().join("sub")).unwrap();
        exchange(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "a");
        rename_new(&from, &dir.path().join("sub/a")).unwrap();
        sync_tree(dir.path()).unwrap();
        assert!(!from.exists());
    }
}
