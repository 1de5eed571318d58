//! What one process says about itself in `/proc/PID`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::report::now;

/// Ticks per second of the times in `/proc`: the kernel's interface fixes it on every
/// architecture that Rust's standard library supports.
const TICKS: u64 = 100;
const COMMAND_LENGTH: usize = 80;

/// The `RELEASE` that a process was started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// Its environment names this release.
    Named(String),
    /// Its environment is readable and names none.
    Absent,
    /// Its environment is not to be had: programs that set their title write it over.
    Overwritten,
}

/// A process, at the moment it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owner {
    pub pid: u32,
    pub parent: u32,
    pub uid: u32,
    /// Command line without the program's directory, cut to 80 characters.
    pub command: String,
    /// Since boot, a hundredth of a second each; with the pid it names a process for good.
    pub started_ticks: u64,
    /// To a few hundredths of a second.
    pub started_at: Timestamp,
    /// Where it works, links resolved; absent when it may not be read.
    pub cwd: Option<PathBuf>,
    /// Whether that directory has been removed.
    pub cwd_deleted: bool,
    pub release: Release,
}

impl Owner {
    /// Looks at one process; `None` when it is gone.
    pub fn read(pid: u32) -> Option<Self> {
        let root = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(root.join("stat")).ok()?;
        // The name stands in parentheses and may itself hold spaces and parentheses.
        let (head, tail) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1;
        let columns: Vec<&str> = tail.split_ascii_whitespace().collect();
        let started_ticks = columns.get(19)?.parse().ok()?;
        let (cwd, cwd_deleted) = working_directory(&root);
        Some(Self {
            pid,
            parent: columns.get(1)?.parse().ok()?,
            uid: effective_user(&root)?,
            command: command_line(&root).unwrap_or_else(|| format!("[{name}]")),
            started_ticks,
            started_at: started_at(started_ticks)?,
            cwd,
            cwd_deleted,
            release: release(&root),
        })
    }

    /// Whether the process was started for a release that lies, or lay, in `directory`.
    pub fn belongs_to(&self, release: &str, directory: &Path) -> bool {
        match &self.release {
            Release::Named(name) => name == release,
            Release::Absent => false,
            Release::Overwritten => self.cwd.as_deref().is_some_and(|cwd| cwd.starts_with(directory)),
        }
    }
}

fn effective_user(root: &Path) -> Option<u32> {
    let status = fs::read_to_string(root.join("status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn command_line(root: &Path) -> Option<String> {
    let bytes = fs::read(root.join("cmdline")).ok()?;
    let mut words =
        bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy);
    let program = words.next()?;
    let program = program.rsplit('/').next().unwrap_or(&program);
    let line = words.fold(program.to_owned(), |line, word| line + " " + &word);
    let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut short: String = plain.chars().take(COMMAND_LENGTH).collect();
    if short.len() < plain.len() {
        short.push('…');
    }
    Some(short).filter(|line| !line.is_empty())
}

/// Counted back from now: the boot time that the kernel states is good to a second only.
fn started_at(ticks: u64) -> Option<Timestamp> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, hundredths) = text.split_ascii_whitespace().next()?.split_once('.')?;
    let uptime = seconds.parse::<u64>().ok()? * TICKS + hundredths.parse::<u64>().ok()?;
    let age = i64::try_from(uptime.saturating_sub(ticks) * 1000 / TICKS).ok()?;
    now().checked_sub(SignedDuration::from_millis(age)).ok()
}

/// The kernel marks a removed directory by a suffix that a real one could carry too.
fn working_directory(root: &Path) -> (Option<PathBuf>, bool) {
    let link = root.join("cwd");
    let Ok(target) = fs::read_link(&link) else { return (None, false) };
    let Some(before) = target.to_str().and_then(|text| text.strip_suffix(" (deleted)")) else {
        return (Some(target), false);
    };
    match (fs::metadata(&link), fs::metadata(&target)) {
        (Ok(inside), Ok(named)) if (inside.dev(), inside.ino()) == (named.dev(), named.ino()) => {
            (Some(target), false)
        }
        _ => (Some(PathBuf::from(before)), true),
    }
}

fn release(root: &Path) -> Release {
    let bytes = fs::read(root.join("environ")).unwrap_or_default();
    let mut readable = false;
    for entry in bytes.split(|byte| *byte == 0) {
        if let Some(value) = entry.strip_prefix(b"RELEASE=") {
            return Release::Named(String::from_utf8_lossy(value).into_owned());
        }
        readable |= entry.contains(&b'=');
    }
    if readable { Release::Absent } else { Release::Overwritten }
}
