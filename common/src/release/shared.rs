//! Paths that survive releases: kept in the environment's shared directory, linked into each.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::layout::{Place, create_private_dir};
use crate::report::{OrProblem, Problem, quoted};

/// Links each of `paths` in the release to the shared directory. What the revision itself has
/// there is taken as the first content when nothing is shared yet, and replaced by the link.
///
/// # Errors
/// `shared-failed`.
pub fn link_shared(place: &Place, release: &Path, paths: &[PathBuf]) -> Result<(), Problem> {
    for path in paths {
        refuse_links(release, path)?;
        link(&place.shared().join(path), &release.join(path)).map_err(|problem| {
            problem.hint(format!("ls -ld {}", quoted(place.shared().join(path).display())))
        })?;
    }
    Ok(())
}

/// A revision whose directory is a link would lead us out of the release.
fn refuse_links(release: &Path, path: &Path) -> Result<(), Problem> {
    let parents = path.ancestors().skip(1).map(|parent| release.join(parent));
    match parents.into_iter().find(|parent| parent != release && parent.is_symlink()) {
        Some(parent) => Err(Problem::new("shared-failed", format!("{} is a link", parent.display()))
            .detail("a shared path may not lie behind one")
            .hint(format!("git ls-files --stage -- {}", quoted(path.display())))),
        None => Ok(()),
    }
}

fn link(shared: &Path, inside: &Path) -> Result<(), Problem> {
    let failed = || format!("cannot share {}", inside.display());
    for parent in [shared.parent(), inside.parent()].into_iter().flatten() {
        create_private_dir(parent)?;
    }
    let has_own = inside.symlink_metadata().is_ok();
    if has_own && !inside.is_symlink() && !shared.exists() {
        durable::sync_tree(inside.parent().unwrap_or(inside))
            .and_then(|()| durable::rename(inside, shared))
            .or_problem("shared-failed", failed)?;
    } else if has_own {
        remove_any(inside).or_problem("shared-failed", failed)?;
    }
    if !shared.exists() {
        create_private_dir(shared)?;
    }
    symlink(shared, inside).or_problem("shared-failed", failed)
}

fn remove_any(path: &Path) -> std::io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}
