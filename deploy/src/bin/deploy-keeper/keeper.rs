//! The life of one child: start, restart, upgrade, stop.
//! A single thread wakes for a signal or a deadline, looks at everything and
//! sleeps again; how a group ends is in `group`, what is told in `record`.
//!
//! Until one record that names a child is written, not being able to write it
//! ends both. From then on a full disk ends nobody: the record follows later,
//! and the lock file names the children meanwhile.

use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::backoff::Backoff;
use crate::child::Child;
use crate::group::Departing;
use crate::lock::Lock;
use crate::options::Options;
use crate::record::{Record, State};
use crate::signals::Signals;

/// An upgraded child that lives this long takes over from the old one.
const SETTLED: Duration = Duration::from_millis(200);
/// Members of a group that are no children of ours end without waking us.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// A record that could not be written is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Keeper<'a> {
    options: &'a Options,
    lock: &'a Lock,
    signals: Signals,
    listener: Option<TcpListener>,
    record: Record,
    current: Option<Child>,
    /// Started by an upgrade, not yet settled.
    candidate: Option<Child>,
    /// Asked to end; the child that follows them does not wait for that.
    retiring: Vec<Departing>,
    /// What a crashed child left in its group; must be gone before the restart.
    leftover: Option<Departing>,
    restart_at: Option<Instant>,
    backoff: Backoff,
    /// A record that names a child has been written.
    is_told: bool,
    /// Why the last record could not be written, and when to try again.
    unsaved: Option<(io::Error, Instant)>,
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(
        options: &'a Options,
        lock: &'a Lock,
        signals: Signals,
        listener: Option<TcpListener>,
        record: Record,
    ) -> Self {
        Self {
            options,
            lock,
            signals,
            listener,
            record,
            current: None,
            candidate: None,
            retiring: Vec::new(),
            leftover: None,
            restart_at: Some(Instant::now()),
            backoff: Backoff::default(),
            is_told: false,
            unsaved: None,
        }
    }

    /// Starts beside the youngest of what a killed predecessor left, which the record names already and
    /// which ends when ours has settled, as in an upgrade. The others end at once.
    pub(crate) fn succeed(&mut self, mut left: Vec<Child>) {
        let Some(youngest) = left.pop() else { return };
        for older in left {
            self.retire(older.pid);
        }
        self.current = Some(youngest);
        self.restart_at = None;
        self.is_told = true;
        self.upgrade();
    }

    /// Returns when SIGTERM came and nothing of the child is left.
    ///
    /// # Errors
    /// Why no record of the child could be written; then, too, nothing is left of what it started.
    pub(crate) fn run(mut self) -> io::Result<()> {
        while !self.signals.stop_requested() {
            if self.signals.take_upgrade_request() {
                self.upgrade();
            }
            self.advance();
            if let Some((error, _)) = self.unsaved.take_if(|_| !self.is_told) {
                self.withdraw(&error);
                return Err(error);
            }
            self.signals.wait(self.next_deadline());
        }
        self.record.state = State::Stopping;
        self.end();
        self.record.state = State::Stopped;
        self.save();
        Ok(())
    }

    /// At once: whoever started us does not wait for long.
    fn withdraw(&mut self, error: &io::Error) {
        self.record.fail(error, "cannot write keeper.json");
        self.retiring.extend(self.current.take().map(|child| Departing::kill(child.pid)));
        self.end();
    }

    fn end(&mut self) {
        self.restart_at = None;
        let (current, candidate) = (self.current.take(), self.candidate.take());
        for child in current.into_iter().chain(candidate) {
            self.retire(child.pid);
        }
        self.save();
        loop {
            self.advance();
            if self.retiring.is_empty() && self.leftover.is_none() {
                break;
            }
            self.signals.wait(self.next_deadline());
        }
    }

    /// The new child first, on the same listener; the old one ends when it has settled.
    fn upgrade(&mut self) {
        if self.candidate.is_some() {
            return;
        }
        if self.current.is_none() {
            self.restart_at = Some(Instant::now());
            return;
        }
        self.record.killed = false;
        self.candidate = self.start_child();
        self.save();
    }

    fn advance(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.note_exit(pid, status);
        }
        if let Some(lost) = self.current.take_if(|child| child.is_lost()) {
            self.note_loss(&lost);
        }
        let now = Instant::now();
        self.see_off(now);
        if self.unsaved.as_ref().is_some_and(|(_, again)| now >= *again) {
            self.save();
        }
        let settled = |child: &Child| now >= child.started + SETTLED;
        if self.candidate.as_ref().is_some_and(settled) {
            self.promote();
        }
        if self.leftover.is_none() && self.restart_at.is_some_and(|at| now >= at) {
            self.restart();
        }
    }

    fn note_exit(&mut self, pid: Pid, status: WaitStatus) {
        if let Some(child) = self.current.take_if(|child| child.pid == pid) {
            self.record.set_exit(status);
            self.note_loss(&child);
            return;
        }
        if self.candidate.take_if(|child| child.pid == pid).is_some() {
            self.record.set_exit(status);
            self.record.error = Some("the upgraded child ended at once; the old one stays".into());
            self.record.error_kind = Some("other");
            self.retiring.push(Departing::kill(pid));
        } else if self.retiring.iter().any(|departing| departing.pid == pid) {
            self.record.set_exit(status);
        }
        self.save();
    }

    fn note_loss(&mut self, child: &Child) {
        self.leftover = Some(Departing::kill(child.pid));
        if self.candidate.is_some() {
            self.promote();
            return;
        }
        self.schedule_restart(child.started.elapsed());
        self.save();
    }

    fn schedule_restart(&mut self, ran: Duration) {
        self.record.state = State::Backoff;
        self.restart_at = Some(Instant::now() + self.backoff.delay_after(ran));
    }

    fn see_off(&mut self, now: Instant) {
        let before = self.retiring.len();
        let mut killed = false;
        for departing in &mut self.retiring {
            killed |= departing.enforce(now);
        }
        self.retiring.retain(|departing| !departing.is_over(now));
        self.leftover.take_if(|departing| departing.is_over(now));
        self.record.killed |= killed;
        if killed || self.retiring.len() != before {
            self.save();
        }
    }

    fn promote(&mut self) {
        if let Some(old) = self.current.take() {
            self.retire(old.pid);
        }
        self.current = self.candidate.take();
        self.backoff = Backoff::default();
        self.save();
    }

    fn restart(&mut self) {
        self.restart_at = None;
        self.current = self.start_child();
        if self.current.is_some() {
            self.record.state = State::Running;
        } else {
            self.schedule_restart(Duration::ZERO);
        }
        self.save();
    }

    fn start_child(&mut self) -> Option<Child> {
        match Child::start(self.options, self.listener.as_ref()) {
            Ok(child) => {
                self.record.starts += 1;
                self.record.error = None;
                self.record.error_kind = None;
                Some(child)
            }
            Err(error) => {
                let program = self.options.command[0].to_string_lossy();
                self.record.set_error(&error, &format!("cannot start {program}"));
                None
            }
        }
    }

    fn retire(&mut self, pid: Pid) {
        let departing = Departing::terminate(pid, self.options.stop_timeout);
        self.retiring.push(departing);
    }

    fn save(&mut self) {
        let retiring = self.retiring.iter().map(|old| old.pid);
        let kept = self.current.iter().chain(&self.candidate).map(|child| child.pid);
        let _ = self.lock.sign(&retiring.chain(kept).collect::<Vec<Pid>>());
        self.record.set_child(self.current.as_ref());
        let pids = self.retiring.iter().map(|old| old.pid.as_raw_nonzero().get());
        self.record.retiring = pids.collect();
        self.unsaved = self.record.save().err().map(|error| (error, Instant::now() + WRITE_AGAIN));
        self.is_told |= self.unsaved.is_none() && self.current.is_some();
    }

    fn next_deadline(&self) -> Option<Duration> {
        let unseen = self.current.as_ref().is_some_and(Child::is_adopted);
        if unseen || self.leftover.is_some() || !self.retiring.is_empty() {
            return Some(LOOK_AGAIN);
        }
        let settling = self.candidate.as_ref().map(|child| child.started + SETTLED);
        let again = self.unsaved.as_ref().map(|(_, again)| *again);
        let next = settling.into_iter().chain(self.restart_at).chain(again).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }
}
