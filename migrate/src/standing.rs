//! `migrate ENV status`: what is applied, what is pending, and whether the two fit. Changes nothing.

use common::cli::Run;
use common::migrations::{Applied, compare};
use common::report::Problem;
use serde_json::{Value, json};

use crate::scene::{Scene, applied_in};
use crate::up::list;

/// Reports how the files stand to the database.
///
/// # Errors
/// Those of [`common::migrations::Standing::check`], with all facts in the report.
pub(crate) fn show(run: &mut Run, scene: &Scene, release: Option<&str>) -> Result<(), Problem> {
    let source = scene.source(release)?;
    run.detail("migrations", &source.dir);
    let database = scene.database_for(&source.migrations)?;
    run.detail("database", database);
    let applied = database.map(applied_in).transpose()?.unwrap_or_default();
    let standing = compare(&source.migrations, &applied);
    run.detail("standing", standing.word());
    run.detail("applied", applied.iter().map(entry).collect::<Vec<_>>());
    run.detail("pending", list(&standing.pending));
    for (name, found) in [("edited", &standing.edited), ("out_of_order", &standing.out_of_order)] {
        if !found.is_empty() {
            run.detail(name, list(found));
        }
    }
    for (name, found) in [("ahead", &standing.ahead), ("missing_file", &standing.missing_file)] {
        if !found.is_empty() {
            run.detail(name, found.iter().map(entry).collect::<Vec<_>>());
        }
    }
    standing.check(scene.environment())
}

fn entry(applied: &Applied) -> Value {
    json!({
        "version": applied.version,
        "name": applied.name,
        "applied_at": applied.applied_at,
        "duration_ms": applied.duration_ms,
        "deployment": applied.deployment,
        "reversible": applied.down.is_some(),
    })
}
