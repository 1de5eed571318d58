//! Signals to a whole process group. The leader's pid is the group's id.
//! Knows nothing of why a group is to end.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// Even SIGKILL needs a moment, and a process in an uninterruptible sleep ignores it.
const AFTER_KILL: Duration = Duration::from_secs(2);

/// A group that was told to end.
#[derive(Debug)]
pub(crate) struct Departing {
    pub(crate) pid: Pid,
    deadline: Instant,
    killed: bool,
}

impl Departing {
    /// SIGTERM now, SIGKILL after `patience`.
    pub(crate) fn terminate(pid: Pid, patience: Duration) -> Self {
        let _ = kill_process_group(pid, Signal::TERM);
        Self { pid, deadline: Instant::now() + patience, killed: false }
    }

    /// SIGKILL now: the leader is gone, what is left belongs to nobody.
    pub(crate) fn kill(pid: Pid) -> Self {
        let _ = kill_process_group(pid, Signal::KILL);
        Self { pid, deadline: Instant::now() + AFTER_KILL, killed: true }
    }

    /// Sends SIGKILL when patience has run out; true if that happened now.
    pub(crate) fn enforce(&mut self, now: Instant) -> bool {
        if self.killed || now < self.deadline {
            return false;
        }
        *self = Self::kill(self.pid);
        true
    }

    /// Gone, or beyond what a signal can do.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        test_kill_process_group(self.pid) == Err(Errno::SRCH) || (self.killed && now >= self.deadline)
    }
}
