//! The kernel lock that says "this keeper is alive".
//! The file is never unlinked, and the lock is the truth: the pid inside says whom to ask to end.
//!
//! It also names the processes that would outlive us. They are written over what is there, which
//! needs no room: a full disk may keep them out of `keeper.json`, not out of here.

use std::fmt::Write;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::child::start_ticks;

const FILE: &str = "keeper.lock";
/// Whoever asks whether a keeper lives holds the lock for an instant.
const A_LOOK: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Held for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// `None` when another keeper holds the directory.
    pub(crate) fn take(dir: &Path) -> io::Result<Option<Self>> {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join(FILE))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self { file })),
                Err(TryLockError::WouldBlock) if begun.elapsed() > A_LOOK => return Ok(None),
                Err(TryLockError::WouldBlock) => sleep(LOOK_AGAIN),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// One line with our pid, then one with pid and start ticks of each process that would outlive us.
    pub(crate) fn sign(&self, kept: &[Pid]) -> io::Result<()> {
        let mut text = format!("{}\n", std::process::id());
        for pid in kept.iter().map(|pid| pid.as_raw_nonzero().get()) {
            if let Some(ticks) = start_ticks(pid) {
                let _ = writeln!(text, "{pid} {ticks}");
            }
        }
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }

    /// Pid and start ticks of the processes that the last keeper had, oldest first.
    pub(crate) fn named(dir: &Path) -> Vec<(i32, u64)> {
        let text = fs::read_to_string(dir.join(FILE)).unwrap_or_default();
        let parse = |line: &str| {
            let (pid, ticks) = line.split_once(' ')?;
            Some((pid.parse().ok()?, ticks.parse().ok()?))
        };
        text.lines().filter_map(parse).collect()
    }
}
