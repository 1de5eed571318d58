//! `DIR/keeper.json`: what the keeper says about itself and its child.
//! Replaced by rename at every change, so a reader never sees half of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use common::durable;
use rustix::process::WaitStatus;
use serde::Serialize;

use crate::child::{self, Child};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Starting,
    Running,
    Backoff,
    Stopping,
    Stopped,
    Failed,
}

/// How a child ended: one of `code` and `signal` is null. `at_ms` is Unix time.
#[derive(Debug, Serialize)]
pub(crate) struct Exit {
    code: Option<i32>,
    signal: Option<i32>,
    at_ms: u64,
}

/// The members of `keeper.json`; times are Unix milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pid: u32,
    pub(crate) state: State,
    child: Option<i32>,
    child_started_ms: Option<u64>,
    child_start_ticks: Option<u64>,
    pub(crate) starts: u64,
    last_exit: Option<Exit>,
    pub(crate) error: Option<String>,
    pub(crate) error_kind: Option<&'static str>,
    /// SIGKILL was needed to end a child that had been asked to stop.
    pub(crate) killed: bool,
    /// Former children that an upgrade or a stop is still waiting for.
    pub(crate) retiring: Vec<i32>,
    #[serde(skip)]
    path: PathBuf,
}

impl Record {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            pid: std::process::id(),
            state: State::Starting,
            child: None,
            child_started_ms: None,
            child_start_ticks: None,
            starts: 0,
            last_exit: None,
            error: None,
            error_kind: None,
            killed: false,
            retiring: Vec::new(),
            path: dir.join("keeper.json"),
        }
    }

    /// Pid and start time of the child in the record of an earlier keeper.
    pub(crate) fn last_child(dir: &Path) -> Option<(i32, u64)> {
        let text = fs::read(dir.join("keeper.json")).ok()?;
        let record: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let pid = i32::try_from(record["child"].as_i64()?).ok()?;
        Some((pid, record["child_start_ticks"].as_u64()?))
    }

    pub(crate) fn set_child(&mut self, child: Option<&Child>) {
        let pid = child.map(|child| child.pid.as_raw_nonzero().get());
        self.child = pid;
        self.child_started_ms = child.map(|child| unix_ms() - elapsed_ms(child));
        self.child_start_ticks = pid.and_then(child::start_ticks);
    }

    pub(crate) fn set_exit(&mut self, status: WaitStatus) {
        self.last_exit =
            Some(Exit { code: status.exit_status(), signal: status.terminating_signal(), at_ms: unix_ms() });
    }

    pub(crate) fn set_error(&mut self, error: &io::Error, doing: &str) {
        self.error = Some(format!("{doing}: {error}"));
        self.error_kind = Some(match error.kind() {
            io::ErrorKind::AddrInUse => "address_in_use",
            io::ErrorKind::PermissionDenied => "permission_denied",
            _ => "other",
        });
    }

    /// The last word of a keeper that could not begin, where there is room for it.
    pub(crate) fn fail(&mut self, error: &io::Error, doing: &str) {
        self.state = State::Failed;
        self.set_error(error, doing);
        let _ = self.save();
    }

    pub(crate) fn save(&self) -> io::Result<()> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        durable::write_for_now(&self.path, &text)
    }
}

fn elapsed_ms(child: &Child) -> u64 {
    u64::try_from(child.started.elapsed().as_millis()).unwrap_or(0)
}

fn unix_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
