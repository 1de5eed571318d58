//! Room on the disk: asked before anything is written, and named when it ran out all the same.

use std::path::{Path, PathBuf};

use common::database::with_suffix;
use common::report::{OrProblem, Problem, quoted};
use common::space;

/// Requires room for a copy of `database` with its log and for `further` bytes, and 10 % more.
///
/// # Errors
/// `no-space`.
pub(crate) fn require(database: &Path, further: u64, directory: &Path) -> Result<(), Problem> {
    let size = |path: PathBuf| path.metadata().map_or(0, |meta| meta.len());
    let log = with_suffix(database, "-wal");
    require_bytes(size(database.to_owned()) + size(log) + further, directory)
}

/// Requires room for `held` bytes, and 10 % more.
///
/// # Errors
/// `no-space`.
pub(crate) fn require_bytes(held: u64, directory: &Path) -> Result<(), Problem> {
    let needed = held + held / 10;
    let free = space::free_bytes(directory).or_problem("state-unreadable", || {
        format!("cannot tell the free space of {}", directory.display())
    })?;
    if free >= needed {
        return Ok(());
    }
    Err(no_space(directory).detail(format!("{needed} bytes are needed, {free} are free")))
}

/// Says that the disk is full when that is why `problem` came about.
pub(crate) fn explain(problem: Problem, directory: &Path) -> Problem {
    if space::is_full(directory) { no_space(directory).detail(problem.to_string()) } else { problem }
}

fn no_space(directory: &Path) -> Problem {
    Problem::new("no-space", format!("there is not enough room in {}", directory.display()))
        .hint(format!("df -h {}", quoted(directory.display())))
        .retryable()
}
