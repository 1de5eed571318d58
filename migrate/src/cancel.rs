//! Lets a signal end a long statement: SQLite stops it, and the transaction is rolled back.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use common::interrupt;
use rusqlite::Connection;

const POLL: Duration = Duration::from_millis(50);

/// Runs `act`, whose statements on `db` end early when a signal asks this run to stop.
pub(crate) fn cancellable<T>(db: &Connection, act: impl FnOnce() -> T) -> T {
    let handle = db.get_interrupt_handle();
    let (working, ended) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
                if interrupt::pending().is_some() {
                    handle.interrupt();
                }
            }
        });
        let result = act();
        drop(working);
        result
    })
}
