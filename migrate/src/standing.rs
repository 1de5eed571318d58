//! `migrate ENV status`: what is applied, what is pending, and whether the two fit. Changes nothing.

use common::cli::Run;
use common::migrations::{Applied, Standing, compare, read_unfinished};
use common::report::Problem;
use serde_json::{Value, json};

use crate::choice::list;
use crate::scene::{Scene, applied_in};
use crate::schema_file;
use crate::up::tell_source;

/// Reports how the files stand to the database.
///
/// # Errors
/// Those of [`Standing::check`], `schema-drift`, with all facts in the report.
pub(crate) fn show(run: &mut Run, scene: &Scene, release: Option<&str>) -> Result<(), Problem> {
    let (db, source) = scene.look_at_both(release)?;
    tell_source(run, &source);
    let database = scene.database_for(&source.migrations)?;
    run.detail("database", database);
    let environment = scene.environment();
    let applied = applied_in(db.as_ref(), &source, environment)?;
    let standing = compare(&source.migrations, &applied);
    tell(run, &standing, &applied);
    let Some(db) = db else { return standing.check(environment) };
    let unfinished = read_unfinished(&db)?;
    if !unfinished.is_empty() {
        run.detail("unfinished", unfinished.iter().map(|found| entry(&found.applied)).collect::<Vec<_>>());
    }
    standing.check(environment)?;
    if standing.word() == "current" && standing.deferred.is_empty() {
        schema_file::check(&source.root, &db, environment)?;
    }
    Ok(())
}

fn tell(run: &mut Run, standing: &Standing, applied: &[Applied]) {
    run.detail("standing", standing.word());
    run.detail("applied", applied.iter().map(entry).collect::<Vec<_>>());
    run.detail("pending", list(&standing.pending));
    let files = [
        ("edited", &standing.edited),
        ("out_of_order", &standing.out_of_order),
        ("deferred", &standing.deferred),
        ("half_squashed", &standing.half_squashed),
    ];
    for (name, found) in files.into_iter().filter(|(_, found)| !found.is_empty()) {
        run.detail(name, list(found));
    }
    for (name, found) in [("ahead", &standing.ahead), ("missing_file", &standing.missing_file)] {
        if !found.is_empty() {
            run.detail(name, found.iter().map(entry).collect::<Vec<_>>());
        }
    }
}

fn entry(applied: &Applied) -> Value {
    json!({
        "version": applied.version,
        "name": applied.name,
        "applied_at": applied.applied_at,
        "duration_ms": applied.duration_ms,
        "deployment": applied.deployment,
        "environment": applied.environment,
        "reversible": applied.down.is_some(),
    })
}
