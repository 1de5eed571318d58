//! The child that a killed keeper left behind: found, and ended where it would keep the port.
//! Trusts the old record only if pid and kernel start time both still match.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::child;
use crate::group::Departing;
use crate::record::Record;

const LOOK_AGAIN: Duration = Duration::from_millis(10);

pub(crate) fn find(dir: &Path) -> Option<Pid> {
    let (pid, start_ticks) = Record::last_child(dir)?;
    if child::start_ticks(pid) == Some(start_ticks) { Pid::from_raw(pid) } else { None }
}

/// Blocks until the orphan is gone; at most `patience` and the moment SIGKILL takes.
pub(crate) fn clear(pid: Pid, patience: Duration) {
    let mut orphan = Departing::terminate(pid, patience);
    while !orphan.is_over(Instant::now()) {
        orphan.enforce(Instant::now());
        std::thread::sleep(LOOK_AGAIN);
    }
}
