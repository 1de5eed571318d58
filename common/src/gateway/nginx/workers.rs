//! nginx's worker processes: a reload leaves the old ones to answer what they were asked, with the
//! old configuration. Who they are is on disk before a reload, so that any later run can wait for
//! them.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::interrupt;
use crate::layout::Place;
use crate::report::{OrProblem, Problem};

const PAUSE: Duration = Duration::from_millis(5);
/// What nginx writes over the command line of a worker that accepts nothing any more.
const LEAVING: &str = "is shutting down";

/// A process, named for good by its pid and the moment of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Worker {
    pid: u32,
    started: u64,
}

impl Worker {
    fn read(pid: u32) -> Option<(Self, u32)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, tail) = stat.rsplit_once(')')?;
        let columns: Vec<&str> = tail.split_ascii_whitespace().collect();
        // A process that only waits to be noticed by its parent answers nobody.
        let lives = !matches!(columns.first(), None | Some(&"Z" | &"X"));
        let (parent, started) = (columns.get(1)?.parse().ok()?, columns.get(19)?.parse().ok()?);
        lives.then_some((Self { pid, started }, parent))
    }

    fn lives(self) -> bool {
        Self::read(self.pid).is_some_and(|(found, _)| found == self)
    }

    /// Whether it is gone, or takes no new connection.
    pub(super) fn has_let_go(self) -> bool {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        !self.lives() || String::from_utf8_lossy(&line).contains(LEAVING)
    }
}

/// The process that starts and ends the workers.
pub(super) fn master_of(worker: u32) -> Option<u32> {
    let (_, parent) = Worker::read(worker)?;
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    (name(worker)? == name(parent)?).then_some(parent)
}

/// All children of a master.
pub(super) fn of_master(master: u32) -> Vec<Worker> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Worker::read).filter(|(_, parent)| *parent == master).map(|(worker, _)| worker).collect()
}

fn file(place: &Place) -> PathBuf {
    place.gateway().join("nginx-workers.json")
}

fn remembered(place: &Place) -> Vec<Worker> {
    let bytes = fs::read(file(place)).unwrap_or_default();
    let known: Vec<Worker> = serde_json::from_slice(&bytes).unwrap_or_default();
    known.into_iter().filter(|worker| worker.lives()).collect()
}

/// Notes workers that a reload will send away; those of earlier reloads that still work stay noted.
pub(super) fn remember(place: &Place, workers: &[Worker]) -> Result<(), Problem> {
    let mut all = remembered(place);
    all.extend(workers.iter().filter(|worker| !all.contains(worker)).copied().collect::<Vec<_>>());
    write(place, &all)
}

fn write(place: &Place, workers: &[Worker]) -> Result<(), Problem> {
    let text = serde_json::to_vec(workers).unwrap_or_default();
    durable::write_for_now(&file(place), &text)
        .or_problem("state-unwritable", || format!("cannot write {}", file(place).display()))
}

/// Whether a reload may be under way whose run was cut off: workers were to go, and have not begun to.
pub(super) fn is_reload_pending(place: &Place) -> bool {
    remembered(place).into_iter().any(|worker| !worker.has_let_go())
}

/// When no reload came after all: those that stay have all the traffic.
pub(super) fn forget_staying(place: &Place) -> Result<(), Problem> {
    let leaving: Vec<Worker> = remembered(place).into_iter().filter(|worker| worker.has_let_go()).collect();
    write(place, &leaving)
}

/// Waits until none is left that a reload sent away; false when some stay.
pub(super) fn await_end(place: &Place, limit: Duration) -> bool {
    let begun = Instant::now();
    while !remembered(place).is_empty() {
        if begun.elapsed() >= limit || interrupt::check().is_err() {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}
