//! Messages to and from the browser: JSON, each ended by a zero byte.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use common::interrupt;
use serde_json::{Value, json};

/// How soon a signal is noticed.
const POLL: Duration = Duration::from_millis(100);

/// Why a browser did not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing came in time.
    Late,
    /// It has ended, or closed its pipes.
    Gone,
    /// It refused a command, in its own words.
    Refused(String),
    /// A signal asks this run to stop.
    Interrupted,
}

/// Our ends of the pipes.
pub(super) struct Wire {
    commands: ChildStdin,
    messages: Receiver<Value>,
    number: u64,
}

impl Wire {
    pub(super) fn new(commands: ChildStdin, answers: ChildStdout) -> Self {
        let (sender, messages) = channel();
        std::thread::spawn(move || forward(answers, &sender));
        Self { commands, messages, number: 0 }
    }

    /// Sends a command, to the tab of `session` or to the browser itself; gives its number.
    ///
    /// # Errors
    /// [`Trouble::Gone`].
    pub(super) fn send(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<u64, Trouble> {
        self.number += 1;
        let mut command = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).map_err(|_| Trouble::Gone)?;
        Ok(self.number)
    }

    /// The next message.
    ///
    /// # Errors
    /// [`Trouble::Late`] when none came until then, `Gone`, `Interrupted`.
    pub(super) fn receive(&self, until: Instant) -> Result<Value, Trouble> {
        loop {
            if interrupt::pending().is_some() {
                return Err(Trouble::Interrupted);
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left.min(POLL)) {
                Ok(message) => return Ok(message),
                Err(RecvTimeoutError::Disconnected) => return Err(Trouble::Gone),
                Err(RecvTimeoutError::Timeout) if left <= POLL => return Err(Trouble::Late),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

fn forward(answers: ChildStdout, sender: &Sender<Value>) {
    for message in BufReader::new(answers).split(0) {
        let Ok(bytes) = message else { return };
        let Ok(value) = serde_json::from_slice(&bytes) else { continue };
        if sender.send(value).is_err() {
            return;
        }
    }
}
