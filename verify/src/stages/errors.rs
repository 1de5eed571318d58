//! Whether the instance wrote errors into its log that no other release has had: those of this
//! verification's own requests are among them.

use std::time::Instant;

use common::errors::Survey;
use common::ledger::{ErrorGroup, Ledger};
use common::report::{Problem, Step};

use super::{TOOL, milliseconds};
use crate::checks::Errors;
use crate::finding::Finding;
use crate::subject::Subject;

/// Told of one finding.
const SHOWN: usize = 5;

pub(super) fn steps(subject: &Subject) -> Vec<Step> {
    let Some(wanted) = &subject.checks.errors else { return Vec::new() };
    let begun = Instant::now();
    let result = check(subject, wanted);
    let step = Step::new(TOOL, "errors.new", milliseconds(begun.elapsed())).target(&subject.instance.release);
    vec![match result {
        Ok(()) => step,
        Err(problem) => step.fail(problem),
    }]
}

fn check(subject: &Subject, wanted: &Errors) -> Result<(), Problem> {
    let ledger = Ledger::open_read_only(&subject.config)
        .map_err(|problem| Problem { kind: "unverified".into(), ..problem })?;
    let release = &subject.instance.release;
    let survey = Survey::settled(ledger.as_ref(), &subject.place, &subject.supervisor, release)?;
    let counts = |group: &&ErrorGroup| !wanted.ignore.iter().any(|text| group.excerpt.contains(text));
    let new: Vec<_> = survey.new_in(release).into_iter().filter(counts).collect();
    if new.len() <= wanted.new {
        return Ok(());
    }
    let hint = subject.supervisor.log(&subject.place, subject.instance.slot).hint();
    let findings: Vec<Finding> = new.iter().take(SHOWN).map(|group| finding(group)).collect();
    let told = Finding::tell("the log", &findings, hint);
    told.map_or(Ok(()), Err)
}

fn finding(group: &ErrorGroup) -> Finding {
    let phrase = format!("has an error that no other release had, {} times: {}", group.count, group.title);
    Finding::new("errors-new", phrase).line("id", &group.fingerprint).line("excerpt", &group.excerpt)
}
