//! What has been counted since this process started. Never reset.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: Counter,
    /// 502 and 504 that the gateway itself answered.
    pub(crate) failed: Counter,
    /// 5xx that came from a target.
    pub(crate) server_errors: Counter,
    pub(crate) requests_cut: Counter,
}
