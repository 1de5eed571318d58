//! What to run: the words, where, with which environment, where it prints, for how long.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::RunLog;
use crate::lock::Lock;

/// What to run and under which limits.
pub struct Program<'a> {
    pub(super) argv: Vec<OsString>,
    pub(super) dir: Option<PathBuf>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) base: Option<BTreeMap<OsString, OsString>>,
    pub(super) stdin: Option<Vec<u8>>,
    pub(super) output: Output<'a>,
    pub(super) lock: Option<&'a Lock>,
    pub(super) guard: Option<&'a Lock>,
    pub(super) tied: bool,
    pub(super) limit: Option<Duration>,
}

/// Where it prints.
pub(super) enum Output<'a> {
    Captured,
    Log(&'a RunLog),
    /// stdout alone; stderr goes nowhere.
    Stdout(OwnedFd),
    Both(OwnedFd),
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
            output: Output::Captured,
            lock: None,
            guard: None,
            tied: false,
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
        self.output = Output::Log(log);
        self
    }

    /// Sends stdout to `output` alone and stderr nowhere: what it prints is secret.
    #[must_use]
    pub fn unseen(mut self, output: OwnedFd) -> Self {
        self.output = Output::Stdout(output);
        self
    }

    /// Ends the program and all that it started when we end, even by SIGKILL. Its stdin is empty then.
    #[must_use]
    pub fn tied(mut self) -> Self {
        self.tied = true;
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
}
