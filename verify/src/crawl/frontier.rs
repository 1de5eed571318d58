//! The addresses that are known, those that wait to be asked, and how many are asked at once.
//!
//! Every address enters once. A server that asks for patience gets it from all workers alike.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::interrupt;

use super::node::{Answer, Ending, Node, Reason, Referrer};
use super::sheet::Kind;

/// Different queries of one path that are asked: a calendar has links for ever.
const VARIANTS: usize = 100;
/// A worker that waits looks up this often whether the run was interrupted.
const LOOK_UP: Duration = Duration::from_millis(100);

/// How far a crawl goes.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) depth: Option<u32>,
    pub(super) pages: usize,
    pub(super) until: Instant,
    /// Time between two requests.
    pub(super) interval: Option<Duration>,
    pub(super) at_once: usize,
}

/// Shared by the workers of one crawl.
pub(super) struct Frontier {
    limits: Limits,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    nodes: Vec<Node>,
    index: HashMap<String, usize>,
    waiting: VecDeque<usize>,
    variants: HashMap<String, usize>,
    asked: usize,
    in_flight: usize,
    allowed: usize,
    /// Before this nothing is asked.
    pause: Instant,
}

/// What a worker takes with it.
pub(super) struct Task {
    pub(super) number: usize,
    pub(super) path: String,
    pub(super) kind: Kind,
}

/// A link to an address of the app.
pub(super) struct Lead {
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) fragment: Option<String>,
    pub(super) written: String,
    /// Set when it must not be asked.
    pub(super) passed: Option<Reason>,
}

impl Frontier {
    pub(super) fn new(limits: Limits) -> Self {
        let state = State {
            nodes: Vec::new(),
            index: HashMap::new(),
            waiting: VecDeque::new(),
            variants: HashMap::new(),
            asked: 0,
            in_flight: 0,
            allowed: limits.at_once,
            pause: Instant::now(),
        };
        Self { limits, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Enters a first page; its number.
    pub(super) fn enter(&self, path: &str) -> usize {
        let mut state = self.lock();
        match state.index.get(path) {
            Some(known) => *known,
            None => state.add(Node::new(path, 0, Kind::Page, Ending::Waiting)),
        }
    }

    /// Has a first page asked.
    pub(super) fn queue(&self, number: usize) {
        self.lock().waiting.push_back(number);
    }

    /// The next address to ask; `None` when the crawl is over.
    pub(super) fn take(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let over = now >= self.limits.until || interrupt::pending().is_some();
            if over || state.asked >= self.limits.pages || (state.waiting.is_empty() && state.in_flight == 0)
            {
                self.changed.notify_all();
                return None;
            }
            let free = state.in_flight < state.allowed && now >= state.pause;
            if let Some(number) = free.then(|| state.waiting.pop_front()).flatten() {
                return Some(state.begin(number, self.limits.interval));
            }
            let pause = state.pause.saturating_duration_since(now);
            let look_up = if pause.is_zero() { LOOK_UP } else { LOOK_UP.min(pause) };
            let waited = self.changed.wait_timeout(state, look_up);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes in what an address answered, and the links that were found there.
    pub(super) fn give(&self, number: usize, answer: Answer, leads: Vec<Lead>) {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.settle(number, answer, leads, self.limits.depth);
        self.changed.notify_all();
    }

    /// The same for a first page that had been asked before the crawl.
    pub(super) fn give_known(&self, number: usize, answer: Answer, leads: Vec<Lead>) {
        self.lock().settle(number, answer, leads, self.limits.depth);
    }

    /// The server wants to be asked later: how often it said so of this address.
    pub(super) fn delays(&self, number: usize) -> u32 {
        self.lock().nodes[number].delays
    }

    /// Whether an address has not been put back yet, and there is `time` to ask it again.
    pub(super) fn may_wait(&self, number: usize, time: Duration) -> bool {
        self.delays(number) == 0 && Instant::now() + time < self.limits.until
    }

    /// Puts an address back, and lets nobody ask for a while; from then on fewer ask at once.
    pub(super) fn put_back(&self, number: usize, pause: Duration) {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.asked -= 1;
        state.nodes[number].delays += 1;
        state.waiting.push_front(number);
        state.allowed = (state.allowed / 2).max(1);
        state.pause = state.pause.max(Instant::now() + pause);
        self.changed.notify_all();
    }

    /// Lets no more than `count` ask at once.
    pub(super) fn restrain(&self, count: usize) {
        let mut state = self.lock();
        state.allowed = state.allowed.min(count);
    }

    /// All addresses; what still waits was beyond the limits.
    pub(super) fn finish(self) -> Vec<Node> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        for node in &mut state.nodes {
            if matches!(node.ending, Ending::Waiting) {
                node.ending = Ending::Passed(Reason::Limit);
            }
        }
        state.nodes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, node: Node) -> usize {
        let number = self.nodes.len();
        self.index.insert(node.path.clone(), number);
        self.nodes.push(node);
        number
    }

    fn begin(&mut self, number: usize, interval: Option<Duration>) -> Task {
        self.in_flight += 1;
        self.asked += 1;
        if let Some(interval) = interval {
            self.pause = Instant::now() + interval;
        }
        let node = &self.nodes[number];
        Task { number, path: node.path.clone(), kind: node.kind }
    }

    fn settle(&mut self, number: usize, answer: Answer, leads: Vec<Lead>, depth: Option<u32>) {
        let clicks = u32::from(!answer.is_redirect());
        let reached = self.nodes[number].depth + clicks;
        self.nodes[number].ending = Ending::Answered(Box::new(answer));
        for lead in leads {
            let target = match self.index.get(&lead.path) {
                Some(known) => *known,
                None => self.discover(&lead, reached, depth),
            };
            let referrer = Referrer { page: number, written: lead.written };
            self.nodes[target].refer(referrer, lead.fragment);
        }
    }

    fn discover(&mut self, lead: &Lead, reached: u32, depth: Option<u32>) -> usize {
        let far = depth.is_some_and(|depth| reached > depth && lead.kind == Kind::Page);
        let reason = lead.passed.or(far.then_some(Reason::Depth)).or_else(|| self.is_variant(&lead.path));
        let ending = reason.map_or(Ending::Waiting, Ending::Passed);
        let number = self.add(Node::new(&lead.path, reached, lead.kind, ending));
        if reason.is_none() {
            self.waiting.push_back(number);
        }
        number
    }

    fn is_variant(&mut self, path: &str) -> Option<Reason> {
        let (plain, _) = path.split_once('?')?;
        let count = self.variants.entry(plain.to_owned()).or_default();
        *count += 1;
        (*count > VARIANTS).then_some(Reason::Variants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_address_is_asked_again_with_fewer_at_once() {
        let until = Instant::now() + Duration::from_secs(60);
        let frontier = Frontier::new(Limits { depth: None, pages: 9, until, interval: None, at_once: 4 });
        for path in ["/a", "/b"] {
            frontier.queue(frontier.enter(path));
        }
        let first = frontier.take().unwrap();
        assert!(frontier.may_wait(first.number, Duration::from_secs(10)));
        assert!(!frontier.may_wait(first.number, Duration::from_secs(100)));
        frontier.put_back(first.number, Duration::ZERO);
        let allowed = frontier.lock().allowed;
        assert_eq!((allowed, frontier.delays(first.number)), (2, 1));
        assert!(!frontier.may_wait(first.number, Duration::from_secs(10)));
        assert_eq!(frontier.take().unwrap().number, first.number);
        frontier.give(first.number, Answer::default(), Vec::new());
        assert_eq!(frontier.take().unwrap().path, "/b");
        let endings = frontier.finish();
        assert!(endings[0].answer().is_some() && matches!(endings[1].ending, Ending::Passed(Reason::Limit)));
    }
}
