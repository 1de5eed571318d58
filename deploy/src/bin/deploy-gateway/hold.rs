//! Holding requests back for a moment: they wait with their connection open and
//! nothing sent upstream, until released or the limit has passed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// Guarded by the same lock as the active target.
    until: Option<Instant>,
}

impl Hold {
    pub(crate) fn begin(&mut self, limit: Duration) {
        self.until = Some(Instant::now() + limit);
    }

    pub(crate) fn end(&mut self) {
        self.until = None;
    }

    /// The moment until which requests wait; `None` when they need not.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until.filter(|&until| Instant::now() < until)
    }
}

/// The requests that a hold keeps waiting.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    released: Notify,
    holding: AtomicUsize,
    /// Since the hold began, those that gave up included.
    waited: AtomicUsize,
}

impl Queue {
    pub(crate) fn holding(&self) -> usize {
        self.holding.load(Ordering::SeqCst)
    }

    pub(crate) fn start_counting(&self) {
        self.waited.store(self.holding(), Ordering::SeqCst);
    }

    pub(crate) fn waited(&self) -> usize {
        self.waited.load(Ordering::SeqCst)
    }

    pub(crate) fn release(&self) {
        self.released.notify_waiters();
    }

    /// Comes back at a release, at the limit, or at once when `still_held` says no.
    pub(crate) async fn wait(&self, still_held: impl Fn() -> Option<Instant>) {
        let _place = Place::take(self);
        loop {
            // Made before the question, so that a release in between is not missed.
            let released = self.released.notified();
            let Some(until) = still_held() else {
                return;
            };
            let _ = tokio::time::timeout_at(until.into(), released).await;
        }
    }
}

struct Place<'a>(&'a Queue);

impl<'a> Place<'a> {
    fn take(queue: &'a Queue) -> Self {
        queue.holding.fetch_add(1, Ordering::SeqCst);
        queue.waited.fetch_add(1, Ordering::SeqCst);
        Self(queue)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.holding.fetch_sub(1, Ordering::SeqCst);
    }
}
