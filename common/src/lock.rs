//! One changing command per environment: a kernel lock on an open file that is never unlinked,
//! so that it can neither go stale nor be held twice. The file says who, since when and why.
//!
//! Working children inherit the descriptor and keep the lock alive while they work.

use std::env;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::layout::Place;
use crate::ownership::{self, open_unlinked};
use crate::report::{OrProblem, Problem, now};

/// Names the inherited descriptor to a working child.
pub const INHERITED: &str = "DEPLOY_LOCK_FD";

const POLL: Duration = Duration::from_millis(20);

/// What the lock file says about its holder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub who: String,
    pub what: String,
    pub since: String,
}

/// The held lock; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    /// `None` when a parent holds the lock for us.
    file: Option<File>,
}

impl Lock {
    /// Takes the environment's lock, waiting at most `wait`; a sibling's child takes it over.
    ///
    /// # Errors
    /// `locked` (retryable) with the holder's name; `state-unwritable`.
    pub fn take(place: &Place, what: &str, wait: Duration) -> Result<Self, Problem> {
        if is_inherited(&place.lock()) {
            return Ok(Self { file: None });
        }
        let mut file = open(&place.lock())?;
        let limit = Instant::now() + wait;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < limit => std::thread::sleep(POLL),
                Err(TryLockError::WouldBlock) => return Err(locked(place)),
                Err(TryLockError::Error(error)) => {
                    return Err(Problem::new("state-unwritable", "cannot lock the environment")
                        .detail(error.to_string()));
                }
            }
            crate::interrupt::check()?;
        }
        sign(&mut file, what).or_problem("state-unwritable", || {
            format!("the state directory cannot be written: {}", place.lock().display())
        })?;
        Ok(Self { file: Some(file) })
    }

    /// Whether we hold it for ourselves, and not on behalf of the tool that started us.
    pub fn is_own(&self) -> bool {
        self.file.is_some()
    }

    /// A copy of the descriptor that survives exec, for a working child.
    pub fn inheritable(&self) -> Option<OwnedFd> {
        rustix::io::dup(self.file.as_ref()?.as_fd()).ok()
    }
}

/// Who holds the environment's lock now, if anybody does.
pub fn holder(place: &Place) -> Option<Holder> {
    let mut file = File::open(place.lock()).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text).ok()?;
            serde_json::from_str(&text).ok()
        }
        _ => None,
    }
}

fn locked(place: &Place) -> Problem {
    let environment = place.environment();
    let detail = holder(place).map_or_else(
        || "its holder has not signed yet".to_owned(),
        |holder| {
            format!("{} holds it since {} ({}, pid {})", holder.what, holder.since, holder.who, holder.pid)
        },
    );
    Problem::new("locked", format!("another command works on '{environment}'"))
        .detail(detail)
        .hint(format!("status {environment}   # or wait for it: --wait 60"))
        .retryable()
}

fn open(path: &Path) -> Result<File, Problem> {
    ownership::check_file(path)?;
    open_unlinked(OpenOptions::new().read(true).write(true), path).or_problem("state-unwritable", || {
        format!("the state directory cannot be written: {}", path.display())
    })
}

fn sign(file: &mut File, what: &str) -> std::io::Result<()> {
    let holder =
        Holder { pid: std::process::id(), who: who(), what: what.to_owned(), since: now().to_string() };
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(serde_json::to_string(&holder)?.as_bytes())
}

/// True when the parent passed us its open lock file.
fn is_inherited(path: &Path) -> bool {
    let Some(number) = env::var(INHERITED).ok().and_then(|text| text.parse::<i32>().ok()) else {
        return false;
    };
    let passed = std::fs::metadata(format!("/proc/self/fd/{number}"));
    match (passed, std::fs::metadata(path)) {
        (Ok(passed), Ok(lock)) => (passed.dev(), passed.ino()) == (lock.dev(), lock.ino()),
        _ => false,
    }
}

/// The environment variable that tells a child about `descriptor`.
pub fn announce(descriptor: &OwnedFd) -> (&'static str, String) {
    (INHERITED, descriptor.as_raw_fd().to_string())
}

/// The person or account behind this run.
pub fn who() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| env::var(name).ok());
    format!("{}@{}", user.unwrap_or_else(account), host())
}

/// The name of this host.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The account's name, or its number when /etc/passwd does not know it.
fn account() -> String {
    let number = rustix::process::getuid().as_raw().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    name.unwrap_or(number)
}
