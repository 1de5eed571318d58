//! For people: a line for each stage, three for each failure, the first ones only.

use common::report::{Status, Step};

use crate::stages::Ended;

/// More than these nobody reads on a terminal; the report has all.
const SHOWN: usize = 20;
const WIDE: usize = 160;

pub(crate) fn render(stages: &[Ended], steps: &[&Step]) -> Vec<String> {
    let mut lines: Vec<String> = stages.iter().map(|stage| line(stage, steps)).collect();
    let failed: Vec<&&Step> = steps.iter().filter(|step| step.status == Status::Failed).collect();
    for step in failed.iter().take(SHOWN) {
        lines.extend(failure(step));
    }
    if let Some(more) = failed.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines.push(format!("and {more} more failed, {} in all; --json has them", failed.len()));
    }
    lines
}

fn line(ended: &Ended, steps: &[&Step]) -> String {
    let stage = ended.stage.name();
    let own = || steps.iter().filter(|step| step.stage() == stage);
    let count = |status, word: &str| match own().filter(|step| step.status == status).count() {
        0 => None,
        number => Some(format!("{number} {word}")),
    };
    let counts =
        [count(Status::Passed, "passed"), count(Status::Failed, "failed"), count(Status::Skipped, "skipped")];
    let counts = counts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let reason = own().find(|_| ended.status == Status::Skipped).and_then(|step| step.problem.as_ref());
    let reason = reason.map(|problem| format!(": {}", problem.title)).unwrap_or_default();
    format!("{stage:<12} {:>6} ms  {counts}{reason}", ended.duration_ms)
}

/// What, the details, the command that helps; what there is of them.
fn failure(step: &Step) -> Vec<String> {
    let problem = step.problem.as_ref();
    let title = problem.map_or_else(|| step.name.clone(), |problem| problem.title.clone());
    let detail = problem.and_then(|problem| problem.detail.as_deref()).unwrap_or_default();
    let detail = detail.lines().collect::<Vec<_>>().join(" · ");
    let mut short: String = detail.chars().take(WIDE).collect();
    if short.len() < detail.len() {
        short.push('…');
    }
    let hint = problem.and_then(|problem| problem.hint.as_deref()).unwrap_or_default();
    let more = [short.as_str(), hint].into_iter().filter(|line| !line.is_empty());
    [format!("✗ {title}  [{}]", step.name)]
        .into_iter()
        .chain(more.map(|line| format!("    {line}")))
        .collect()
}
