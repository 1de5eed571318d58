//! Room on the disk: asked before anything is written, and named when it ran out all the same.

use std::path::{Path, PathBuf};

use common::report::{OrProblem, Problem, quoted};

/// Less than this is called full: the last file could not grow any more.
const FULL_BYTES: u64 = 1 << 20;

/// Requires room for a copy of `database` with its log, and 10 % more.
///
/// # Errors
/// `no-space`.
pub(crate) fn require(database: &Path, directory: &Path) -> Result<(), Problem> {
    let size = |path: PathBuf| path.metadata().map_or(0, |meta| meta.len());
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    let held = size(database.to_owned()) + size(log.into());
    let needed = held + held / 10;
    let free = free_bytes(directory)?;
    if free >= needed {
        return Ok(());
    }
    Err(no_space(directory).detail(format!("{needed} bytes are needed, {free} are free")))
}

/// Says that the disk is full when that is why `problem` came about.
pub(crate) fn explain(problem: Problem, directory: &Path) -> Problem {
    if is_full(directory) { no_space(directory).detail(problem.to_string()) } else { problem }
}

/// Whether nothing more can be written.
pub(crate) fn is_full(directory: &Path) -> bool {
    free_bytes(directory).is_ok_and(|free| free < FULL_BYTES)
}

fn free_bytes(directory: &Path) -> Result<u64, Problem> {
    let facts = rustix::fs::statvfs(directory).or_problem("state-unreadable", || {
        format!("cannot tell the free space of {}", directory.display())
    })?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

fn no_space(directory: &Path) -> Problem {
    Problem::new("no-space", format!("there is not enough room in {}", directory.display()))
        .hint(format!("df -h {}", quoted(directory.display())))
        .retryable()
}
