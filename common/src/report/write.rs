//! Writes a report head first: line 1 identifies the run and is flushed before anything is
//! changed, line 2 follows at the end. Together they are one JSON object. A report can be large: it
//! is written as it stands, never copied.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::mem::replace;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

use super::{Outcome, Problem, Release, Report, Step};

/// Writes one report to `out`; a reader that is gone is not an error of ours.
pub struct Writer<W: Write> {
    out: BufWriter<W>,
    head_written: bool,
}

/// The members of line 1, and on line 2 the others.
#[derive(Serialize)]
struct Head<'a> {
    version: u32,
    tool: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<&'a str>,
    started_at: Timestamp,
}

#[derive(Serialize)]
struct Rest<'a> {
    success: bool,
    outcome: Outcome,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    serving: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<&'a Release>,
    details: &'a BTreeMap<String, Value>,
    steps: &'a [Step],
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_file: Option<&'a str>,
    duration_ms: u64,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self { out: BufWriter::new(out), head_written: false }
    }

    /// Writes line 1 and flushes it. Later calls do nothing.
    pub fn write_head(&mut self, report: &Report) {
        if !self.head_written {
            self.head_written = true;
            let (head, _) = split(report);
            ignore_gone_reader(self.write_line(&head, Line::First));
        }
    }

    /// Writes what is missing of the document.
    pub fn write_rest(&mut self, report: &Report) {
        self.write_head(report);
        let (_, rest) = split(report);
        ignore_gone_reader(self.write_line(&rest, Line::Second { has_begun: false }));
    }

    fn write_line(&mut self, members: &impl Serialize, line: Line) -> io::Result<()> {
        members.serialize(&mut Serializer::with_formatter(&mut self.out, line))?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

/// Which part of the one object is written.
enum Line {
    /// Without the brace at its end; it holds no other object.
    First,
    /// With a comma in place of its first brace.
    Second { has_begun: bool },
}

impl Formatter for Line {
    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        let continues = match self {
            Self::First => false,
            Self::Second { has_begun } => !replace(has_begun, true),
        };
        out.write_all(if continues { b"," } else { b"{" })
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(if matches!(self, Self::First) { b"" } else { b"}" })
    }
}

/// The head members and the others.
fn split(report: &Report) -> (Head<'_>, Rest<'_>) {
    #[rustfmt::skip]
    let Report {
        version, tool, environment, deployment, started_at,
        success, outcome, changed, serving, previous, release, details, steps, problem, log_file, duration_ms,
    } = report;
    let head = Head {
        version: *version,
        tool,
        environment: environment.as_deref(),
        deployment: deployment.as_deref(),
        started_at: *started_at,
    };
    let rest = Rest {
        success: *success,
        outcome: *outcome,
        changed: *changed,
        serving: serving.as_deref(),
        previous: previous.as_deref(),
        release: release.as_ref(),
        details,
        steps,
        problem: problem.as_ref(),
        log_file: log_file.as_deref(),
        duration_ms: *duration_ms,
    };
    (head, rest)
}

fn ignore_gone_reader(result: io::Result<()>) {
    drop(result);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Report {
        let mut report = Report::new("deploy");
        let text = |text: &str| Some(text.to_owned());
        (report.environment, report.deployment) = (text("dev"), text("20261123T093012Z-3f2a9c1"));
        (report.serving, report.previous, report.log_file) = (text("b"), text("a"), text("/tmp/x.log"));
        report.release = Some(Release { revision: "b".into(), branch: text("main"), tree: None });
        report.details.insert("verify".into(), serde_json::json!({ "counts": { "passed": 1 }, "none": {} }));
        report.push(Step::new("verify", "routes", 1).fail(Problem::new("x", "is wrong").hint("true")));
        report.problem = Some(Problem::new("x", "is wrong"));
        report.conclude(Outcome::Failed);
        report
    }

    fn written(report: &Report) -> String {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.write_head(report);
        writer.write_rest(report);
        drop(writer);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn two_lines_make_one_document() {
        let mut report = full();
        report.changed = true;
        let text = written(&report);
        assert_eq!(text.lines().count(), 2);
        let back: Report = serde_json::from_str(&text).unwrap();
        assert!(back.changed);
        let first = format!("{}}}", text.lines().next().unwrap());
        assert_eq!(serde_json::from_str::<Value>(&first).unwrap()["environment"], "dev");
    }

    #[test]
    fn no_member_is_left_out_and_all_stand_in_their_order() {
        for report in [full(), Report::new("verify")] {
            assert_eq!(written(&report).replace('\n', ""), serde_json::to_string(&report).unwrap());
        }
    }
}
