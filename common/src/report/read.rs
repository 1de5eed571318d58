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

    /// The deployment or operation that it names.
    pub fn deployment(&self) -> Option<&str> {
        match self {
            Self::Whole(report) | Self::CutOff(report) => report.deployment.as_deref(),
        }
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
/// contract version. A document that is broken otherwise than by its end is no cut-off report.
pub fn read(text: &str) -> Result<Received, Problem> {
    if text.trim().is_empty() {
        return Err(refuse("the report on stdin is empty: the tool before this one did not start"));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            check_version(&value)?;
            let report = Report::deserialize(value)
                .map_err(|error| refuse("stdin is not a report").detail(error.to_string()))?;
            Ok(Received::Whole(Box::new(report)))
        }
        Err(error) if error.is_eof() => read_head(text),
        Err(error) => Err(refuse("stdin is not a report").detail(error.to_string())),
    }
}

/// Parses the bytes of one report; a character may be cut off at their end, and nowhere else.
///
/// # Errors
/// As [`read`], and for bytes that are not UTF-8.
pub fn read_bytes(bytes: &[u8]) -> Result<Received, Problem> {
    match std::str::from_utf8(bytes) {
        Ok(text) => read(text),
        Err(error) if error.error_len().is_none() => {
            read(&String::from_utf8_lossy(&bytes[..error.valid_up_to()]))
        }
        Err(error) => Err(refuse("stdin is not a report").detail(error.to_string())),
    }
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

    #[test]
    fn only_a_cut_end_makes_a_cut_off_report() {
        let mut report = Report::new("deploy");
        report.deployment = Some("20261123T093012Z-3f2a9c1".into());
        report.problem = Some(Problem::new("x", "ö"));
        let text = text_of(&report);
        let deep = format!("{},\"x\":{}", text.lines().next().unwrap(), "[".repeat(100_000));
        for broken in [
            deep,
            format!("{text}{text}"),
            text.replace("\"success\"", "\"success"),
            text.replace("true", "tru"),
        ] {
            assert!(read(&broken).unwrap_err().is_usage());
        }
        let inside = text.find('ö').unwrap() + 1;
        assert!(matches!(read_bytes(&text.as_bytes()[..inside]), Ok(Received::CutOff(_))));
        let mut bytes = text.into_bytes();
        bytes[inside] = 0xff;
        assert!(read_bytes(&bytes).unwrap_err().is_usage());
    }

    /// Any JSON value, a few levels deep.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[\\x00-\\x7fö]{0,12}".prop_map(Value::from),
            Just(Value::from("../../etc/passwd")),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-z]{0,6}", inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "\\PC{0,80}") {
            let _ = read(&text);
        }

        /// A member of any type is refused, or read and carried on without a panic.
        #[test]
        fn any_member_may_be_anything(at in 0..17_usize, value in any_value()) {
            let mut report = Report::new("deploy");
            report.deployment = Some("20261123T093012Z-3f2a9c1".into());
            report.conclude(Outcome::Failed);
            let mut document = serde_json::to_value(&report).unwrap();
            let names: Vec<String> = document.as_object().unwrap().keys().cloned().collect();
            document[&names[at % names.len()]] = value;
            match read(&document.to_string()) {
                Ok(Received::Whole(read)) => {
                    let mut next = Report::new("verify");
                    next.follow(*read);
                    prop_assert_eq!(next.success, next.outcome == Outcome::Succeeded);
                }
                Ok(Received::CutOff(_)) => prop_assert!(false, "a whole document is never cut off"),
                Err(problem) => prop_assert!(problem.is_usage()),
            }
        }
    }
}
