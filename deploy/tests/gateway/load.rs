//! Visitors that never stop asking, and what they got: for tests that change
//! something under load and then look for a lost or misdirected request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::visitor::Visitor;

pub struct Answer {
    pub asked: Instant,
    /// The body of a 200, or what went wrong.
    pub outcome: Result<String, String>,
}

pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<Answer>>>,
}

impl Load {
    /// Half of the visitors keep their connection, half open one for each request.
    pub fn start(address: SocketAddr, visitors: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let threads = (0..visitors)
            .map(|index| {
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                std::thread::spawn(move || visit(address, index % 2 == 0, &stop, &answered))
            })
            .collect();
        Self { stop, answered, threads }
    }

    /// Returns when at least `count` more requests have been answered.
    pub fn wait_for_more(&self, count: usize) {
        let goal = self.answered.load(Ordering::SeqCst) + count;
        while self.answered.load(Ordering::SeqCst) < goal {
            std::thread::yield_now();
        }
    }

    pub fn finish(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

fn visit(address: SocketAddr, keep_alive: bool, stop: &AtomicBool, answered: &AtomicUsize) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut kept: Option<Visitor> = None;
    while !stop.load(Ordering::SeqCst) {
        let asked = Instant::now();
        let outcome = ask(address, &mut kept);
        if !keep_alive {
            kept = None;
        }
        answers.push(Answer { asked, outcome });
        answered.fetch_add(1, Ordering::SeqCst);
    }
    answers
}

fn ask(address: SocketAddr, kept: &mut Option<Visitor>) -> Result<String, String> {
    let mut visitor = match kept.take() {
        Some(visitor) => visitor,
        None => Visitor::try_connect(address).map_err(|error| format!("connect: {error}"))?,
    };
    let response = visitor.try_get("/").map_err(|error| format!("get: {error}"))?;
    if response.header("connection") != Some("close") {
        *kept = Some(visitor);
    }
    match response.status {
        200 => Ok(response.body),
        status => Err(format!("status {status}")),
    }
}
