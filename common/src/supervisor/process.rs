//! The `process` supervisor: each instance has a keeper, a small parent that restarts it with
//! back-off and keeps its log. A keeper lives exactly as long as the lock on its `keeper.lock`.

use std::fs::{self, File, Metadata, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::Deserialize;

use super::{Condition, Start, Stopped};
use crate::clock;
use crate::exec::companion;
use crate::identity::Owner;
use crate::instance::Instance;
use crate::layout::{Place, Slot};
use crate::process::{await_end, to_pid};
use crate::report::{OrProblem, Problem};

const RECORD: &str = "keeper.json";
const LOCK: &str = "keeper.lock";
/// How much longer than its own limit a keeper may take to end.
const SLACK: Duration = Duration::from_secs(5);
const STARTED: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_secs(2);
/// What a keeper ends with when it could not say what it keeps, and when another one is there.
const UNRECORDED: i32 = 74;
const LOCKED: i32 = 75;
const PAUSE: Duration = Duration::from_millis(1);

/// What `keeper.json` says.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct KeeperRecord {
    pub(crate) pid: u32,
    pub(crate) state: String,
    pub(crate) child: Option<u32>,
    starts: u64,
    last_exit: Option<Ending>,
    pub(crate) error: Option<String>,
    pub(crate) error_kind: Option<String>,
    #[serde(default)]
    killed: bool,
}

#[derive(Debug, Deserialize)]
struct Ending {
    code: Option<i32>,
    signal: Option<i32>,
}

impl KeeperRecord {
    /// The record in a keeper's directory.
    pub(crate) fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.join(RECORD)).ok()?).ok()
    }

    fn ending(&self) -> String {
        match &self.last_exit {
            Some(Ending { code: Some(code), .. }) => format!("exit status {code}"),
            Some(Ending { signal: Some(signal), .. }) => format!("signal {signal}"),
            _ => self.error.clone().unwrap_or_else(|| "an unknown status".into()),
        }
    }
}

/// Whether a keeper lives in `dir`.
pub(crate) fn keeper_lives(dir: &Path) -> bool {
    File::open(dir.join(LOCK))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Starts a keeper in `dir` and waits until it has its child, or has failed.
pub(crate) fn start_keeper(dir: &Path, mut command: Command, stdin: Stdio) -> Result<KeeperRecord, Problem> {
    let mut keeper = command
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env_remove(crate::lock::INHERITED)
        .spawn()
        .or_problem("not-started", || "cannot start the keeper".into())?;
    let begun = Instant::now();
    while begun.elapsed() < STARTED {
        // In this order: its last word comes before its end.
        let ended = keeper.try_wait().ok().flatten();
        let own = KeeperRecord::read(dir).filter(|record| record.pid == keeper.id());
        if let Some(record) = own.filter(|record| record.state != "starting") {
            return Ok(record);
        }
        if let Some(status) = ended {
            return Err(not_kept(dir, status));
        }
        sleep(PAUSE);
    }
    Err(Problem::new("not-started", format!("the keeper in {} did not begin", dir.display())))
}

fn not_kept(dir: &Path, status: ExitStatus) -> Problem {
    let title = match status.code() {
        Some(UNRECORDED) => format!("the keeper could not write {}", dir.join(RECORD).display()),
        Some(LOCKED) => format!("another keeper works in {}", dir.display()),
        _ => format!("the keeper ended with {status}"),
    };
    Problem::new("not-started", title)
}

/// A keeper in `dir`, which has its log there and grants its child `grace` to end; its options may go
/// on, and what it keeps follows `--`.
pub(crate) fn keeper_command(dir: &Path, log: &str, grace: Duration) -> Result<Command, Problem> {
    let mut command = Command::new(companion("deploy-keeper")?);
    command.arg("--dir").arg(dir).arg("--log").arg(dir.join(log));
    command.args(["--stop-timeout-ms", &grace.as_millis().to_string()]);
    Ok(command)
}

pub(super) fn start(place: &Place, start: Start<'_>) -> Result<(), Problem> {
    let dir = place.slot(start.slot);
    let mut command = keeper_command(&dir, "app.log", start.grace)?;
    command
        .args(["--", "/bin/sh", "-c", start.run])
        .current_dir(&start.dir)
        .env_clear()
        .envs(start.environment);
    let _ = fs::remove_file(dir.join("app.log"));
    start_keeper(&dir, command, Stdio::null()).map(drop)
}

pub(super) fn condition(place: &Place, slot: Slot) -> Condition {
    let dir = place.slot(slot);
    let Some(record) = KeeperRecord::read(&dir) else { return Condition::Stopped };
    if keeper_lives(&dir) {
        return match (record.state.as_str(), record.child) {
            ("running", Some(pid)) if record.starts == 1 || record.last_exit.is_none() => {
                running(&record, pid)
            }
            ("running", Some(pid)) if has_settled(pid) => running(&record, pid),
            _ => Condition::Exited { ending: record.ending() },
        };
    }
    match orphans(place, slot).pop() {
        Some(pid) => Condition::Orphaned { pid },
        None if record.state == "stopped" => Condition::Stopped,
        None => Condition::Exited { ending: record.ending() },
    }
}

fn running(record: &KeeperRecord, pid: u32) -> Condition {
    let since_ms = Owner::read(pid).map_or(0, |owner| owner.started_at.as_millisecond());
    Condition::Running { pid, starts: record.starts, since_ms }
}

/// A restarted instance counts as running once it has lived for two seconds, by the kernel's time.
fn has_settled(pid: u32) -> bool {
    Owner::read(pid).is_some_and(|owner| clock::age(owner.started_at.as_millisecond()) >= Ok(SETTLED))
}

/// The instance's processes that outlived their keeper, oldest first. Its lock file names also those
/// that it had asked to end, and those that a full disk kept out of the record.
fn orphans(place: &Place, slot: Slot) -> Vec<u32> {
    let dir = place.slot(slot);
    let Some(Instance { release, .. }) = Instance::read(place, slot) else { return Vec::new() };
    let directory = place.release(&release);
    let mut found = named_by_lock(&dir);
    let recorded = KeeperRecord::read(&dir).and_then(|record| record.child);
    found.extend(recorded.filter(|pid| !found.contains(pid)));
    found.retain(|pid| Owner::read(*pid).is_some_and(|owner| owner.belongs_to(&release, &directory)));
    found
}

/// The lines after the keeper's own hold a pid and its start ticks each.
fn named_by_lock(dir: &Path) -> Vec<u32> {
    let text = fs::read_to_string(dir.join(LOCK)).unwrap_or_default();
    let lives = |line: &str| {
        let (pid, ticks) = line.split_once(' ')?;
        let owner = Owner::read(pid.parse().ok()?)?;
        (Some(owner.started_ticks) == ticks.parse().ok()).then_some(owner.pid)
    };
    text.lines().filter_map(lives).collect()
}

pub(super) fn stop(place: &Place, slot: Slot) -> Result<Stopped, Problem> {
    let mut stopped = stop_keeper(&place.slot(slot), GRACE)?.unwrap_or_default();
    // Also after a keeper: it may have been killed before its child had ended.
    for pid in orphans(place, slot) {
        stopped.killed |= stop_orphan(pid)?.killed;
    }
    Ok(stopped)
}

/// The keeper that lives in `dir`: who has signed the lock and has it open. The record may still be
/// that of the one before, and for an instant so may the signature: then, as without a keeper, `None`.
pub(crate) fn keeper_of(dir: &Path) -> Option<Pid> {
    let path = dir.join(LOCK);
    let pid = fs::read_to_string(&path).ok()?.lines().next()?.parse().ok()?;
    let lock = fs::metadata(&path).ok()?;
    let is_open = |open: Metadata| (open.dev(), open.ino()) == (lock.dev(), lock.ino());
    let mut open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    open.any(|open| fs::metadata(open.path()).is_ok_and(is_open)).then(|| to_pid(pid))?
}

/// Asks the keeper in `dir` to end its child and itself, and waits for both; `None` when none lives
/// there.
///
/// # Errors
/// `not-stopped`.
pub(crate) fn stop_keeper(dir: &Path, grace: Duration) -> Result<Option<Stopped>, Problem> {
    if !keeper_lives(dir) {
        return Ok(None);
    }
    let begun = Instant::now();
    while keeper_lives(dir) {
        let left = (grace + SLACK).saturating_sub(begun.elapsed());
        let keeper = keeper_of(dir);
        if left.is_zero() {
            let title = format!("the keeper in {} does not end", dir.display());
            let look = keeper.map_or("ps -fC deploy-keeper".into(), |pid| format!("ps -fp {pid}"));
            return Err(Problem::new("not-stopped", title).hint(look));
        }
        match keeper.filter(|pid| kill_process(*pid, Signal::TERM).is_ok()) {
            Some(pid) => drop(await_end(pid, left)),
            // It has just begun, and not signed yet.
            None => sleep(PAUSE),
        }
    }
    Ok(Some(Stopped { killed: KeeperRecord::read(dir).is_some_and(|last| last.killed) }))
}

fn stop_orphan(pid: u32) -> Result<Stopped, Problem> {
    let Some(leader) = to_pid(pid) else { return Ok(Stopped::default()) };
    let _ = kill_process_group(leader, Signal::TERM);
    if await_end(leader, GRACE) {
        let _ = kill_process_group(leader, Signal::KILL);
        return Ok(Stopped::default());
    }
    let _ = kill_process_group(leader, Signal::KILL);
    if await_end(leader, SLACK) {
        return Ok(Stopped { killed: true });
    }
    Err(Problem::new("not-stopped", format!("process {pid} does not end")).hint(format!("ps -fp {pid}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_is_who_has_signed_the_lock_and_has_it_open() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(keeper_of(dir.path()), None);
        let path = dir.path().join(LOCK);
        fs::write(&path, format!("{}\n1 2\n", std::process::id())).unwrap();
        assert_eq!(keeper_of(dir.path()), None, "its pid was given to a stranger");
        let _open = File::open(&path).unwrap();
        assert_eq!(keeper_of(dir.path()), to_pid(std::process::id()));
        fs::write(&path, "").unwrap();
        assert_eq!(keeper_of(dir.path()), None);
    }
}
