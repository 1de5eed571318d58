//! TAP version 13: a line for each step, a block for each problem.

use std::fmt::Write;

use common::report::{Status, Step};

use super::told;

pub(super) fn render(steps: &[&Step]) -> String {
    let mut text = format!("TAP version 13\n1..{}\n", steps.len());
    for (step, number) in steps.iter().zip(1..) {
        let name = step.name.replace('#', "\\#");
        let _ = match (step.status, &step.problem) {
            (Status::Failed, Some(problem)) => {
                let lines: String =
                    told(problem).lines().fold(String::new(), |text, line| format!("{text}    {line}\n"));
                writeln!(
                    text,
                    "not ok {number} - {name}\n  ---\n  type: {}\n  message: |\n{lines}  ...",
                    problem.kind
                )
            }
            (Status::Failed, None) => writeln!(text, "not ok {number} - {name}"),
            (Status::Skipped, problem) => {
                let reason = problem.as_ref().map(|problem| problem.title.as_str()).unwrap_or_default();
                writeln!(text, "ok {number} - {name} # SKIP {reason}")
            }
            (Status::Passed, _) => writeln!(text, "ok {number} - {name}"),
        };
    }
    text
}
