//! The steps of a stage that may find hundreds of things: the first ones, and how many there are.

use common::report::{Problem, Step};

use super::TOOL;

/// So many findings are told one by one.
const TOLD: usize = 20;

/// All steps while they are few; else the first ones and one that counts the others, of the type of
/// the first.
pub(super) fn capped(stage: &str, mut steps: Vec<Step>, hint: String) -> Vec<Step> {
    let more = steps.len().saturating_sub(TOLD);
    let kind = steps.first().and_then(|step| step.problem.as_ref()).map(|problem| problem.kind.clone());
    if let Some(kind) = kind.filter(|_| more > 0) {
        steps.truncate(TOLD);
        let problem = Problem::new(&kind, format!("{stage} have {more} findings more")).hint(hint);
        steps.push(Step::new(TOOL, format!("{stage}.more"), 0).fail(problem));
    }
    steps
}
