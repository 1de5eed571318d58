//! Moves the files of a database out of the way, for a main file that is missing or no database
//! at all. Never while a process has one of them open.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::report::{OrProblem, Problem};

/// Moves the main file (if there is one), `-wal`, `-shm` and `-journal` to names ending in
/// `.aside-STAMP`; gives the new names.
///
/// # Errors
/// `database-in-use` (retryable), `state-unwritable`.
pub(crate) fn move_aside(database: &Path, stamp: &str) -> Result<Vec<PathBuf>, Problem> {
    let files: Vec<PathBuf> = ["", "-wal", "-shm", "-journal"]
        .into_iter()
        .map(|suffix| with_suffix(database, suffix))
        .filter(|file| file.exists())
        .collect();
    let holders = holders(&files);
    if !holders.is_empty() {
        let pids: Vec<String> = holders.iter().map(u32::to_string).collect();
        return Err(Problem::new(
            "database-in-use",
            format!("{} is open in another process", database.display()),
        )
        .detail(format!("process {}", pids.join(", ")))
        .hint(format!("ps -o pid,args -p {}", pids.join(",")))
        .retryable());
    }
    let mut moved = Vec::new();
    for file in files {
        let target = with_suffix(&file, &format!(".aside-{stamp}"));
        fs::rename(&file, &target)
            .or_problem("state-unwritable", || format!("cannot move {} aside", file.display()))?;
        moved.push(target);
    }
    Ok(moved)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
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
