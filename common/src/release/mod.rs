//! A release: one revision, built in a directory of its own, immutable from then on.
//!
//! `build` makes it and runs the app's own commands, `shared` links what survives, `prune` removes
//! old ones. Which release serves is not known here.

mod build;
mod prune;
mod shared;

use std::fs;
use std::path::{Path, PathBuf};

pub use build::{JUNIT_FILE, run_build, run_tests};
pub use prune::{prune, remove, remove_tree};
pub use shared::link_shared;

use crate::durable;
use crate::git::Repository;
use crate::layout::{Place, create_private_dir};
use crate::report::{OrProblem, Problem};

/// Checks a revision out into `releases/ID`, which appears whole or not at all.
///
/// # Errors
/// `checkout-failed`, `state-unwritable`.
pub fn checkout(
    repository: &Repository,
    place: &Place,
    id: &str,
    revision: &str,
) -> Result<PathBuf, Problem> {
    let target = place.release(id);
    let fresh = unfinished(place, id);
    if fresh.exists() {
        remove(&fresh)?;
    }
    create_private_dir(&fresh)?;
    let made = repository.export(revision, &fresh).and_then(|()| {
        durable::rename(&fresh, &target)
            .or_problem("checkout-failed", || format!("cannot make {}", target.display()))
    });
    if made.is_err() {
        let _ = fs::remove_dir_all(&fresh);
    }
    made.map(|()| target)
}

/// Removes a release and what an interrupted checkout left of it.
///
/// # Errors
/// `prune-failed`.
pub fn discard(place: &Place, id: &str) -> Result<(), Problem> {
    remove(&unfinished(place, id))?;
    remove(&place.release(id))
}

fn unfinished(place: &Place, id: &str) -> PathBuf {
    place.releases().join(format!(".new-{id}"))
}

/// Takes the write permission from everything below `dir`, and brings it all to the disk: a release
/// that serves must be whole after a power cut.
///
/// # Errors
/// `state-unwritable`.
pub fn seal(dir: &Path) -> Result<(), Problem> {
    let title = || format!("cannot change the permissions of {}", dir.display());
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry.or_problem("state-unwritable", title)?;
        if entry.file_type().is_symlink() {
            continue;
        }
        let mut permissions = entry.metadata().or_problem("state-unwritable", title)?.permissions();
        let mode = std::os::unix::fs::PermissionsExt::mode(&permissions);
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, mode & !0o222);
        fs::set_permissions(entry.path(), permissions).or_problem("state-unwritable", title)?;
    }
    durable::sync_tree(dir).or_problem("state-unwritable", || format!("cannot sync {}", dir.display()))
}
