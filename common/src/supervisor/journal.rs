//! What an instance prints, when systemd keeps it: read by way of `journalctl`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::chunk::MOST_BYTES;
use crate::exec::Program;
use crate::report::quoted;
use crate::systemd::Manager;
use crate::systemd::manager::{journal, runtime_dir};

const LINES: &str = "20";
const BYTES: usize = 4096;
/// Read at once when nobody has read for long.
const MANY_LINES: &str = "20000";
/// Asking the journal takes a process each time.
const PAUSE: Duration = Duration::from_millis(250);
/// A journal that is read while requests wait must not keep them.
const LIMIT: Duration = Duration::from_secs(10);
const END: &str = r#"bytes=$1; shift; journalctl --quiet --no-pager "$@" | tail -c "$bytes""#;
const CURSOR: &str = "-- cursor: ";

/// The journal of one unit, since the unit was last told what to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    pub(crate) manager: Manager,
    pub(crate) unit: String,
    /// Written at each start.
    pub(crate) started: PathBuf,
}

impl Journal {
    /// The last lines, systemd's own about the unit among them.
    pub(super) fn tail(&self) -> String {
        if self.manager == Manager::System {
            journal(&["--sync"]);
        }
        let since = format!("--since={}", self.since());
        let args = ["-o", "cat", "-n", LINES, &since, self.manager.journal_option(), &self.unit];
        let text = journal(&args);
        let text = text.trim_end();
        let mut from = text.len().saturating_sub(BYTES);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        // A line whose beginning is missing says so: half a secret is known by that mark.
        if from > 0 { format!("…{}", &text[from..]) } else { text.to_owned() }
    }

    fn since(&self) -> String {
        let written = fs::metadata(&self.started).and_then(|meta| meta.modified()).ok();
        let since = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        format!("@{}.{:06}", since.as_secs(), since.subsec_micros())
    }

    /// What the unit's processes have printed behind `cursor`, and the cursor behind that; without one,
    /// since the start. Of very much the end. With `fresh` what they printed a moment ago is in it.
    pub(super) fn since_cursor(&self, cursor: Option<&str>, fresh: bool) -> Option<(String, String)> {
        if fresh && self.manager == Manager::System {
            end_of_journal(&["--sync"])?;
        }
        let from = match cursor {
            Some(cursor) => format!("--after-cursor={cursor}"),
            None => format!("--since={}", self.since()),
        };
        let field = format!("{}={}", self.manager.journal_field(), self.unit);
        split_cursor(&end_of_journal(&["-o", "cat", "-n", MANY_LINES, "--show-cursor", &from, &field])?)
    }

    pub(super) fn hint(&self) -> String {
        format!("journalctl {} {} -n 50", self.manager.journal_option(), quoted(&self.unit))
    }

    pub(super) fn follow(&self) -> JournalFollower {
        let text = journal(&["-n", "0", "--show-cursor"]);
        let cursor = text.lines().find_map(|line| line.strip_prefix(CURSOR)).map(str::to_owned);
        JournalFollower { journal: self.clone(), cursor, looked: None }
    }
}

/// A journal from where it stood at some moment.
#[derive(Debug)]
pub struct JournalFollower {
    journal: Journal,
    cursor: Option<String>,
    looked: Option<Instant>,
}

impl JournalFollower {
    /// The lines that the unit's processes printed since the last look; none when that is only a
    /// moment ago.
    pub(super) fn look(&mut self) -> String {
        if self.looked.is_some_and(|at| at.elapsed() < PAUSE) {
            return String::new();
        }
        self.looked = Some(Instant::now());
        let Journal { manager, unit, .. } = &self.journal;
        let from = match &self.cursor {
            Some(cursor) => format!("--after-cursor={cursor}"),
            None => format!("--since={}", self.journal.since()),
        };
        let field = format!("{}={unit}", manager.journal_field());
        let text = journal(&["-o", "cat", "--show-cursor", &from, &field]);
        let Some((lines, cursor)) = split_cursor(&text) else { return text };
        self.cursor = Some(cursor);
        lines
    }
}

/// The last bytes that `journalctl ARGS…` prints, whole lines; nothing where it takes too long.
fn end_of_journal(args: &[&str]) -> Option<String> {
    let program = Program::new("/bin/sh").args(["-c", END, "sh", &MOST_BYTES.to_string()]).args(args);
    let ended = program.env("XDG_RUNTIME_DIR", runtime_dir()).limit(LIMIT).run().ok()?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    let is_cut = u64::try_from(ended.stdout.len()).is_ok_and(|length| length >= MOST_BYTES);
    if is_cut { text.split_once('\n').map(|(_, rest)| rest.to_owned()) } else { Some(text) }
}

/// The lines, and the cursor that stands behind them.
fn split_cursor(text: &str) -> Option<(String, String)> {
    let (cursors, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with(CURSOR));
    let cursor = cursors.last()?.strip_prefix(CURSOR)?.to_owned();
    Some((lines.iter().fold(String::new(), |text, line| text + line + "\n"), cursor))
}
