//! All client connections: their number, their patience, their common end.
//! A tunnel counts for as long as it lives.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::client::{Client, Order};
use crate::unpoisoned::lock;

const MOST_CONNECTIONS: usize = 10_000;
/// Listener, control connections, runtime, state file.
const OWN_DESCRIPTORS: usize = 64;
const SHORTEST_SWEEP: Duration = Duration::from_millis(10);
const LONGEST_SWEEP: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Clients {
    live: Mutex<HashMap<u64, Weak<Client>>>,
    next_key: AtomicU64,
    places: Arc<Semaphore>,
    all_gone: Notify,
    epoch: Instant,
}

impl Clients {
    pub(crate) fn new() -> Self {
        Self {
            live: Mutex::default(),
            next_key: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(places())),
            all_gone: Notify::new(),
            epoch: Instant::now(),
        }
    }

    /// Milliseconds since the process started, never 0.
    pub(crate) fn clock_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Waits until another connection may be accepted.
    pub(crate) async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = Arc::clone(&self.places).acquire_owned().await {
                return permit;
            }
        }
    }

    pub(crate) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        permit: OwnedSemaphorePermit,
    ) -> io::Result<Arc<Client>> {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let client = Arc::new(Client::new(address, Arc::clone(self), key, permit)?);
        lock(&self.live).insert(key, Arc::downgrade(&client));
        Ok(client)
    }

    pub(crate) fn forget(&self, key: u64) {
        let mut live = lock(&self.live);
        live.remove(&key);
        if live.is_empty() {
            self.all_gone.notify_waiters();
        }
    }

    pub(crate) fn close_all(&self) {
        for client in self.snapshot() {
            client.order(Order::Close);
        }
    }

    pub(crate) async fn wait_until_gone(&self) {
        loop {
            let gone = self.all_gone.notified();
            if lock(&self.live).is_empty() {
                return;
            }
            gone.await;
        }
    }

    /// Runs for ever: one timer for all connections is cheaper than one for each request.
    pub(crate) async fn sweep(self: Arc<Self>, upstream_limit: Duration) {
        let pause = (upstream_limit / 4).clamp(SHORTEST_SWEEP, LONGEST_SWEEP);
        loop {
            tokio::time::sleep(pause).await;
            let now = self.clock_ms();
            for client in self.snapshot() {
                client.enforce_limits(now, upstream_limit);
            }
        }
    }

    /// Without the lock held afterwards: the last reference to a client takes it again.
    fn snapshot(&self) -> Vec<Arc<Client>> {
        let mut clients = Vec::new();
        clients.extend(lock(&self.live).values().filter_map(Weak::upgrade));
        clients
    }
}

/// As many connections as descriptors allow, each needing one more to its target.
fn places() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let descriptors = current.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    (descriptors.saturating_sub(OWN_DESCRIPTORS) / 2).clamp(1, MOST_CONNECTIONS)
}
