//! Notifications: what happens to an environment, told to whom its configuration names. The ledger
//! keeps each message until it is delivered (`ledger::MessageRow`); sending is another process's
//! work (`delivery`, by `channel`), so that no receiver can delay or change what is told about.

mod channel;
mod delivery;
mod overdue;

use std::process::{Command, Stdio};

pub use channel::check;
pub use delivery::{Delivered, deliver};
pub use overdue::Overdue;

use crate::config::{Config, Receiver};
use crate::exec::companion;
use crate::ledger::{Ledger, MessageRow};
use crate::lock;
use crate::report::Problem;

/// The shell ends at once, so that nobody is the parent of what goes on.
const DETACHED: &str = r#""$@" </dev/null >/dev/null 2>&1 &"#;

/// Starts sending what waits, and returns before any of it is sent. The sentences returned are
/// warnings: what could not be delivered before.
pub fn send_soon(config: &Config, ledger: &Ledger) -> Vec<String> {
    let rows = match ledger.undelivered() {
        Ok(rows) if rows.is_empty() => return Vec::new(),
        Ok(rows) => rows,
        Err(problem) => return vec![problem.to_string()],
    };
    let mut warnings: Vec<String> =
        Overdue::of(&rows).iter().map(|found| format!("'{}': {found}", found.environment)).collect();
    if rows.iter().any(MessageRow::is_due)
        && let Err(problem) = start_sender(config)
    {
        warnings.push(format!("notifications wait for the next command: {problem}"));
    }
    warnings
}

/// It has neither our lock nor our streams, and ends by itself in a few minutes.
fn start_sender(config: &Config) -> Result<(), Problem> {
    let status = companion("status")?;
    let started = Command::new("/bin/sh")
        .args(["-c", DETACHED, "sh"])
        .arg(status)
        .args(["deliver", "--due", "--quiet", "--json", "--config"])
        .arg(&config.file)
        .env_remove(lock::INHERITED)
        .current_dir(config.state_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match started {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Problem::new("not-started", format!("the sender ended with {status}"))),
        Err(error) => Err(Problem::new("not-started", "cannot start the sender").detail(error.to_string())),
    }
}

/// What may be shown of a receiver.
pub fn shown(written: &str) -> String {
    Receiver::read(written).map_or_else(|_| "an unknown receiver".to_owned(), Receiver::shown)
}
