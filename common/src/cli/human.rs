//! Renders a report for people.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::Value;

use crate::report::{Problem, Report, Status};

/// Prints the report on stdout, its problem on stderr.
pub(super) fn print_report(report: &Report, told: &[String]) {
    let _ = std::io::stdout().write_all(harmless(&render(report, told)).as_bytes());
    if let Some(problem) = report.problem.as_ref().filter(|_| !report.success) {
        print_problem(problem);
    }
}

/// Prints `error:`, its detail and its `hint:` on stderr.
pub(super) fn print_problem(problem: &Problem) {
    let mut text = format!("error: {}\n", harmless_line(&problem.title));
    for line in problem.detail.iter().flat_map(|detail| detail.lines()) {
        let _ = writeln!(text, "  {line}");
    }
    if let Some(hint) = &problem.hint {
        let _ = writeln!(text, "hint: {}", harmless_line(hint));
    }
    let _ = std::io::stderr().write_all(harmless(&text).as_bytes());
}

/// Control characters that came with somebody's text never reach the terminal, nor those that
/// make it show a line in another order than it is written.
pub(super) fn harmless(text: &str) -> String {
    let acts = |c: char| (c.is_control() && c != '\n' && c != '\t') || turns_direction(c);
    text.chars().map(|c| if acts(c) { '\u{fffd}' } else { c }).collect()
}

/// As [`harmless`], for text that has one line of its own: it cannot begin another.
pub(super) fn harmless_line(text: &str) -> String {
    harmless(text).replace(['\n', '\u{2028}', '\u{2029}'], "\u{fffd}")
}

fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn render(report: &Report, told: &[String]) -> String {
    let mut text = String::new();
    let place = report.environment.as_deref().unwrap_or_default();
    let seconds = f64::from(u32::try_from(report.duration_ms).unwrap_or(u32::MAX)) / 1000.0;
    let subject = harmless_line(&format!("{} {place}", report.tool));
    let _ = writeln!(text, "{}: {} in {seconds:.2} s", subject.trim_end(), report.outcome.word());
    for (label, value) in facts(report) {
        let _ = writeln!(text, "  {label:<11} {}", harmless_line(&value));
    }
    for line in told {
        let _ = writeln!(text, "  {}", harmless_line(line));
    }
    let own = report.details.iter().filter(|(tool, _)| told.is_empty() && **tool == report.tool);
    for (tool, value) in own {
        render_value(&mut text, tool, value, 1);
    }
    text
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let (mut passed, mut skipped) = (0, 0);
    for step in &report.steps {
        match step.status {
            Status::Passed => passed += 1,
            Status::Skipped => skipped += 1,
            Status::Failed => {}
        }
    }
    let mut facts = Vec::new();
    facts.extend(report.deployment.clone().map(|id| ("deployment", id)));
    facts.extend(report.serving.clone().map(|revision| ("serving", revision)));
    facts.extend(report.previous.clone().filter(|_| report.changed).map(|revision| ("previous", revision)));
    if !report.steps.is_empty() {
        let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
        facts.push(("steps", format!("{passed} passed of {}{skipped}", report.steps.len())));
    }
    facts.extend(report.log_file.clone().map(|file| ("log", file)));
    facts
}

fn render_value(text: &mut String, name: &str, value: &Value, depth: usize) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(members) => {
            let _ = writeln!(text, "{pad}{}", harmless_line(name));
            for (key, member) in members {
                render_value(text, key, member, depth + 1);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let _ = writeln!(text, "{pad}{}", harmless_line(name));
            for item in items {
                let _ = writeln!(text, "{pad}  {}", one_line(item));
            }
        }
        other => {
            let _ = writeln!(text, "{pad}{:<16} {}", harmless_line(name), one_line(other));
        }
    }
}

fn one_line(value: &Value) -> String {
    match value {
        Value::String(text) => harmless_line(text),
        Value::Array(items) => items.iter().map(one_line).collect::<Vec<_>>().join(", "),
        Value::Object(members) => members
            .iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(key, member)| format!("{} {}", harmless_line(key), one_line(member)))
            .collect::<Vec<_>>()
            .join("  "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::{Outcome, Step};

    /// A report that has `text` wherever somebody else's text can stand.
    fn report_of(text: &str) -> Report {
        let mut report = Report::new(text);
        let foreign = Some(text.to_owned());
        report.environment.clone_from(&foreign);
        report.deployment.clone_from(&foreign);
        report.serving.clone_from(&foreign);
        report.log_file = foreign;
        report
            .details
            .insert(text.to_owned(), serde_json::json!({ "a": text, "b": [text], "c": [{ "d": text }] }));
        report.push(Step::new(text.to_owned(), text, 1));
        report.conclude(Outcome::Failed);
        report
    }

    fn acts(c: char) -> bool {
        (c.is_control() && c != '\n' && c != '\t') || turns_direction(c)
    }

    proptest! {
        #[test]
        fn no_text_acts_on_the_terminal_or_makes_a_line_of_its_own(text in "[\\x00-\\x7f\u{80}-\u{9f}\u{202e}\u{2066}ö]{0,20}") {
            let told = [text.clone()];
            let lines = |told: &[String], text: &str| harmless(&render(&report_of(text), told)).lines().count();
            let shown = harmless(&render(&report_of(&text), &told));
            prop_assert!(!shown.contains(acts), "{:?}", shown);
            prop_assert_eq!(lines(&told, &text), lines(&[String::from("x")], "x"));
            prop_assert!(!harmless_line(&text).contains('\n'));
        }
    }
}
