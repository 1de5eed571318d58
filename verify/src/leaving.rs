//! What a run leaves for the next release to be compared with, and for people to look at: the
//! structure of the pages and their screenshots.

use common::cli::Run;
use common::layout::marked_picture;
use common::ledger::{Ledger, Selection};
use common::report::{Problem, now};

use crate::past::{KEPT, Leaving, Past};
use crate::regressions::Structure;
use crate::stages::Results;
use crate::subject::Subject;

/// Everything that was seen, under the deployment that was verified.
pub(crate) fn gather(subject: &Subject, results: Results) -> Leaving {
    let deployment = subject.deployment.as_ref().map_or(&subject.instance.deployment, |row| &row.id);
    let mut structure = Structure {
        deployment: deployment.clone(),
        revision: subject.instance.revision.clone(),
        tree: subject.tree().to_owned(),
        recorded_at: now().to_string(),
        rows: results.database.rows,
        changes: results.comparison.changes,
        ..Structure::default()
    };
    structure.pages.extend(results.answered.into_iter().map(|page| (page.name, page.facts)));
    let mut leaving = Leaving::default();
    for (look, number) in results.looks.into_iter().zip(1..) {
        let Some(picture) = look.screenshot else { continue };
        let name = format!("page-{number}.png");
        leaving.pictures.extend(look.marked.map(|marked| (marked_picture(&name), marked)));
        leaving.pictures.insert(name.clone(), picture);
        structure.screenshots.insert(look.page, name);
    }
    Leaving { structure, ..leaving }
}

/// Keeps what passed, and forgets deployments that are long past. A release is no worse for what
/// could not be kept of it.
pub(crate) fn keep_passed(ledger: &Ledger, subject: &Subject, leaving: &Leaving, run: &mut Run) {
    let environment = subject.place.environment();
    let kept = keep(subject, leaving, true, run);
    let known = ledger.verified(environment, KEPT).and_then(|verified| {
        let all = verified.into_iter().chain(ledger.history(environment, &Selection::newest(KEPT))?);
        Ok(all.map(|row| row.id).collect::<Vec<_>>())
    });
    let pruned = known.map(|ids| Past::of(&subject.place).prune(&ids));
    warn(kept.and(pruned), run);
}

/// Keeps the pictures and changes of a run that found something in them.
pub(crate) fn keep_failed(subject: &Subject, leaving: &Leaving, compared: bool, run: &mut Run) {
    if !Past::of(&subject.place).lacks(leaving, compared) {
        return;
    }
    let kept = keep(subject, leaving, false, run);
    warn(kept, run);
}

fn keep(subject: &Subject, leaving: &Leaving, passed: bool, run: &mut Run) -> Result<(), Problem> {
    let past = Past::of(&subject.place);
    past.keep(leaving, passed)?;
    run.detail("kept", past.place_of(&leaving.structure.deployment, passed));
    Ok(())
}

fn warn(result: Result<(), Problem>, run: &mut Run) {
    if let Err(problem) = result {
        run.warn_all(&[format!("the structure of this release was not kept: {problem}")]);
    }
}
