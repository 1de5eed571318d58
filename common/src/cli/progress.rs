//! Progress for people, on stderr only: one line a step, colour only where it is wanted.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use super::human;
use crate::report::{Problem, Status, Step};

pub(super) struct Progress {
    tool: &'static str,
    quiet: bool,
    colour: bool,
}

impl Progress {
    pub(super) fn new(tool: &'static str, quiet: bool) -> Self {
        Self { tool, quiet, colour: wants_colour() }
    }

    /// The problem that ends the run, for the person beside a pipe.
    pub(super) fn explain(&self, problem: &Problem) {
        if !self.quiet {
            human::print_problem(problem);
        }
    }

    pub(super) fn show(&self, step: &Step) {
        if self.quiet {
            return;
        }
        let (mark, code) = match step.status {
            Status::Passed => ("ok", "32"),
            Status::Failed => ("failed", "31"),
            Status::Skipped => ("skipped", "33"),
        };
        let mark = if self.colour { format!("\x1b[{code}m{mark:<7}\x1b[0m") } else { format!("{mark:<7}") };
        let target = step.target.as_deref().map(|target| format!("  {target}")).unwrap_or_default();
        let reason = match (&step.problem, step.status) {
            (Some(problem), Status::Failed | Status::Skipped) => format!("  {}", problem.title),
            _ => String::new(),
        };
        let words = human::harmless_line(&format!("{}{target}{reason}", step.name));
        let tool = human::harmless_line(&step.tool);
        print(&format!("{tool:<8} {mark} {:>6} ms  {words}", step.duration_ms));
    }

    pub(super) fn say(&self, sentence: &str) {
        if !self.quiet {
            print(&format!("{:<8} {}", self.tool, human::harmless_line(sentence)));
        }
    }
}

/// A warning that must be seen even in a quiet run.
pub fn warn(sentence: &str) {
    print(&format!("warning: {}", human::harmless(sentence)));
}

/// A bar for long work, drawn only on a terminal.
pub struct Meter {
    label: &'static str,
    shown: Option<Instant>,
    draws: bool,
}

impl Meter {
    const INTERVAL: Duration = Duration::from_millis(100);

    pub fn new(label: &'static str) -> Self {
        Self { label, shown: None, draws: stderr().is_terminal() }
    }

    /// Draws `done` of `total` (any unit), at most ten times a second.
    pub fn update(&mut self, done: u64, total: u64) {
        let due = self.shown.is_none_or(|at| at.elapsed() >= Self::INTERVAL);
        if self.draws && due && total > 0 {
            self.shown = Some(Instant::now());
            let percent = done.saturating_mul(100) / total;
            let _ = write!(stderr(), "\r{} {percent:>3} %", self.label);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn print(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

pub(super) fn wants_colour() -> bool {
    stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
