//! Puts into the report what a transaction did: one step per migration, the facts under
//! `details.migrate`.

use common::cli::Run;
use common::report::{Problem, Step};
use serde_json::{Map, Value, json};

use crate::engine::{Done, Failure, Finished, millis};
use crate::rows;

const TOOL: &str = "migrate";

/// Reports a committed transaction; `list` names the migrations that ran (`applied`, `undone`).
pub(crate) fn report_done(run: &mut Run, step: &str, list: &str, done: &Done) {
    for finished in &done.finished {
        run.end_step(step, Some(&finished.job.file), finished.took, None);
    }
    run.report.changed = true;
    run.detail(list, done.finished.iter().map(entry).collect::<Vec<_>>());
    let [before, after] = &done.rows;
    let changes = rows::differences(before, after);
    run.detail("rows_before", pick(&changes, 0));
    run.detail("rows_after", pick(&changes, 1));
    run.detail("schema_before", &done.schema[0]);
    run.detail("schema_after", &done.schema[1]);
    run.detail("write_lock_ms", millis(done.write_lock));
}

/// Reports a transaction that was rolled back; `names` are those of the step and of the list.
pub(crate) fn report_failure(run: &mut Run, names: (&str, &str), failure: &Failure, hint: String) -> Problem {
    let (step, list) = names;
    let mut problem = (*failure.problem).clone();
    problem.hint.get_or_insert(hint);
    for finished in &failure.kept {
        run.end_step(step, Some(&finished.job.file), finished.took, None);
    }
    if !failure.kept.is_empty() {
        run.detail(list, failure.kept.iter().map(entry).collect::<Vec<_>>());
    }
    run.report.changed |= failure.left_something();
    for file in &failure.undone {
        run.push(Step::new(TOOL, step, 0).target(file).skip("rolled back with the one that failed"));
    }
    let failed = Step::new(TOOL, step, 0);
    let failed = match &failure.file {
        Some(file) => failed.target(file),
        None => failed,
    };
    run.push(failed.fail(problem.clone()));
    problem
}

/// `{version, name, duration_ms}` of one that ran; the version is null for a repeatable one.
fn entry(finished: &Finished) -> Value {
    let job = &finished.job;
    json!({ "version": job.number, "name": job.name, "duration_ms": millis(finished.took) })
}

fn pick(changes: &Map<String, Value>, side: usize) -> Map<String, Value> {
    changes.iter().map(|(table, counts)| (table.clone(), counts[side].clone())).collect()
}
