//! Signals: SIGINT and SIGTERM ask a run to stop at its next step boundary, where it undoes what
//! it did; SIGHUP is ignored, so that a lost connection never aborts a deployment half-way.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::report::Problem;

static SHIELDED: AtomicBool = AtomicBool::new(false);
static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Begins to note signals instead of dying of them.
pub fn listen() {
    let noted = SIGNAL.get_or_init(|| Arc::new(AtomicUsize::new(0)));
    for (signal, value) in [(SIGINT, 2), (SIGTERM, 15)] {
        let _ = flag::register_usize(signal, Arc::clone(noted), value);
    }
    let _ = flag::register(SIGHUP, Arc::new(AtomicBool::new(false)));
}

/// From here on the run finishes whatever signal comes: it is undoing, or past the point of return.
pub fn shield() {
    SHIELDED.store(true, Ordering::SeqCst);
}

/// Runs `act` to its end whatever signal comes.
pub fn shielded<T>(act: impl FnOnce() -> T) -> T {
    let before = SHIELDED.swap(true, Ordering::SeqCst);
    let value = act();
    SHIELDED.store(before, Ordering::SeqCst);
    value
}

/// The signal noted so far.
pub fn received() -> Option<usize> {
    SIGNAL.get().map(|noted| noted.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
}

/// The signal this run should stop for now.
pub fn pending() -> Option<usize> {
    received().filter(|_| !SHIELDED.load(Ordering::SeqCst))
}

/// # Errors
/// `interrupted` when a signal asks this run to stop.
pub fn check() -> Result<(), Problem> {
    match pending() {
        Some(signal) => {
            Err(Problem::new("interrupted", format!("interrupted by signal {signal}")).retryable())
        }
        None => Ok(()),
    }
}
