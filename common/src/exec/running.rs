//! Runs a program to its end, in a process group of its own that ends with it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{PipeWriter, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use duct::{Expression, Handle, cmd};
use rustix::process::{Pid, Signal, kill_process_group};

use super::program::Output;
use super::{Program, RunLog};
use crate::fault;
use crate::interrupt;
use crate::lock::{self, Lock};
use crate::report::{OrProblem, Problem, quoted};

/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
/// A shell that has the lock as its stdin for as long as the program runs. `exit` keeps it from
/// becoming the program.
const GUARD: [&str; 4] = ["/bin/sh", "-c", r#""$@" </dev/null; exit $?"#, "sh"];
/// A shell whose stdin ends when we do, and that then ends its whole group.
const TIE: [&str; 4] = ["/bin/sh", "-c", include_str!("tie.sh"), "sh"];

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    /// Empty when it went elsewhere.
    pub stdout: Vec<u8>,
    /// The last lines of its output.
    pub tail: String,
    pub elapsed: Duration,
}

impl Finished {
    /// "exit status 3" or "signal 9".
    pub fn ending(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "an unknown status".into(),
        }
    }
}

impl Program<'_> {
    /// Runs to the end, whatever the exit status.
    ///
    /// # Errors
    /// `not-started`, `time-limit`, `interrupted`.
    pub fn run(&self) -> Result<Finished, Problem> {
        let start = self.run_log().map_or(0, |log| {
            log.title(&self.line());
            log.end()
        });
        let passed = self.lock.and_then(Lock::inheritable);
        let (expression, _tie) = self.expression(passed.as_ref())?;
        let begun = Instant::now();
        let handle = expression
            .start()
            .or_problem("not-started", || format!("cannot start '{}'", self.argv[0].to_string_lossy()))
            .map_err(|problem| {
                problem.hint(format!("command -v {}", quoted(self.argv[0].to_string_lossy())))
            })?;
        drop(passed);
        if fault::takes_child() {
            kill_group(&handle, Signal::KILL);
        }
        let ended = self.wait(&handle, begun);
        kill_group(&handle, Signal::KILL);
        ended?;
        let output =
            handle.into_output().or_problem("not-started", || format!("lost track of '{}'", self.line()))?;
        let tail = match self.run_log() {
            Some(log) => log.tail(start),
            None => String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        };
        Ok(Finished { status: output.status, stdout: output.stdout, tail, elapsed: begun.elapsed() })
    }

    /// Runs and requires exit status 0.
    ///
    /// # Errors
    /// As [`Program::run`], and `command-failed` with the last lines of output.
    pub fn succeed(&self) -> Result<Finished, Problem> {
        let finished = self.run()?;
        if finished.status.success() {
            return Ok(finished);
        }
        let title = format!("'{}' ended with {}", self.line(), finished.ending());
        Err(Problem::new("command-failed", title).detail(finished.tail))
    }

    fn run_log(&self) -> Option<&RunLog> {
        if let Output::Log(log) = self.output { Some(log) } else { None }
    }

    /// What to start, and what must stay open while it runs.
    fn expression(&self, passed: Option<&OwnedFd>) -> Result<(Expression, Option<PipeWriter>), Problem> {
        let guarded = self.guard.and_then(Lock::private_copy);
        let tie = if self.tied { Some(pipe().or_problem("not-started", no_pipe)?) } else { None };
        let (lead, tie) = tie.unzip();
        let wrapper: &[&str] = match (&guarded, &lead) {
            (Some(_), _) => &GUARD,
            (None, Some(_)) => &TIE,
            (None, None) => &[],
        };
        let argv: Vec<&OsStr> =
            wrapper.iter().map(OsStr::new).chain(self.argv.iter().map(OsString::as_os_str)).collect();
        let mut expression = cmd(argv[0], &argv[1..]).unchecked().full_env(self.environment(passed));
        expression = match (guarded, lead, &self.stdin) {
            (Some(lock), ..) => expression.stdin_file(lock),
            (None, Some(lead), _) => expression.stdin_file(lead),
            (None, None, Some(bytes)) => expression.stdin_bytes(bytes.clone()),
            (None, None, None) => expression.stdin_null(),
        };
        expression = match &self.output {
            Output::Stdout(output) => expression.stdout_file(duplicate(output)?).stderr_null(),
            Output::Both(output) => {
                expression.stdout_file(duplicate(output)?).stderr_file(duplicate(output)?)
            }
            Output::Log(log) => expression.stdout_file(log.writer()?).stderr_file(log.writer()?),
            Output::Captured => expression.stdout_capture().stderr_capture(),
        };
        if let Some(dir) = &self.dir {
            expression = expression.dir(dir);
        }
        let expression = expression.before_spawn(|command| {
            command.process_group(0);
            Ok(())
        });
        Ok((expression, tie))
    }

    fn environment(&self, passed: Option<&OwnedFd>) -> BTreeMap<OsString, OsString> {
        let mut variables = self.base.clone().unwrap_or_else(|| std::env::vars_os().collect());
        variables.remove(OsStr::new(lock::INHERITED));
        variables.extend(self.env.iter().cloned());
        variables.extend(passed.map(lock::announce).map(|(name, value)| (name.into(), value.into())));
        variables
    }

    fn wait(&self, handle: &Handle, begun: Instant) -> Result<(), Problem> {
        loop {
            let ended = handle
                .wait_timeout(POLL)
                .or_problem("not-started", || format!("lost track of '{}'", self.line()))?;
            if ended.is_some() {
                return Ok(());
            }
            let reason = if self.limit.is_some_and(|limit| begun.elapsed() > limit) {
                let seconds = self.limit.unwrap_or_default().as_secs();
                Some(Problem::new("time-limit", format!("'{}' did not end within {seconds} s", self.line())))
            } else {
                interrupt::check().err()
            };
            if let Some(problem) = reason {
                kill_group(handle, Signal::TERM);
                let _ = handle.wait_timeout(GRACE);
                kill_group(handle, Signal::KILL);
                return Err(problem);
            }
        }
    }
}

fn duplicate(output: &OwnedFd) -> Result<OwnedFd, Problem> {
    output.try_clone().or_problem("not-started", || "cannot duplicate a pipe".into())
}

fn no_pipe() -> String {
    "cannot make a pipe".into()
}

fn kill_group(handle: &Handle, signal: Signal) {
    for pid in handle.pids() {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_ends_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let line = format!("(sleep 30; touch {}) & echo begun; sleep 30", mark.display());
        let begun = Instant::now();
        let problem = Program::shell(&line).limit(Duration::from_millis(200)).run().unwrap_err();
        assert_eq!(problem.kind, "time-limit");
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(!mark.exists());
    }

    #[test]
    fn output_goes_to_the_log_and_its_tail_to_the_problem() {
        let dir = tempfile::tempdir().unwrap();
        let log = RunLog::create(dir.path(), "deploy", "dev").unwrap();
        let problem = Program::shell("echo out; echo err >&2; exit 3").log(&log).succeed().unwrap_err();
        assert_eq!(problem.detail.as_deref(), Some("out\nerr"));
        assert!(problem.title.ends_with("exit status 3"), "{problem}");
        assert!(std::fs::read_to_string(log.path()).unwrap().contains("# "));
        let again = RunLog::create(dir.path(), "deploy", "dev").unwrap();
        assert_ne!(again.path(), log.path());
    }

    #[test]
    fn stdin_reaches_the_program() {
        let finished = Program::new("cat").stdin(b"x y".to_vec()).succeed().unwrap();
        assert_eq!(finished.stdout, b"x y");
    }
}
