//! The processes that a world leaves running, ended by pid and nobody else's with them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

/// Ends every keeper whose record lies below a state directory, and what it keeps.
pub fn end_below(state: &Path) {
    for record in records_below(state) {
        end_keeper(&record, state);
    }
}

/// Waits until no process works below `state` any more.
///
/// # Panics
/// When some do not end.
pub fn await_end_below(state: &Path) {
    let begun = Instant::now();
    while any_below(state) {
        assert!(begun.elapsed() < Duration::from_secs(10), "processes below {} do not end", state.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn any_below(state: &Path) -> bool {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let mut pids = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| u32::try_from(*pid) != Ok(std::process::id()))
        .filter_map(Pid::from_raw);
    pids.any(|pid| works_below(pid, state) || is_exiting(pid))
}

/// Such a process may be one of ours: it has given up all by which it could be known, and still has
/// its files and ports for a moment.
fn is_exiting(pid: Pid) -> bool {
    const EXITING: u64 = 4;
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let columns: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, columns)| columns).split_whitespace().collect();
    let flags = columns.get(6).and_then(|flags| flags.parse::<u64>().ok()).unwrap_or(0);
    let is_gone = columns.first().is_none_or(|state| matches!(*state, "Z" | "X"));
    !is_gone && flags & EXITING != 0
}

fn records_below(state: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(state)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_name() == "keeper.json")
        .map(walkdir::DirEntry::into_path)
        .collect()
}

/// Ends a keeper and what it keeps, and nobody else: the lock proves that the pid is still its own.
fn end_keeper(record: &Path, state: &Path) {
    let Some(dir) = record.parent() else { return };
    let facts: Value =
        fs::read(record).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let alive = File::open(dir.join("keeper.lock")).is_ok_and(|lock| lock.try_lock_shared().is_err());
    let pid =
        |name: &str| facts[name].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let (true, Some(keeper)) = (alive, pid("pid")) {
        let _ = kill_process(keeper, Signal::KILL);
    }
    if let Some(child) = pid("child").filter(|child| works_below(*child, state)) {
        let _ = kill_process_group(child, Signal::KILL);
    }
}

/// Whether a process was started from below `state`.
fn works_below(pid: Pid, state: &Path) -> bool {
    let read = |file: &str| fs::read(format!("/proc/{}/{file}", pid.as_raw_nonzero())).unwrap_or_default();
    let cwd = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).unwrap_or_default();
    let seen = [read("cmdline"), read("environ")].concat();
    cwd.starts_with(state) || String::from_utf8_lossy(&seen).contains(&*state.to_string_lossy())
}
