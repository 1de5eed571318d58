//! The Python process and the lines that go to and from it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use common::interrupt;
use common::report::{OrProblem, Problem, quoted};

const DRIVER: &str = include_str!("driver.py");
const POLL: Duration = Duration::from_millis(50);
/// All that a script sees of the operator's environment.
const KEPT: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// A running interpreter; dropped, it is ended.
pub(super) struct Interpreter {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Interpreter {
    /// # Errors
    /// `not-started`.
    pub(super) fn start(root: &Path, environment: &str) -> Result<Self, Problem> {
        let program = program(root);
        let kept = KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let mut child = Command::new(&program)
            .args(["-c", DRIVER])
            .current_dir(root)
            .env_clear()
            .envs(kept)
            .env("ENVIRONMENT", environment)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .or_problem("not-started", || {
                format!("cannot start {} for migrations in Python", program.display())
            })
            .map_err(|problem| problem.hint(format!("{} --version", quoted(program.display()))))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(gone());
        };
        let (sender, lines) = channel();
        // Ends by itself when the process does: the pipe is then closed.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, lines })
    }

    /// # Errors
    /// `migration-failed` when the process is gone.
    pub(super) fn send(&mut self, message: &Value) -> Result<(), Problem> {
        let mut line = message.to_string();
        line.push('\n');
        self.input.write_all(line.as_bytes()).map_err(|_| gone())
    }

    /// # Errors
    /// `interrupted`, `migration-failed` when the process is gone.
    pub(super) fn receive(&mut self) -> Result<Value, Problem> {
        loop {
            interrupt::check()?;
            match self.lines.recv_timeout(POLL) {
                Ok(line) => return serde_json::from_str(&line).map_err(|_| gone()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The release's own interpreter, else the system's.
fn program(root: &Path) -> PathBuf {
    let own = root.join(".venv/bin/python");
    if own.exists() { own } else { PathBuf::from("python3") }
}

fn gone() -> Problem {
    Problem::new("migration-failed", "the Python process ended in the middle of a migration")
        .detail("everything was rolled back; the database is as it was")
}
