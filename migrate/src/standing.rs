//! `migrate ENV status`: what is applied, what is pending, and whether the two fit. Changes nothing.

use common::cli::Run;
use common::database::open_read_only;
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
    let source = scene.source(release)?;
    tell_source(run, &source);
    let database = scene.database_for(&source.migrations)?;
    run.detail("database", database);
    let environment = scene.environment();
    let applied = match database {
        Some(path) => applied_in(path, &source, environment)?,
        None => Vec::new(),
    };
    let standing = compare(&source.migrations, &applied);
    tell(run, &standing, &applied);
    let Some(database) = database.filter(|path| path.exists()) else { return standing.check(environment) };
    let unfinished = read_unfinished(&open_read_only(database)?)?;
    if !unfinished.is_empty() {
        run.detail("unfinished", unfinished.iter().map(|found| entry(&found.applied)).collect::<Vec<_>>());
    }
    standing.check(environment)?;
    if standing.word() == "current" && standing.deferred.is_empty() {
        schema_file::check(&source.root, database, environment)?;
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
