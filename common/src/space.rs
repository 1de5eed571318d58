//! Room on the disks of a run. When one has run out, whatever failed most likely failed for that:
//! the problem then says so and names the disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::report::{Problem, quoted};

/// Less than this is called full: the last file could not grow any more.
const FULL_BYTES: u64 = 1 << 20;

static WATCHED: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Names the directories that this run writes to.
pub fn watch(directories: Vec<PathBuf>) {
    let _ = WATCHED.set(directories);
}

/// Adds to a problem that a disk is full, when one is.
#[must_use]
pub fn explain(problem: Problem) -> Problem {
    let exempt = problem.is_usage() || matches!(problem.kind.as_str(), "interrupted" | "locked" | "no-space");
    let full = WATCHED.get().into_iter().flatten().filter(|_| !exempt).find(|directory| is_full(directory));
    match full {
        Some(directory) => blame(problem, directory),
        None => problem,
    }
}

fn blame(problem: Problem, directory: &Path) -> Problem {
    let sentence = format!("there is no room left on the disk of {}", directory.display());
    let told = problem.detail.clone().unwrap_or_default();
    if told.contains(&sentence) {
        return problem;
    }
    let detail = if told.is_empty() { sentence } else { format!("{told}\n{sentence}") };
    problem.detail(detail).hint(format!("df -h {}", quoted(directory.display()))).retryable()
}

/// Whether nothing more can be written to the disk that holds `directory`.
pub fn is_full(directory: &Path) -> bool {
    free_bytes(directory).is_ok_and(|free| free < FULL_BYTES)
}

/// Bytes that an ordinary user may still write; a directory that is not there yet counts as its
/// nearest parent.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let existing = directory.ancestors().find(|dir| dir.exists()).unwrap_or(directory);
    let facts = rustix::fs::statvfs(existing)?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_the_full_disk_once() {
        let problem =
            Problem::new("state-unwritable", "the ledger cannot be written").detail("disk I/O error");
        let told = blame(blame(problem, Path::new("/a/b")), Path::new("/a/b"));
        let detail = "disk I/O error\nthere is no room left on the disk of /a/b";
        assert_eq!((told.detail.as_deref(), told.hint.as_deref()), (Some(detail), Some("df -h /a/b")));
        assert_eq!(told.kind, "state-unwritable");
    }
}
