//! What a killed keeper left behind: found, and ended where it would keep the port.
//! Trusts what names it only if pid and kernel start time both still match.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::child;
use crate::group::Departing;
use crate::lock::Lock;
use crate::record::Record;

const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// By the lock file and by the record, oldest first: a record that knows more than the lock file is of a
/// later child. An upgrade or a stop that was cut off leaves several.
pub(crate) fn find(dir: &Path) -> Vec<Pid> {
    let mut found = Vec::new();
    for (pid, start_ticks) in Lock::named(dir).into_iter().chain(Record::last_child(dir)) {
        let lives = child::start_ticks(pid) == Some(start_ticks);
        found.extend(Pid::from_raw(pid).filter(|pid| lives && !found.contains(pid)));
    }
    found
}

/// Blocks until the orphan is gone; at most `patience` and the moment SIGKILL takes.
pub(crate) fn clear(pid: Pid, patience: Duration) {
    let mut orphan = Departing::terminate(pid, patience);
    while !orphan.is_over(Instant::now()) {
        orphan.enforce(Instant::now());
        std::thread::sleep(LOOK_AGAIN);
    }
}
