//! Reads a report from another tool: whole, or cut off after a valid line 1.

use serde::Deserialize;
use serde_json::Value;

use super::{Outcome, Problem, Report, VERSION, quoted};

/// A document that came in.
#[derive(Debug, Clone)]
pub enum Received {
    /// The writer finished.
    Whole(Box<Report>),
    /// The writer was killed after line 1: the outcome is `failed`; what changed is unknown, so
    /// `changed` is true and whoever acts on it asks the ledger.
    CutOff(Box<Report>),
}

impl Received {
    /// Gives a good report that names no deployment the id of the operation that continues it.
    #[must_use]
    pub fn named(mut self, id: impl FnOnce() -> String) -> Self {
        if let Self::Whole(report) = &mut self
            && report.success
        {
            report.deployment.get_or_insert_with(id);
        }
        self
    }

    /// The report itself, however it came.
    pub fn report(self) -> Report {
        match self {
            Self::Whole(report) | Self::CutOff(report) => *report,
        }
    }
}

#[derive(Deserialize)]
struct Head {
    version: u32,
    tool: String,
    environment: Option<String>,
    deployment: Option<String>,
    started_at: jiff::Timestamp,
}

/// Parses the text of one report.
///
/// # Errors
/// Usage problems (exit 2): nothing there, no valid first line, a foreign document, an unknown
/// contract version.
pub fn read(text: &str) -> Result<Received, Problem> {
    if text.trim().is_empty() {
        return Err(refuse("the report on stdin is empty: the tool before this one did not start"));
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        check_version(&value)?;
        let report = Report::deserialize(value)
            .map_err(|error| refuse("stdin is not a report").detail(error.to_string()))?;
        return Ok(Received::Whole(Box::new(report)));
    }
    read_head(text)
}

fn read_head(text: &str) -> Result<Received, Problem> {
    let first = text.lines().next().unwrap_or_default().trim_end();
    let value: Value = serde_json::from_str(&format!("{first}}}")).map_err(|error| {
        refuse("stdin does not begin with the first line of a report").detail(error.to_string())
    })?;
    check_version(&value)?;
    let head = Head::deserialize(value).map_err(|error| {
        refuse("stdin does not begin with the first line of a report").detail(error.to_string())
    })?;
    let mut report = Report::new(&head.tool);
    report.version = head.version;
    report.environment = head.environment;
    report.deployment = head.deployment;
    report.started_at = head.started_at;
    report.changed = true;
    report.conclude(Outcome::Failed);
    report.problem = Some(
        Problem::new("cut-off", format!("{} was cut off before it could finish", head.tool))
            .hint(format!("status {}", quoted(report.environment.as_deref().unwrap_or("all")))),
    );
    Ok(Received::CutOff(Box::new(report)))
}

fn check_version(value: &Value) -> Result<(), Problem> {
    match (value.get("version").and_then(Value::as_u64), value.get("tool")) {
        (Some(version), Some(_)) if version == u64::from(VERSION) => Ok(()),
        (Some(version), Some(_)) => Err(refuse(format!(
            "the report on stdin has contract version {version}, this tool speaks {VERSION}"
        ))),
        _ => Err(refuse("stdin is a JSON document, but not a report")),
    }
}

fn refuse(title: impl Into<String>) -> Problem {
    Problem::usage(title).hint("deploy dev | verify | rollback")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Writer;
    use super::*;

    fn text_of(report: &Report) -> String {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).write_rest(report);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_document_cut_anywhere_is_read_or_refused_never_believed() {
        let mut report = Report::new("deploy");
        report.deployment = Some("20261123T093012Z-3f2a9c1".into());
        let text = text_of(&report);
        let first_line = text.find('\n').unwrap();
        for end in 0..text.trim_end().len() {
            match read(&text[..end]) {
                Ok(Received::CutOff(head)) => {
                    assert!(end >= first_line, "cut at {end}");
                    assert_eq!(head.deployment, report.deployment);
                    assert_eq!(head.outcome, Outcome::Failed);
                }
                Ok(Received::Whole(_)) => panic!("cut at {end} was believed"),
                Err(problem) => assert!(end < first_line && problem.is_usage()),
            }
        }
        assert!(matches!(read(&text), Ok(Received::Whole(_))));
    }

    #[test]
    fn unknown_members_are_ignored_and_unknown_versions_refused() {
        let text = text_of(&Report::new("verify"));
        assert!(read(&text.replacen("\"tool\"", "\"colour\":1,\"tool\"", 1)).is_ok());
        let other = read(&text.replacen("\"version\":1", "\"version\":7", 1)).unwrap_err();
        assert!(other.title.contains("version 7"), "{other}");
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "\\PC{0,80}") {
            let _ = read(&text);
        }
    }
}
