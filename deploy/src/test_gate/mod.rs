//! The app's own tests as a gate: they must end well, their JUnit file may not say otherwise, at
//! least one test must have run, and enough lines must be covered. What they wrote into the release
//! is taken out again.
//!
//! `document` reads XML, `junit` and `coverage` what it says, `traces` knows what was written.

mod coverage;
mod document;
mod junit;
mod traces;

use std::path::Path;

use common::exec::RunLog;
use common::release;
use common::report::{OrProblem, Problem, quoted};
use common::site::Site;

use crate::source::Source;
use coverage::{Coverage, Place};
use junit::Results;
use traces::Inventory;

/// What the tests said, also when the gate refuses.
#[derive(Default)]
pub(crate) struct Findings {
    /// From the JUnit file, when the tests wrote one.
    pub(crate) results: Option<Results>,
    pub(crate) coverage: Option<Coverage>,
    /// Files and directories that the tests had left in the release.
    pub(crate) removed: u64,
}

/// Runs the test command in the release directory and judges what it says.
///
/// # Errors
/// `tests-failed`, `junit-unreadable`, `no-tests-ran`, `coverage-missing`, `coverage-unreadable`,
/// `coverage-too-low`, `release-changed`.
pub(crate) fn run(
    site: &Site,
    source: &Source,
    dir: &Path,
    line: &str,
    findings: &mut Findings,
) -> Result<(), Problem> {
    let scratch =
        tempfile::tempdir().or_problem("tests-failed", || "cannot make a temporary directory".into())?;
    let wanted = site.config.app.coverage.as_ref();
    let place = wanted.map(|wanted| Place::clear(dir, wanted, scratch.path())).transpose()?;
    let inventory = Inventory::take(dir)?;
    let ended = release::run_tests(line, dir, scratch.path(), &site.log, &site.lock);
    judge(ended, read_results(&scratch.path().join(release::JUNIT_FILE), &site.log), findings)?;
    if let Some(place) = &place {
        findings.coverage.insert(place.read()?).judge()?;
    }
    findings.removed = inventory.restore(&source.repository.files(&source.revision)?)?;
    place.map_or(Ok(()), |place| place.put_back())
}

/// None when the tests wrote no JUnit file.
fn read_results(file: &Path, log: &RunLog) -> Result<Option<Results>, Problem> {
    let read = document::open(file).and_then(|file| file.map(Results::read).transpose());
    read.map_err(|why| {
        Problem::new("junit-unreadable", "the JUnit file that the app's tests wrote cannot be used")
            .detail(why)
            .hint(format!("less +G {}", quoted(log.path().display())))
    })
}

fn judge(
    ended: Result<(), Problem>,
    read: Result<Option<Results>, Problem>,
    findings: &mut Findings,
) -> Result<(), Problem> {
    let results = match (&ended, read) {
        (Ok(()), read) => read?,
        // They failed: that the file is broken too is no news.
        (Err(_), read) => read.unwrap_or_default(),
    };
    let verdict = match (ended, &results) {
        (Err(problem), Some(results)) if problem.kind == "tests-failed" && results.bad() > 0 => {
            Err(problem.detail(results.told()))
        }
        (Ok(()), Some(results)) if results.bad() > 0 => Err(Problem::new(
            "tests-failed",
            "the test command ended well, but its JUnit file names failed tests",
        )
        .detail(results.told())
        .hint("sed -n '/^test =/p' deploy.toml   # it must end with the status of the tests")),
        // A gate that asked nothing has not been passed.
        (Ok(()), Some(results)) if results.ran() == 0 => Err(Problem::new("no-tests-ran", "no test was run")
            .detail(format!("the JUnit file lists {} tests, {} skipped", results.tests, results.skipped))
            .hint("sed -n '/^test =/p' deploy.toml   # without that line there is no such gate")),
        (ended, _) => ended,
    };
    findings.results = results;
    verdict
}
