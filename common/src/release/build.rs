//! The app's own commands in a fresh release: its build, and its tests as a gate.

use std::path::Path;
use std::time::Duration;

use crate::exec::{Program, RunLog};
use crate::instance::base_environment;
use crate::lock::Lock;
use crate::report::{Problem, quoted};

/// Name of the file in the scratch directory of a test run where the tests may write their results.
pub const JUNIT_FILE: &str = "junit.xml";
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const TEST_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Runs the build command in the release directory.
///
/// # Errors
/// `build-failed` with the last lines of output.
pub fn run_build(line: &str, dir: &Path, log: &RunLog, lock: &Lock) -> Result<(), Problem> {
    run(line, dir, log, lock, BUILD_LIMIT, &[])
        .map_err(|problem| rename(problem, "build-failed", "the build failed", log))
}

/// Runs the app's tests: an empty temporary database, no secrets, not the environment's database.
/// All that is theirs for the run lies in `scratch`, an empty directory.
///
/// # Errors
/// `tests-failed` with the last lines of output.
pub fn run_tests(line: &str, dir: &Path, scratch: &Path, log: &RunLog, lock: &Lock) -> Result<(), Problem> {
    let database = scratch.join("test.db").display().to_string();
    let url = format!("sqlite:///{database}");
    let junit = scratch.join(JUNIT_FILE).display().to_string();
    let variables = [
        ("DATABASE_PATH", database.as_str()),
        ("DATABASE_URL", &url),
        ("ENVIRONMENT", "test"),
        ("JUNIT_FILE", &junit),
    ];
    run(line, dir, log, lock, TEST_LIMIT, &variables)
        .map_err(|problem| rename(problem, "tests-failed", "the app's tests failed", log))
}

fn run(
    line: &str,
    dir: &Path,
    log: &RunLog,
    lock: &Lock,
    limit: Duration,
    variables: &[(&str, &str)],
) -> Result<(), Problem> {
    let program =
        Program::shell(line).dir(dir).log(log).guard(lock).limit(limit).only_env(base_environment());
    let program = program.env("PYTHONDONTWRITEBYTECODE", "1");
    variables.iter().fold(program, |program, (name, value)| program.env(name, value)).succeed().map(drop)
}

fn rename(problem: Problem, kind: &str, title: &str, log: &RunLog) -> Problem {
    if problem.kind == "interrupted" {
        return problem;
    }
    let detail = [Some(problem.title), problem.detail].into_iter().flatten().collect::<Vec<_>>().join("\n");
    Problem::new(kind, title).detail(detail).hint(format!("less +G {}", quoted(log.path().display())))
}
