//! Stage 4: tag, push, prune, and let the previous instance go if it is not kept warm. The release
//! is verified; nothing here can undo it.

use common::{chores, handover};

use crate::attempt::Attempt;
use crate::contract;

pub(crate) fn run(attempt: &mut Attempt<'_>, contract: bool) {
    let mut warnings = Vec::new();
    let row = attempt.row();
    let tidied = attempt.step("tidy", |site, _| Ok(chores::run(site, row.as_ref().map_err(Clone::clone)?)));
    if let (Err(problem), Ok(row)) = (&tidied, &row) {
        chores::postpone(&attempt.site, row, problem);
    }
    warnings.extend(tidied.unwrap_or_else(|problem| vec![problem.to_string()]));
    let previous = attempt.previous.as_ref().and_then(|row| row.slot);
    if let Some(slot) = previous.filter(|_| !attempt.site.settings().keep_warm) {
        let retired = attempt.step("previous.retire", |site, _| handover::retire(site, slot));
        match retired {
            Ok(retired) if !retired.is_clean() => attempt.run.detail("retired", &retired),
            Ok(_) => {}
            Err(problem) => warnings.push(problem.to_string()),
        }
    }
    if contract && let Err(problem) = contract::at_once(attempt) {
        warnings.push(format!("the deferred migrations did not run: {problem}"));
    }
    attempt.run.warn_all(&warnings);
}
