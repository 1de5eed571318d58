//! `migrate ENV rehearse` and `migrate ENV plan`: the same rehearsal; the one fails by what it
//! finds, the other only tells.

use std::path::Path;

use common::cli::Run;
use common::migrations::Source;
use common::report::Problem;
use rusqlite::Connection;

use crate::choice::{Choice, Wanted, choose, screen_all};
use crate::python::Python;
use crate::rehearsal::{Rehearsal, Subject};
use crate::scene::Scene;
use crate::schema_file;
use crate::up::tell_source;
use crate::verdict::{Verdict, entries};

/// Rehearses what is pending and keeps the copy when asked.
///
/// # Errors
/// Those of [`Rehearsal::perform`], and those of `up` before it begins.
pub(crate) fn rehearse(
    run: &mut Run,
    scene: &Scene,
    wanted: Wanted<'_>,
    keep: Option<&Path>,
) -> Result<(), Problem> {
    let db = scene.look()?;
    let (source, choice) = look(run, scene, wanted, db.as_ref())?;
    let needed = !choice.chosen.is_empty() || keep.is_some();
    let Some(database) = scene.database.as_ref().filter(|_| needed) else {
        run.detail("rehearsal", Verdict::unchanged());
        return Ok(());
    };
    let python = Python::new(&source.root, scene.environment());
    screen_all(run, scene, &python, &choice.chosen, db.as_ref())?;
    scene.place.create()?;
    let root = scene.place.root();
    let mut rehearsal = Rehearsal::new(subject(scene, database, &choice, &root));
    let result = rehearsal.perform(python, keep);
    for part in &rehearsal.parts {
        run.end_step(part.name, None, part.took, part.problem.as_ref());
    }
    run.detail("rehearsal", &rehearsal.verdict);
    tell_drift(run, &source, &rehearsal);
    result
}

/// Tells what `up` would do, with every statement; `problem` says why it would fail.
///
/// # Errors
/// Those of `up` before it begins.
pub(crate) fn plan(run: &mut Run, scene: &Scene, wanted: Wanted<'_>) -> Result<(), Problem> {
    let db = scene.look()?;
    let (source, choice) = look(run, scene, wanted, db.as_ref())?;
    let Some(database) = scene.database.as_ref().filter(|_| !choice.chosen.is_empty()) else {
        run.detail("rehearsal", Verdict::unchanged());
        return Ok(());
    };
    let python = Python::new(&source.root, scene.environment());
    if let Err(problem) = screen_all(run, scene, &python, &choice.chosen, db.as_ref()) {
        run.detail("problem", problem);
        return Ok(());
    }
    scene.place.create()?;
    let root = scene.place.root();
    let mut rehearsal = Rehearsal::new(subject(scene, database, &choice, &root));
    let result = rehearsal.perform(python, None);
    if let (Some(initial), Some(done)) = (&rehearsal.initial, &rehearsal.done) {
        run.detail("plan", entries(initial, done));
        let statements: Vec<_> = done.finished.iter().flat_map(|finished| &finished.statements).collect();
        run.detail("statements", statements);
    }
    run.detail("rehearsal", &rehearsal.verdict);
    tell_drift(run, &source, &rehearsal);
    if let Err(problem) = result {
        run.detail("problem", problem);
    }
    Ok(())
}

fn subject<'a>(scene: &'a Scene, database: &'a Path, choice: &'a Choice, root: &'a Path) -> Subject<'a> {
    Subject {
        chosen: &choice.chosen,
        due: &choice.due,
        environment: scene.environment(),
        guarded: scene.is_guarded(),
        database,
        root,
    }
}

/// Where a release says what its schema should be, the rehearsed one is compared with it.
fn tell_drift(run: &mut Run, source: &Source, rehearsal: &Rehearsal<'_>) {
    let last = rehearsal.done.as_ref().and_then(|done| done.finished.last()?.seen.as_ref());
    let Some(seen) = last else { return };
    match schema_file::drift(&source.root, &seen.shape) {
        Ok(drift) if !drift.is_empty() => run.detail("drift", drift),
        Ok(_) => {}
        Err(problem) => run.detail("drift", [problem.to_string()]),
    }
}

fn look(
    run: &mut Run,
    scene: &Scene,
    wanted: Wanted<'_>,
    db: Option<&Connection>,
) -> Result<(Source, Choice), Problem> {
    let source = scene.source(wanted.release, db)?;
    tell_source(run, &source);
    run.detail("database", &scene.database);
    let choice = choose(run, scene, &source, wanted, db)?;
    if let Some(db) = db {
        // What was cut off outside of a transaction cannot be rehearsed from its beginning.
        crate::choice::jobs(db, &choice.chosen, None)?
            .iter()
            .find(|job| job.done > 0)
            .map_or(Ok(()), |job| Err(crate::choice::half_applied(job, scene.environment())))?;
    }
    Ok((source, choice))
}
