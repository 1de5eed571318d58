//! One changing command per environment: a kernel lock on an open file that is never unlinked,
//! so that it can neither go stale nor be held twice. The file says who, since when and why, and
//! is empty while nobody holds it.
//!
//! Working children keep the lock alive while they work, even when the run that started them is
//! killed; a program that they leave behind does not. The end of a run frees it for everybody.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::fault;
use crate::layout::Place;
use crate::ownership::{self, open_unlinked};
use crate::report::{OrProblem, Problem, now};

/// Names the inherited descriptor to a working child.
pub const INHERITED: &str = "DEPLOY_LOCK_FD";

const POLL: Duration = Duration::from_millis(20);
/// A holder signs at once, and somebody who only looks is gone at once, if the machine lets them.
const UNSIGNED: Duration = Duration::from_secs(2);
const FIRST_BEYOND_STDERR: i32 = 3;

/// What the lock file says about its holder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub who: String,
    pub what: String,
    pub since: String,
    /// Its process has ended; something that it started still works.
    #[serde(default)]
    pub ended: bool,
}

/// The held lock; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    /// `None` when a parent holds the lock for us.
    file: Option<File>,
    waited: bool,
}

impl Lock {
    /// Takes the environment's lock, waiting at most `wait`; a sibling's child takes it over.
    ///
    /// # Errors
    /// `locked` (retryable) with the holder's name; `state-unwritable`.
    pub fn take(place: &Place, what: &str, wait: Duration) -> Result<Self, Problem> {
        if is_inherited(&place.lock()) {
            return Ok(Self { file: None, waited: false });
        }
        let environment = place.environment();
        let locked = |holder| {
            locked(&format!("'{environment}'"), holder)
                .hint(format!("status {environment}   # or wait for it: --wait 60"))
        };
        acquire(&place.lock(), what, wait, locked)
    }

    /// Takes the lock in `path`, which guards something that all environments share.
    ///
    /// # Errors
    /// As [`Lock::take`].
    pub fn take_file(path: &Path, subject: &str, what: &str, wait: Duration) -> Result<Self, Problem> {
        let locked = |holder| locked(subject, holder).hint("status all   # or wait for it: --wait 60");
        acquire(path, what, wait, locked)
    }

    /// Whether we hold it for ourselves, and not on behalf of the tool that started us.
    pub fn is_own(&self) -> bool {
        self.file.is_some()
    }

    /// Whether somebody else held it when we asked: what was seen before may be of old.
    pub fn was_waited_for(&self) -> bool {
        self.waited
    }

    /// A copy of the descriptor that survives exec, for a working sibling.
    pub fn inheritable(&self) -> Option<OwnedFd> {
        rustix::io::dup(self.file.as_ref()?.as_fd()).ok()
    }

    /// A copy of the descriptor that no other program sees.
    pub fn private_copy(&self) -> Option<File> {
        self.file.as_ref()?.try_clone().ok()
    }
}

/// Closing would not do: whatever inherited the descriptor would keep the lock.
impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            fault::point("lock.released");
            let _ = file.set_len(0);
            let _ = file.unlock();
        }
    }
}

/// Who holds the environment's lock now, if anybody does.
pub fn holder(place: &Place) -> Option<Holder> {
    let path = place.lock();
    let file = File::open(&path).ok()?;
    let begun = Instant::now();
    while matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        match signed(&path) {
            Some(holder) if !holder.ended || begun.elapsed() > UNSIGNED => return Some(holder),
            None if begun.elapsed() > UNSIGNED => return None,
            _ => sleep(POLL),
        }
    }
    None
}

/// Whether a parent holds the environment's lock for us.
pub fn is_passed_on(place: &Place) -> bool {
    is_inherited(&place.lock())
}

fn acquire(
    path: &Path,
    what: &str,
    wait: Duration,
    locked: impl Fn(Option<Holder>) -> Problem,
) -> Result<Lock, Problem> {
    let mut file = open(path)?;
    let begun = Instant::now();
    let mut waited = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                waited = true;
                let holder = signed(path);
                let is_known = holder.as_ref().is_some_and(|holder| !holder.ended);
                if begun.elapsed() >= if is_known { wait } else { wait.max(UNSIGNED) } {
                    return Err(locked(holder));
                }
                sleep(POLL);
            }
            Err(TryLockError::Error(error)) => {
                return Err(Problem::new("state-unwritable", format!("cannot lock {}", path.display()))
                    .detail(error.to_string()));
            }
        }
        crate::interrupt::check()?;
    }
    sign(&mut file, what).or_problem("state-unwritable", || unwritable(path))?;
    fault::point("lock.taken");
    Ok(Lock { file: Some(file), waited })
}

/// What the file says; `None` when its holder has not signed yet, or nobody holds it.
fn signed(path: &Path) -> Option<Holder> {
    let mut holder: Holder = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    holder.ended = !PathBuf::from(format!("/proc/{}", holder.pid)).exists();
    Some(holder)
}

fn locked(subject: &str, holder: Option<Holder>) -> Problem {
    let detail = holder.map_or_else(
        || "its holder has not signed yet".to_owned(),
        |Holder { pid, who, what, since, ended }| {
            let still = if ended { "; that process has ended, what it started still works" } else { "" };
            format!("{what} holds it since {since} ({who}, pid {pid}){still}")
        },
    );
    Problem::new("locked", format!("another command works on {subject}")).detail(detail).retryable()
}

fn open(path: &Path) -> Result<File, Problem> {
    ownership::check_file(path)?;
    open_unlinked(OpenOptions::new().read(true).write(true), path)
        .or_problem("state-unwritable", || unwritable(path))
}

fn unwritable(path: &Path) -> String {
    format!("the state directory cannot be written: {}", path.display())
}

fn sign(file: &mut File, what: &str) -> std::io::Result<()> {
    let (pid, who, what, since) = (std::process::id(), who(), what.to_owned(), now().to_string());
    let holder = Holder { pid, who, what, since, ended: false };
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(serde_json::to_string(&holder)?.as_bytes())
}

/// Keeps an inherited lock from the programs that this one starts: they may outlive the work.
pub fn keep_from_children() {
    if env::var_os(INHERITED).is_some() {
        close_fds::set_fds_cloexec(FIRST_BEYOND_STDERR, &[]);
    }
}

/// True when the parent passed us its open lock file.
fn is_inherited(path: &Path) -> bool {
    let Some(number) = env::var(INHERITED).ok().and_then(|text| text.parse::<i32>().ok()) else {
        return false;
    };
    let passed = fs::metadata(format!("/proc/self/fd/{number}"));
    match (passed, fs::metadata(path)) {
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
    account_name(rustix::process::getuid().as_raw())
}

pub(crate) fn account_name(uid: u32) -> String {
    let number = uid.to_string();
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    name.unwrap_or(number)
}
