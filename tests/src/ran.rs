//! How a command ended, and what a test may require of that.

use std::process::{Child, Output};

use common::report::Report;

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Takes what a finished command left.
    pub fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The report on stdout.
    ///
    /// # Panics
    /// When stdout is not exactly one report.
    pub fn report(&self) -> Report {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("stdout is no report ({error}):\n{}\nstderr:\n{}", self.stdout, self.stderr)
        })
    }

    /// Requires exit 0.
    ///
    /// # Panics
    /// When it ended otherwise, with everything it printed.
    #[track_caller]
    pub fn ok(&self) -> &Self {
        assert_eq!(self.status, 0, "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Requires that a shell line ended well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok_shell(&self) {
        assert_eq!(self.status, 0, "{}", self.stderr);
    }

    /// Requires exit 1 and this problem.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn refused(&self, kind: &str) -> Report {
        self.ended_with(1, kind)
    }

    /// Requires a failure with one of these problems.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn ended_with_any(&self, kinds: &[&str]) {
        assert_ne!(self.status, 0, "{}", self.stdout);
        let kind = self.report().problem.map(|problem| problem.kind).unwrap_or_default();
        assert!(kinds.contains(&kind.as_str()), "{kind} is none of {kinds:?}");
    }

    /// Requires an exit status and a problem that has a hint.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn ended_with(&self, status: i32, kind: &str) -> Report {
        let report = self.report();
        assert_eq!(self.status, status, "{}\n{}", self.stdout, self.stderr);
        let problem = report.problem.as_ref().unwrap_or_else(|| panic!("no problem in {}", self.stdout));
        assert_eq!(problem.kind, kind, "{}", self.stdout);
        assert!(problem.hint.is_some(), "no hint in {problem:?}");
        report
    }
}

/// A program that a test has started, and that ends with it.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
