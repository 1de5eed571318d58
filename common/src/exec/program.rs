//! One program run to its end.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use duct::{Expression, Handle, cmd};
use rustix::process::{Pid, Signal, kill_process_group};

use super::RunLog;
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

/// What to run and under which limits.
pub struct Program<'a> {
    argv: Vec<OsString>,
    dir: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    base: Option<BTreeMap<OsString, OsString>>,
    stdin: Option<Vec<u8>>,
    log: Option<&'a RunLog>,
    unseen: Option<OwnedFd>,
    lock: Option<&'a Lock>,
    guard: Option<&'a Lock>,
    limit: Option<Duration>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    /// Captured only when there is no log.
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

impl<'a> Program<'a> {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let argv = vec![program.as_ref().to_owned()];
        Self {
            argv,
            dir: None,
            env: Vec::new(),
            base: None,
            stdin: None,
            log: None,
            unseen: None,
            lock: None,
            guard: None,
            limit: None,
        }
    }

    /// A command line that the operator wrote in the configuration.
    pub fn shell(line: &str) -> Self {
        Self::new("/bin/sh").args(["-c", line])
    }

    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.argv.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Replaces the inherited environment by `base`.
    #[must_use]
    pub fn only_env(mut self, base: BTreeMap<OsString, OsString>) -> Self {
        self.base = Some(base);
        self
    }

    #[must_use]
    pub fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// Sends stdout and stderr to the run's log instead of capturing them.
    #[must_use]
    pub fn log(mut self, log: &'a RunLog) -> Self {
        self.log = Some(log);
        self
    }

    /// Sends stdout to `output` alone and stderr nowhere: what it prints is secret.
    #[must_use]
    pub fn unseen(mut self, output: OwnedFd) -> Self {
        self.unseen = Some(output);
        self
    }

    /// Keeps the environment's lock alive while the program works, without handing it on: what the
    /// program leaves running in the background must not hold it. Its stdin is empty then.
    #[must_use]
    pub fn guard(mut self, lock: &'a Lock) -> Self {
        self.guard = Some(lock);
        self
    }

    /// Lets a sibling take over the environment's lock while it works.
    #[must_use]
    pub fn lock(mut self, lock: &'a Lock) -> Self {
        self.lock = Some(lock);
        self
    }

    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The command line for logs and problems.
    pub fn line(&self) -> String {
        self.argv.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// Runs to the end, whatever the exit status.
    ///
    /// # Errors
    /// `not-started`, `time-limit`, `interrupted`.
    pub fn run(&self) -> Result<Finished, Problem> {
        let start = self.log.map_or(0, |log| {
            log.title(&self.line());
            log.end()
        });
        let passed = self.lock.and_then(Lock::inheritable);
        let expression = self.expression(passed.as_ref())?;
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
        let tail = match self.log {
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

    fn expression(&self, passed: Option<&OwnedFd>) -> Result<Expression, Problem> {
        let guarded = self.guard.and_then(Lock::private_copy);
        let wrapper: &[&str] = if guarded.is_some() { &GUARD } else { &[] };
        let argv: Vec<&OsStr> =
            wrapper.iter().map(OsStr::new).chain(self.argv.iter().map(OsString::as_os_str)).collect();
        let mut expression = cmd(argv[0], &argv[1..]).unchecked().full_env(self.environment(passed));
        expression = match (guarded, &self.stdin) {
            (Some(lock), _) => expression.stdin_file(lock),
            (None, Some(bytes)) => expression.stdin_bytes(bytes.clone()),
            (None, None) => expression.stdin_null(),
        };
        expression = match (&self.unseen, self.log) {
            (Some(output), _) => expression.stdout_file(duplicate(output)?).stderr_null(),
            (None, Some(log)) => expression.stdout_file(log.writer()?).stderr_file(log.writer()?),
            (None, None) => expression.stdout_capture().stderr_capture(),
        };
        if let Some(dir) = &self.dir {
            expression = expression.dir(dir);
        }
        Ok(expression.before_spawn(|command| {
            command.process_group(0);
            Ok(())
        }))
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
