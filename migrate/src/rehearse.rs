//! `migrate ENV rehearse` and `migrate ENV plan`: the same rehearsal; the one fails by what it
//! finds, the other only tells.

use std::path::Path;

use common::cli::Run;
use common::migrations::Migration;
use common::report::Problem;

use crate::rehearsal::{Rehearsal, Verdict};
use crate::scene::Scene;
use crate::up::{choose_pending, list, screen_all};

/// Rehearses what is pending and keeps the copy when asked.
///
/// # Errors
/// Those of [`Rehearsal::perform`], and those of `up` before it begins.
pub(crate) fn rehearse(
    run: &mut Run,
    scene: &Scene,
    release: Option<&str>,
    keep: Option<&Path>,
) -> Result<(), Problem> {
    let pending = pending(run, scene, release)?;
    let needed = !pending.is_empty() || keep.is_some();
    let Some(database) = scene.database.as_ref().filter(|_| needed) else {
        run.detail("rehearsal", Verdict::unchanged());
        return Ok(());
    };
    screen_all(run, &pending)?;
    scene.place.create()?;
    let mut rehearsal = Rehearsal::new(&pending, scene.environment());
    let result = rehearsal.perform(database, &scene.place.root(), keep);
    for part in &rehearsal.parts {
        run.end_step(part.name, None, part.took, part.problem.as_ref());
    }
    run.detail("rehearsal", &rehearsal.verdict);
    result
}

/// Tells what `up` would do, with every statement; `problem` says why it would fail.
///
/// # Errors
/// Those of `up` before it begins.
pub(crate) fn plan(run: &mut Run, scene: &Scene, release: Option<&str>) -> Result<(), Problem> {
    let pending = pending(run, scene, release)?;
    let Some(database) = scene.database.as_ref().filter(|_| !pending.is_empty()) else {
        run.detail("rehearsal", Verdict::unchanged());
        return Ok(());
    };
    if let Err(problem) = screen_all(run, &pending) {
        run.detail("problem", problem);
        return Ok(());
    }
    scene.place.create()?;
    let mut rehearsal = Rehearsal::new(&pending, scene.environment());
    let result = rehearsal.perform(database, &scene.place.root(), None);
    run.detail("statements", &rehearsal.statements);
    run.detail("rehearsal", &rehearsal.verdict);
    if let Err(problem) = result {
        run.detail("problem", problem);
    }
    Ok(())
}

fn pending(run: &mut Run, scene: &Scene, release: Option<&str>) -> Result<Vec<Migration>, Problem> {
    let source = scene.source(release)?;
    run.detail("migrations", &source.dir);
    run.detail("database", &scene.database);
    let pending = choose_pending(run, scene, &source.migrations)?;
    run.detail("pending", list(&pending));
    Ok(pending)
}
