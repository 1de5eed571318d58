//! Whose the state directory is. What lies in it decides what runs and what serves, so it must be
//! ours alone: every tool asks here before it believes or writes anything there.

use std::fs::{File, Metadata, OpenOptions, metadata, symlink_metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::report::{Problem, quoted};

/// What is to be done with the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Root may read what belongs to somebody else.
    Reading,
    Writing,
}

const BY_OTHERS: u32 = 0o002;
const BY_GROUP: u32 = 0o020;
const STICKY: u32 = 0o1000;
const OWNERS: u32 = 0o700;

/// Refuses a directory that another user owns or that group or others may write; one that does not
/// exist yet is judged by where it would come to lie.
///
/// # Errors
/// `state-untrusted`.
pub fn check(dir: &Path, purpose: Use) -> Result<(), Problem> {
    check_link(dir)?;
    if let Ok(meta) = metadata(dir) {
        check_owner(dir, &meta, purpose)?;
        if meta.mode() & (BY_GROUP | BY_OTHERS) != 0 {
            return Err(untrusted(format!("others may write {}", dir.display()))
                .hint(format!("chmod go-w {}", quoted(dir.display()))));
        }
    }
    check_parents(dir)
}

/// In a directory like /tmp anybody may lay a link in our way.
fn check_link(dir: &Path) -> Result<(), Problem> {
    match symlink_metadata(dir) {
        Ok(meta) if meta.is_symlink() && !is_ours_or_roots(&meta) => {
            Err(untrusted(format!("{} is another user's link", dir.display()))
                .hint(format!("ls -ld {}", quoted(dir.display()))))
        }
        _ => Ok(()),
    }
}

fn check_owner(dir: &Path, meta: &Metadata, purpose: Use) -> Result<(), Problem> {
    let me = me();
    if meta.uid() == me || (me == 0 && purpose == Use::Reading) {
        return Ok(());
    }
    Err(untrusted(format!("{} belongs to user {}", dir.display(), meta.uid()))
        .detail(format!("this command runs as user {me}; what it writes would lock the owner out"))
        .hint(same_command_as(meta.uid())))
}

/// Whoever may write a parent can put another directory in the place of ours; a sticky one keeps
/// what is ours from that. A group that may write is the operator's own choice.
fn check_parents(dir: &Path) -> Result<(), Problem> {
    let nearest = dir.ancestors().find_map(|dir| dir.canonicalize().ok());
    let Some(nearest) = nearest else { return Ok(()) };
    let own = usize::from(dir.exists());
    for parent in nearest.ancestors().skip(own) {
        let mode = metadata(parent).map_or(0, |meta| meta.mode());
        if mode & BY_OTHERS != 0 && mode & STICKY == 0 {
            return Err(untrusted(format!("others may write {}, above the state", parent.display()))
                .hint(format!("chmod o-w {}", quoted(parent.display()))));
        }
    }
    Ok(())
}

fn untrusted(title: String) -> Problem {
    Problem::new("state-untrusted", title)
}

fn same_command_as(owner: u32) -> String {
    let tool = std::env::args().next().unwrap_or_default();
    let tool = Path::new(&tool).file_name().unwrap_or_default().to_string_lossy().into_owned();
    std::env::args()
        .skip(1)
        .fold(format!("sudo -u '#{owner}' {}", quoted(tool)), |line, word| format!("{line} {}", quoted(word)))
}

/// Refuses a file with secrets that anybody else may read or change.
///
/// # Errors
/// `env-file`, with the chmod that helps.
pub fn check_secret(file: &Path, meta: &Metadata) -> Result<(), Problem> {
    if me() != 0 && !is_ours_or_roots(meta) {
        return Err(Problem::new("env-file", format!("{} belongs to another user", file.display()))
            .hint(format!("ls -l {}", quoted(file.display()))));
    }
    let mode = meta.permissions().mode() & 0o7777;
    if mode | OWNERS == OWNERS {
        return Ok(());
    }
    Err(Problem::new("env-file", format!("others have access to {} (mode {mode:04o})", file.display()))
        .hint(format!("chmod 600 {}", quoted(file.display()))))
}

/// Refuses a link where a file of ours should be: we never make one.
///
/// # Errors
/// `state-untrusted`.
pub fn check_file(path: &Path) -> Result<(), Problem> {
    if path.is_symlink() {
        return Err(untrusted(format!("{} is a link", path.display()))
            .hint(format!("ls -l {}", quoted(path.display()))));
    }
    Ok(())
}

/// Opens a file of ours for appending, 0600 when it is new, and never what a link leads to.
///
/// # Errors
/// Those of the system; `ELOOP` for a link.
pub fn open_unlinked(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    options.create(true).mode(0o600).custom_flags(flags).open(path)
}

/// Whether nobody else may change a file's rights.
pub(crate) fn is_ours_or_roots(meta: &Metadata) -> bool {
    meta.uid() == me() || meta.uid() == 0
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions, set_permissions};
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn with_mode(mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        set_permissions(&state, Permissions::from_mode(mode)).unwrap();
        (dir, state)
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused_with_the_chmod_that_helps() {
        for (mode, is_fine) in [(0o700, true), (0o755, true), (0o770, false), (0o707, false), (0o1777, false)]
        {
            let (_dir, state) = with_mode(mode);
            for purpose in [Use::Reading, Use::Writing] {
                assert_eq!(check(&state, purpose).is_ok(), is_fine, "{mode:o}");
            }
            if let Err(problem) = check(&state, Use::Writing) {
                let hint = problem.hint.unwrap();
                assert!(std::process::Command::new("sh").args(["-c", &hint]).status().unwrap().success());
                check(&state, Use::Writing).unwrap();
            }
        }
    }

    #[test]
    fn a_parent_that_anybody_may_write_is_refused_unless_it_is_sticky() {
        for (mode, is_fine) in [(0o777, false), (0o1777, true), (0o775, true)] {
            let (_dir, parent) = with_mode(mode);
            let state = parent.join("state");
            assert_eq!(check(&state, Use::Writing).is_ok(), is_fine, "not made yet, {mode:o}");
            fs::create_dir(&state).unwrap();
            set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
            assert_eq!(check(&state, Use::Writing).is_ok(), is_fine, "{mode:o}");
        }
    }

    #[test]
    fn another_users_directory_is_refused_and_root_may_only_read_it() {
        let (_dir, state) = with_mode(0o700);
        if chown(&state, Some(4242), None).is_err() {
            let purpose = "only root can give a directory away; without root / belongs to another user";
            assert_eq!(check(Path::new("/"), Use::Writing).unwrap_err().kind, "state-untrusted", "{purpose}");
            return;
        }
        let problem = check(&state, Use::Writing).unwrap_err();
        assert!(problem.hint.unwrap().starts_with("sudo -u '#4242' "));
        check(&state, Use::Reading).unwrap();
    }

    #[test]
    fn a_link_to_a_directory_of_ours_is_fine_and_to_a_file_is_never_opened() {
        let (dir, state) = with_mode(0o700);
        let link = dir.path().join("link");
        symlink(&state, &link).unwrap();
        check(&link, Use::Writing).unwrap();
        let file = dir.path().join("precious");
        fs::write(&file, "").unwrap();
        symlink(&file, state.join("ledger.db")).unwrap();
        assert!(open_unlinked(OpenOptions::new().append(true), &state.join("ledger.db")).is_err());
        assert_eq!(check_file(&state.join("ledger.db")).unwrap_err().kind, "state-untrusted");
    }

    #[test]
    fn a_secret_file_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("it's dev.env");
        for (mode, is_fine) in [(0o600, true), (0o400, true), (0o640, false), (0o644, false)] {
            fs::write(&file, "").unwrap();
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let result = check_secret(&file, &metadata(&file).unwrap());
            assert_eq!(result.is_ok(), is_fine, "{mode:o}");
            if let Err(problem) = result {
                let hint = problem.hint.unwrap();
                assert!(std::process::Command::new("sh").args(["-c", &hint]).status().unwrap().success());
                assert_eq!(metadata(&file).unwrap().mode() & 0o777, 0o600);
            }
            fs::remove_file(&file).unwrap();
        }
    }
}
