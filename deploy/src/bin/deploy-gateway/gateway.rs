//! What the gateway knows and the few things it can do with it: claim the
//! active target for a request, switch, drain, hold.
//! Nothing here touches a socket.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use hyper::header::HeaderValue;
use tokio::sync::{Notify, Semaphore};

use crate::claim::Claim;
use crate::client::Client;
use crate::clients::Clients;
use crate::counters::Counters;
use crate::hold::{Hold, Queue};
use crate::state;
use crate::target::{Description, Target};
use crate::unpoisoned::{lock, read, write};

/// So many answers of the status server last at once; a stream of events has no end.
const MOST_TOLD: usize = 256;
/// Connections that were cut need a moment to let go of their claims.
const AFTER_CUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) listen: SocketAddr,
    /// Its name, as a header tells it.
    pub(crate) environment: HeaderValue,
    pub(crate) started: SystemTime,
    pub(crate) counters: Counters,
    pub(crate) clients: Arc<Clients>,
    pub(crate) queue: Queue,
    /// For answers of the status server: they must leave places for visitors of the app.
    pub(crate) told: Arc<Semaphore>,
    route: RwLock<Route>,
    /// Active or still with requests in flight; the claims keep those alive.
    known: Mutex<Vec<Weak<Target>>>,
    idle: Arc<Notify>,
    switching: tokio::sync::Mutex<()>,
    closing: AtomicBool,
    closed: Notify,
    succeeded: AtomicBool,
}

#[derive(Debug, Default)]
struct Route {
    active: Option<Arc<Target>>,
    hold: Hold,
}

/// The answer to a drain.
#[derive(Debug)]
pub(crate) struct Drained {
    pub(crate) requests_cut: usize,
    pub(crate) waited: Duration,
}

impl Gateway {
    pub(crate) fn new(listen: SocketAddr, environment: HeaderValue, active: Option<Description>) -> Self {
        let gateway = Self {
            listen,
            environment,
            started: SystemTime::now(),
            counters: Counters::default(),
            clients: Arc::new(Clients::new()),
            queue: Queue::default(),
            told: Arc::new(Semaphore::new(MOST_TOLD)),
            route: RwLock::default(),
            known: Mutex::default(),
            idle: Arc::default(),
            switching: tokio::sync::Mutex::default(),
            closing: AtomicBool::new(false),
            closed: Notify::new(),
            succeeded: AtomicBool::new(false),
        };
        gateway.point_at(active);
        gateway
    }

    /// Waits while requests are held, then takes the active target, counted in
    /// the same breath: after a switch no request is on its way to the old one unseen.
    pub(crate) async fn claim(&self, client: &Arc<Client>) -> Option<Claim> {
        if self.is_succeeded() {
            self.read_successors_state();
        }
        loop {
            {
                let route = read(&self.route);
                if route.hold.until().is_none() {
                    let target = Arc::clone(route.active.as_ref()?);
                    return Some(Claim::new(target, Arc::clone(client)));
                }
            }
            self.queue.wait(|| read(&self.route).hold.until()).await;
        }
    }

    /// Persists first; on an error nothing has changed. Gives the previous target.
    pub(crate) async fn switch(&self, next: Option<Description>) -> io::Result<Option<Description>> {
        let _one_at_a_time = self.switching.lock().await;
        let saved = next.clone();
        tokio::task::spawn_blocking(move || state::save(saved)).await.map_err(io::Error::other)??;
        Ok(self.point_at(next))
    }

    /// Waits until nothing is in flight for this deployment; cuts what is left at the limit.
    pub(crate) async fn drain(&self, deployment: &str, limit: Duration) -> Drained {
        let begun = Instant::now();
        let drained = tokio::time::timeout(limit, self.wait_until_idle(deployment)).await;
        let mut requests_cut = 0;
        if drained.is_err() {
            requests_cut = self.targets_of(deployment).iter().map(|target| target.cut()).sum();
            self.counters.requests_cut.add(requests_cut as u64);
            let _ = tokio::time::timeout(AFTER_CUT, self.wait_until_idle(deployment)).await;
        }
        Drained { requests_cut, waited: begun.elapsed() }
    }

    pub(crate) fn hold(&self, limit: Duration) {
        let mut route = write(&self.route);
        if route.hold.until().is_none() {
            self.queue.start_counting();
        }
        route.hold.begin(limit);
    }

    /// Says how many requests had to wait.
    pub(crate) fn release(&self) -> usize {
        write(&self.route).hold.end();
        self.queue.release();
        self.queue.waited()
    }

    pub(crate) fn is_holding(&self) -> bool {
        read(&self.route).hold.until().is_some()
    }

    pub(crate) fn active(&self) -> Option<Description> {
        let route = read(&self.route);
        route.active.as_ref().map(|target| target.description.clone())
    }

    /// The active target and every other one that still has requests in flight.
    pub(crate) fn targets(&self) -> Vec<Arc<Target>> {
        let active = read(&self.route).active.clone();
        let is_active =
            |target: &Arc<Target>| active.as_ref().is_some_and(|active| Arc::ptr_eq(active, target));
        let mut targets: Vec<_> = lock(&self.known).iter().filter_map(Weak::upgrade).collect();
        targets.retain(|target| target.in_flight() > 0 || is_active(target));
        targets
    }

    /// From now on every response ends its connection.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.closed.notify_waiters();
    }

    /// Waits for that.
    pub(crate) async fn closed(self: Arc<Self>) {
        let closed = self.closed.notified();
        if !self.is_closing() {
            closed.await;
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// A newer process takes the commands; what it makes active is active here too.
    pub(crate) fn follow(&self) {
        self.succeeded.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_succeeded(&self) -> bool {
        self.succeeded.load(Ordering::Relaxed)
    }

    fn read_successors_state(&self) {
        if let Ok(active) = state::load()
            && active != self.active()
        {
            self.point_at(active);
        }
    }

    fn point_at(&self, next: Option<Description>) -> Option<Description> {
        let next = next.map(|description| self.target_for(description));
        let previous = std::mem::replace(&mut write(&self.route).active, next);
        previous.map(|target| target.description.clone())
    }

    /// The same object for the same target, so that counts and connections carry over.
    fn target_for(&self, description: Description) -> Arc<Target> {
        let mut known = lock(&self.known);
        known.retain(|target| target.strong_count() > 0);
        let same = |target: &Arc<Target>| target.description == description;
        if let Some(target) = known.iter().filter_map(Weak::upgrade).find(same) {
            return target;
        }
        let target = Arc::new(Target::new(description, Arc::clone(&self.idle)));
        known.push(Arc::downgrade(&target));
        target
    }

    fn targets_of(&self, deployment: &str) -> Vec<Arc<Target>> {
        let mut targets = self.targets();
        targets.retain(|target| target.description.deployment == deployment);
        targets
    }

    async fn wait_until_idle(&self, deployment: &str) {
        loop {
            let idle = self.idle.notified();
            if self.targets_of(deployment).iter().all(|target| target.in_flight() == 0) {
                return;
            }
            idle.await;
        }
    }
}
