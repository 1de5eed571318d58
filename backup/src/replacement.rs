//! A new file in the place of one that is missing or no database at all; what lay there is moved
//! aside, never while a process has it open.

use std::fs;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use common::database::{aside, files_of};
use common::durable;
use common::layout::create_private_dir;
use common::report::{OrProblem, Problem};

use crate::archive::create_private;

/// Moves the main file (if there is one), `-wal`, `-shm` and `-journal` to those of the same
/// database named `.aside-STAMP`; gives the new names.
///
/// # Errors
/// `database-in-use` (retryable), `state-unwritable`.
pub(crate) fn move_aside(database: &Path, stamp: &str) -> Result<Vec<PathBuf>, Problem> {
    refuse_holders(database)?;
    let mut moved = Vec::new();
    for (file, target) in files_of(database).iter().zip(files_of(&aside(database, stamp))) {
        if !file.exists() {
            continue;
        }
        durable::rename(file, &target)
            .or_problem("state-unwritable", || format!("cannot move {} aside", file.display()))?;
        moved.push(target);
    }
    Ok(moved)
}

/// Refuses a database that a process has open.
///
/// # Errors
/// `database-in-use` (retryable).
pub(crate) fn refuse_holders(database: &Path) -> Result<(), Problem> {
    let holders = holders(&existing(database));
    if holders.is_empty() {
        return Ok(());
    }
    let pids: Vec<String> = holders.iter().map(u32::to_string).collect();
    Err(Problem::new("database-in-use", format!("{} is open in another process", database.display()))
        .detail(format!("process {}", pids.join(", ")))
        .hint(format!("ps -o pid,args -p {}", pids.join(",")))
        .retryable())
}

fn existing(database: &Path) -> Vec<PathBuf> {
    files_of(database).into_iter().filter(|file| file.exists()).collect()
}

/// Copies `raw` into a new file `database` (0600), in one rename that never takes a name in use.
///
/// # Errors
/// `state-unwritable`.
pub(crate) fn put_new(raw: &Path, database: &Path) -> Result<(), Problem> {
    let title = || format!("cannot write {}", database.display());
    let directory = database.parent().unwrap_or(Path::new("/"));
    create_private_dir(directory)?;
    let name = database.file_name().unwrap_or_default().to_string_lossy();
    let draft: PathBuf = directory.join(format!(".{name}.restoring"));
    let write = || {
        if draft.exists() {
            fs::remove_file(&draft)?;
        }
        let mut out = create_private(&draft)?;
        std::io::copy(&mut fs::File::open(raw)?, &mut out)?;
        // Root restores for the account that the app runs as.
        let owner = fs::metadata(directory)?;
        fchown(&out, Some(owner.uid()), Some(owner.gid()))?;
        durable::sync_file(&out)?;
        durable::rename_new(&draft, database)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.or_problem("state-unwritable", title)
}

/// Processes that have one of `files` open. Those of other users are not seen; they cannot enter
/// the state directory either.
fn holders(files: &[PathBuf]) -> Vec<u32> {
    let ids: Vec<(u64, u64)> = files
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|meta| (meta.dev(), meta.ino()))
        .collect();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        let open = descriptors.flatten().filter_map(|entry| fs::metadata(entry.path()).ok());
        open.into_iter().any(|meta| ids.contains(&(meta.dev(), meta.ino())))
    })
    .collect()
}
