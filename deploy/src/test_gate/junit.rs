//! What a JUnit file says of a test run: totals and the first cases that failed.
//!
//! There is no one schema. Cases are counted; a suite that claims more failures than it shows cases
//! for is believed.

use std::fs::File;
use std::mem;

use serde::Serialize;

use super::document::{self, Element, Part};

/// How many failed cases are named; the totals count all.
const NAMED: usize = 20;
const LONGEST: usize = 300;

/// The results of a test run.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Results {
    pub(super) tests: u64,
    pub(super) failures: u64,
    pub(super) errors: u64,
    pub(super) skipped: u64,
    duration_ms: u64,
    /// The first that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed>,
}

/// A case that failed.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Failed {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

impl Results {
    /// # Errors
    /// Why the file cannot be used.
    pub(super) fn read(file: File) -> Result<Self, String> {
        let mut collector = Collector::default();
        document::walk(file, |part| collector.take(part))?;
        collector.finish()
    }

    pub(super) fn bad(&self) -> u64 {
        self.failures + self.errors
    }

    /// Tests that were not skipped.
    pub(super) fn ran(&self) -> u64 {
        self.tests.saturating_sub(self.skipped)
    }

    /// The failed cases, a line each, under a line with the totals.
    pub(super) fn told(&self) -> String {
        let mut lines = vec![format!("{} of {} tests failed", self.bad(), self.tests)];
        lines.extend(self.failed.iter().map(|failed| match failed.message.as_str() {
            "" => failed.name.clone(),
            message => format!("{}: {message}", failed.name),
        }));
        let more = self.bad().saturating_sub(self.failed.len() as u64);
        lines.extend((more > 0).then(|| format!("… and {more} more")));
        lines.join("\n")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failure,
    Error,
}

#[derive(Default)]
struct Case {
    name: String,
    kind: Option<Kind>,
    skipped: bool,
    message: String,
}

/// What the attributes of a suite say.
#[derive(Default)]
struct Claim {
    tests: u64,
    failures: u64,
    errors: u64,
    skipped: u64,
    seconds: Option<f64>,
}

#[derive(Default)]
struct Collector {
    root: Option<String>,
    counted: Results,
    case_seconds: f64,
    /// Of the root, and summed over the suites below it.
    claims: [Claim; 2],
    suite: String,
    case: Option<Case>,
    /// Inside a `failure` or `error` that has no message of its own yet.
    listens: bool,
}

impl Collector {
    fn take(&mut self, part: &Part<'_>) {
        match part {
            Part::Open(element) => self.open(element),
            Part::Text(text) if self.listens => {
                if let Some(case) = self.case.as_mut().filter(|case| case.message.len() < 4 * LONGEST) {
                    case.message.push_str(text.get(..8 * LONGEST).unwrap_or(text));
                }
            }
            Part::Close("testcase") => self.end_case(),
            Part::Close("failure" | "error") => self.listens = false,
            Part::Text(_) | Part::Close(_) => {}
        }
    }

    fn open(&mut self, element: &Element) {
        if element.depth == 1 {
            self.root = Some(element.name.clone());
        }
        match element.name.as_str() {
            "testsuites" | "testsuite" => self.open_suite(element),
            "testcase" => {
                self.end_case();
                self.case_seconds += element.number("time").unwrap_or(0.0);
                let names = [element.get("classname"), element.get("name")];
                let name = names.into_iter().flatten().filter(|name| !name.is_empty()).collect::<Vec<_>>();
                self.case = Some(Case { name: cut(&name.join(".")), ..Case::default() });
            }
            "failure" => self.fault(element, Kind::Failure),
            "error" => self.fault(element, Kind::Error),
            "skipped" => {
                if let Some(case) = &mut self.case {
                    case.skipped = true;
                }
            }
            _ => {}
        }
    }

    fn open_suite(&mut self, element: &Element) {
        element.get("name").unwrap_or("a test suite").clone_into(&mut self.suite);
        let Some(claim) = self.claims.get_mut(element.depth - 1) else { return };
        let number = |name: &str| element.number::<u64>(name).unwrap_or(0);
        claim.tests = claim.tests.saturating_add(number("tests"));
        claim.failures = claim.failures.saturating_add(number("failures"));
        claim.errors = claim.errors.saturating_add(number("errors"));
        claim.skipped =
            claim.skipped.saturating_add(number("skipped").max(number("skips")).max(number("disabled")));
        if let Some(seconds) = element.number::<f64>("time") {
            *claim.seconds.get_or_insert(0.0) += seconds;
        }
    }

    fn fault(&mut self, element: &Element, kind: Kind) {
        let message = element.get("message").or(element.get("type")).unwrap_or_default();
        match &mut self.case {
            Some(case) if case.kind.is_none() => {
                case.kind = Some(kind);
                message.clone_into(&mut case.message);
                self.listens = element.get("message").is_none_or(|text| text.trim().is_empty());
            }
            Some(_) => {}
            // Of the suite itself: nothing in it may have run.
            None => {
                let (name, message) = (cut(&self.suite), message.to_owned());
                self.count(Case { name, kind: Some(kind), skipped: false, message });
            }
        }
    }

    fn end_case(&mut self) {
        self.listens = false;
        if let Some(case) = self.case.take() {
            self.count(case);
        }
    }

    fn count(&mut self, case: Case) {
        let counted = &mut self.counted;
        counted.tests += 1;
        match case.kind {
            Some(Kind::Failure) => counted.failures += 1,
            Some(Kind::Error) => counted.errors += 1,
            None => counted.skipped += u64::from(case.skipped),
        }
        if case.kind.is_some() && counted.failed.len() < NAMED {
            let first = case.message.lines().map(str::trim).find(|line| !line.is_empty());
            counted.failed.push(Failed { name: case.name, message: cut(first.unwrap_or_default()) });
        }
    }

    fn finish(mut self) -> Result<Results, String> {
        match self.root.as_deref() {
            Some("testsuites" | "testsuite") => {}
            other => return Err(format!("its root is <{}>, not <testsuites>", other.unwrap_or_default())),
        }
        let mut results = mem::take(&mut self.counted);
        let empty = results.tests == 0;
        for claim in &self.claims {
            results.failures = results.failures.max(claim.failures);
            results.errors = results.errors.max(claim.errors);
            if empty {
                results.tests = results.tests.max(claim.tests);
                results.skipped = results.skipped.max(claim.skipped);
            }
        }
        results.tests = results.tests.max(results.bad());
        let seconds = self.claims.iter().find_map(|claim| claim.seconds).unwrap_or(self.case_seconds);
        results.duration_ms = milliseconds(seconds);
        Ok(results)
    }
}

fn milliseconds(seconds: f64) -> u64 {
    let span = std::time::Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Result<Results, String> {
        let mut collector = Collector::default();
        document::walk(xml.as_bytes(), |part| collector.take(part))?;
        collector.finish()
    }

    #[test]
    fn pytest_is_understood() {
        let results = read(
            r#"<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest"
            errors="1" failures="1" skipped="1" tests="4" time="0.087" timestamp="2026-01-01" hostname="h">
            <testcase classname="tests.unit.test_a" name="test_good" time="0.001" />
            <testcase classname="tests.unit.test_a" name="test_bad[&lt;x&gt;]" time="0.001"><failure
              message="AssertionError: assert 1 == 2&#10; +  where">def test_bad(): ...</failure></testcase>
            <testcase classname="tests.unit.test_a" name="test_late" time="0.0"><skipped type="pytest.skip"
              message="later">x</skipped></testcase>
            <testcase classname="tests.unit.test_a" name="test_set_up" time="0"><error
              message="failed on setup">E</error></testcase></testsuite></testsuites>"#,
        )
        .unwrap();
        assert_eq!((results.tests, results.failures, results.errors, results.skipped), (4, 1, 1, 1));
        assert_eq!((results.duration_ms, results.ran(), results.bad()), (87, 3, 2));
        assert_eq!(
            results.told(),
            "2 of 4 tests failed\ntests.unit.test_a.test_bad[<x>]: AssertionError: assert 1 == 2\n\
             tests.unit.test_a.test_set_up: failed on setup"
        );
    }

    #[test]
    fn other_writers_are_understood() {
        let nested = "<testsuites><testsuite name='outer' tests='2' failures='1' time='1,000.5'><testsuite \
                      name='inner' tests='2' failures='1'><testcase name='a'/><testcase name='b'><failure>\n\
                      <![CDATA[ expected <1> ]]></failure><failure message='again'/></testcase></testsuite>\
                      </testsuite></testsuites>";
        let results = read(nested).unwrap();
        assert_eq!((results.tests, results.failures, results.duration_ms), (2, 1, 1_000_500));
        assert_eq!(results.told(), "1 of 2 tests failed\nb: expected <1>");
        let prefixed = "<j:testsuite xmlns:j='x'><j:testcase name='a'/></j:testsuite>";
        assert_eq!(read(prefixed).unwrap().tests, 1);
    }

    #[test]
    fn a_suite_that_claims_or_shows_failures_without_cases_is_believed() {
        let claimed = read("<testsuite tests='3' failures='2'><testcase name='a'/></testsuite>").unwrap();
        assert_eq!((claimed.tests, claimed.failures), (2, 2));
        assert_eq!(claimed.told(), "2 of 2 tests failed\n… and 2 more");
        let shown =
            read("<testsuite name='s'><error message='cannot import'/><testcase name='a'/></testsuite>")
                .unwrap();
        assert_eq!((shown.errors, shown.told().lines().nth(1)), (1, Some("s: cannot import")));
        let totals = read("<testsuites tests='7' skipped='7' failures='0'/>").unwrap();
        assert_eq!((totals.tests, totals.ran()), (7, 0));
    }

    #[test]
    fn many_and_long_failures_are_cut_and_counted() {
        let case = format!(
            "<testcase name='{}'><failure message='{}'/></testcase>",
            "n".repeat(999),
            "ß".repeat(999)
        );
        let results = read(&format!("<testsuite>{}</testsuite>", case.repeat(100))).unwrap();
        assert_eq!((results.failures, results.failed.len()), (100, NAMED));
        assert_eq!(results.failed[0].message.chars().count(), LONGEST + 1);
        assert!(results.told().ends_with("… and 80 more"), "{}", results.told());
    }

    #[test]
    fn something_else_is_no_junit_file() {
        assert!(read("<coverage/>").unwrap_err().contains("<coverage>"));
        assert_eq!(read("<testsuites/>").unwrap().tests, 0);
    }
}
