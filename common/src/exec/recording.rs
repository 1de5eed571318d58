//! The beginning of what a program prints, read while it runs, whatever it prints without end or
//! leaves holding its output open.

use std::io::{Read, pipe};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use super::program::Output;
use super::{Finished, Program};
use crate::report::{OrProblem, Problem};

/// How long what holds the output open is waited for once the program has ended.
const SLACK: Duration = Duration::from_secs(2);

/// Which streams are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// stdout alone; stderr goes nowhere.
    Stdout,
    /// stdout and stderr, in the order of printing.
    Both,
}

/// What becomes of an output beyond what is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// It is read and forgotten, so that the program never waits.
    Forgotten,
    /// It is not read: the program finds its output closed.
    Refused,
}

/// The beginning of an output.
#[derive(Debug, Default)]
pub struct Printed {
    pub bytes: Vec<u8>,
    /// There was more of it.
    pub is_cut: bool,
    /// The program left something running that holds its output open.
    pub is_open: bool,
}

impl Program<'_> {
    /// Runs to the end; how it ended, and the first `most` bytes of what it printed until then.
    ///
    /// # Errors
    /// Within, as [`Program::run`].
    pub fn record(
        mut self,
        streams: Streams,
        most: usize,
        beyond: Beyond,
    ) -> (Result<Finished, Problem>, Printed) {
        let (reader, writer) = match pipe().or_problem("not-started", || "cannot make a pipe".into()) {
            Ok(ends) => ends,
            Err(problem) => return (Err(problem), Printed::default()),
        };
        let printed = Arc::new(Mutex::new(Some(Printed::default())));
        let (sender, closed) = mpsc::channel::<()>();
        let collected = Arc::clone(&printed);
        thread::spawn(move || {
            collect(reader, &collected, most, beyond);
            drop(sender);
        });
        self.output = match streams {
            Streams::Stdout => Output::Stdout(writer.into()),
            Streams::Both => Output::Both(writer.into()),
        };
        let finished = self.run();
        // Our own end of the pipe goes with it.
        drop(self);
        let is_open = closed.recv_timeout(SLACK) == Err(mpsc::RecvTimeoutError::Timeout);
        let printed = printed.lock().unwrap_or_else(PoisonError::into_inner).take();
        (finished, Printed { is_open, ..printed.unwrap_or_default() })
    }
}

/// Reads until the output ends; what comes once `into` was taken is beyond all that is kept.
fn collect(mut from: impl Read, into: &Mutex<Option<Printed>>, most: usize, beyond: Beyond) {
    let mut part = [0; 8192];
    while let Ok(taken @ 1..) = from.read(&mut part) {
        let mut printed = into.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(printed) = printed.as_mut() else {
            match beyond {
                Beyond::Forgotten => continue,
                Beyond::Refused => return,
            }
        };
        let room = most.saturating_sub(printed.bytes.len());
        printed.bytes.extend_from_slice(&part[..taken.min(room)]);
        printed.is_cut |= taken > room;
        if printed.is_cut && beyond == Beyond::Refused {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Instant;

    use super::*;

    fn record(line: &str, streams: Streams, beyond: Beyond) -> (Result<Finished, Problem>, Printed) {
        Program::shell(line).limit(Duration::from_secs(20)).record(streams, 10, beyond)
    }

    #[test]
    fn a_short_output_is_whole() {
        let (finished, printed) = record("echo out; echo err >&2", Streams::Both, Beyond::Refused);
        assert!(finished.unwrap().status.success());
        assert_eq!(
            (printed.bytes.as_slice(), printed.is_cut, printed.is_open),
            (&b"out\nerr\n"[..], false, false)
        );
        let (_, printed) = record("echo out; echo err >&2", Streams::Stdout, Beyond::Refused);
        assert_eq!(printed.bytes, b"out\n");
    }

    #[test]
    fn a_long_one_is_cut_and_ends_the_program_only_where_it_is_refused() {
        let line = "seq 100000; echo ended >&2; exit 3";
        let (finished, printed) = record(line, Streams::Stdout, Beyond::Forgotten);
        assert_eq!(finished.unwrap().status.code(), Some(3));
        assert_eq!((printed.bytes.as_slice(), printed.is_cut), (&b"1\n2\n3\n4\n5\n"[..], true));
        let begun = Instant::now();
        let (finished, printed) = record("exec yes", Streams::Stdout, Beyond::Refused);
        assert!(finished.unwrap().status.code().is_none() && printed.is_cut);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn what_comes_after_the_end_is_not_collected_again() {
        for beyond in [Beyond::Forgotten, Beyond::Refused] {
            let (reader, mut leftover) = pipe().unwrap();
            let printed = Mutex::new(Some(Printed::default()));
            thread::scope(|scope| {
                let collecting = scope.spawn(|| collect(reader, &printed, 10, beyond));
                leftover.write_all(b"early").unwrap();
                let is_read = || printed.lock().unwrap().as_ref().unwrap().bytes == b"early";
                while !is_read() {
                    thread::yield_now();
                }
                assert_eq!(printed.lock().unwrap().take().unwrap().bytes, b"early");
                leftover.write_all(b"late").unwrap();
                if beyond == Beyond::Forgotten {
                    drop(leftover);
                }
                collecting.join().unwrap();
                assert!(printed.lock().unwrap().is_none());
            });
        }
    }

    #[test]
    fn what_holds_the_output_open_is_said_and_not_waited_for() {
        let begun = Instant::now();
        let line = "mark=$(mktemp -u); (setsid sh -c \"echo > $mark; sleep 6\" &); until test -e $mark; do sleep 0.01; done; rm $mark; echo x";
        let (finished, printed) = record(line, Streams::Both, Beyond::Forgotten);
        assert!(finished.unwrap().status.success());
        assert_eq!((printed.bytes.as_slice(), printed.is_open), (&b"x\n"[..], true));
        assert!(begun.elapsed() < Duration::from_millis(5500), "{:?}", begun.elapsed());
    }
}
