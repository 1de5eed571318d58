//! Clients that ask all the time while something is deployed, and remember every loss. They are plain
//! sockets and never retry: what a browser or a proxy would paper over counts here.
//! This file owns the clients; `exchange` speaks HTTP on one connection, `websocket` goes on from
//! there; `tally` judges what they saw.

mod exchange;
mod tally;
#[cfg(test)]
mod tests;
mod websocket;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use exchange::{Connection, Reply};
pub use tally::{Answer, Cutover, Loss, Stale, Tally};

const THINK_TIME: Duration = Duration::from_millis(2);
/// A busy machine may be slow without any client being stuck.
const SLACK: Duration = Duration::from_secs(15);
const UPLOAD_PIECES: u32 = 8;
const UPLOAD_PIECE: [u8; 1024] = [b'x'; 1024];

/// What a client does, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// GET on a new connection each time.
    Fresh,
    /// GET on one connection for as long as it stays open.
    KeepAlive,
    /// GET of something slow, on a new connection each time.
    Slow,
    /// POST whose body arrives in pieces, on a new connection each time.
    Upload,
    /// A websocket that says something now and then, on a new connection each time.
    WebSocket,
    /// POST of a number that no other request of this load carries, on a new connection each time.
    Write,
}

/// How many clients of each kind, and what they ask for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub fresh: usize,
    pub keep_alive: usize,
    pub slow: usize,
    pub upload: usize,
    pub websocket: usize,
    pub write: usize,
    /// For `Fresh` and `KeepAlive`.
    pub path: String,
    pub slow_path: String,
    pub upload_path: String,
    /// From the first to the last piece of the body.
    pub upload_time: Duration,
    pub websocket_path: String,
    /// The number is appended to it.
    pub write_path: String,
    pub first_write: i64,
    /// A request that takes longer, from connecting to the last byte, is lost.
    pub patience: Duration,
}

impl Default for Plan {
    /// No clients; the paths of the fixture app.
    fn default() -> Self {
        Self {
            fresh: 0,
            keep_alive: 0,
            slow: 0,
            upload: 0,
            websocket: 0,
            write: 0,
            path: "/".to_owned(),
            slow_path: "/slow/300".to_owned(),
            upload_path: "/up".to_owned(),
            upload_time: Duration::from_millis(300),
            websocket_path: "/ws".to_owned(),
            write_path: "/write?n=".to_owned(),
            first_write: 1,
            patience: Duration::from_secs(15),
        }
    }
}

impl Plan {
    /// Every reading kind at once: 2 fresh, 2 keep-alive, 2 slow, 1 upload, 1 websocket.
    pub fn mixed() -> Self {
        Self { fresh: 2, keep_alive: 2, slow: 2, upload: 1, websocket: 1, ..Self::default() }
    }

    fn kinds(&self) -> Vec<Kind> {
        [
            (Kind::Fresh, self.fresh),
            (Kind::KeepAlive, self.keep_alive),
            (Kind::Slow, self.slow),
            (Kind::Upload, self.upload),
            (Kind::WebSocket, self.websocket),
            (Kind::Write, self.write),
        ]
        .into_iter()
        .flat_map(|(kind, clients)| std::iter::repeat_n(kind, clients))
        .collect()
    }
}

/// Running clients. They stop with `stop`, or without a tally when dropped.
#[derive(Debug)]
pub struct Load {
    started_at: Instant,
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Client>>,
}

#[derive(Debug)]
struct Shared {
    addr: SocketAddr,
    plan: Plan,
    stopping: AtomicBool,
    next_write: AtomicI64,
    /// Requests that ended well or badly, per client.
    ended: Mutex<Vec<usize>>,
    progress: Condvar,
}

impl Load {
    /// Starts one thread per client; they ask at once.
    pub fn start(addr: SocketAddr, plan: Plan) -> Self {
        let started_at = Instant::now();
        let kinds = plan.kinds();
        let shared = Arc::new(Shared {
            addr,
            stopping: AtomicBool::new(false),
            next_write: AtomicI64::new(plan.first_write),
            ended: Mutex::new(vec![0; kinds.len()]),
            progress: Condvar::new(),
            plan,
        });
        let start = |(index, kind)| {
            let client = Client::new(kind, index, Arc::clone(&shared));
            thread::spawn(move || client.run())
        };
        let clients = kinds.into_iter().enumerate().map(start).collect();
        Self { started_at, shared, clients }
    }

    /// Waits until every client has ended `requests` more requests, well or badly. The first of them may have
    /// begun before; with 2 or more, every client has asked since.
    pub fn wait_for(&self, requests: usize) {
        let ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let goals: Vec<usize> = ended.iter().map(|ended| ended + requests).collect();
        let behind = |ended: &mut Vec<usize>| ended.iter().zip(&goals).any(|(ended, goal)| ended < goal);
        let longest = self.shared.plan.patience + THINK_TIME;
        let limit = longest * u32::try_from(requests + 1).unwrap_or(u32::MAX) + SLACK;
        let waited = self.shared.progress.wait_timeout_while(ended, limit, behind);
        let (ended, result) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(
            !result.timed_out(),
            "the load made no progress: {ended:?} requests ended, waiting for {goals:?}"
        );
    }

    /// Lets every request in flight end, and adds up.
    pub fn stop(mut self) -> Tally {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let mut tally = Tally::new(self.started_at);
        for client in std::mem::take(&mut self.clients) {
            let client = client.join().expect("a client does not panic");
            tally.add(client.kind, client.ok, client.lost, client.answers, client.acknowledged);
        }
        tally
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Client {
    kind: Kind,
    index: usize,
    shared: Arc<Shared>,
    kept: Option<Connection>,
    ok: usize,
    lost: Vec<Loss>,
    answers: Vec<Answer>,
    acknowledged: Vec<i64>,
}

impl Client {
    fn new(kind: Kind, index: usize, shared: Arc<Shared>) -> Self {
        let (lost, answers, acknowledged) = (Vec::new(), Vec::new(), Vec::new());
        Self { kind, index, shared, kept: None, ok: 0, lost, answers, acknowledged }
    }

    fn run(mut self) -> Self {
        while !self.shared.stopping.load(Ordering::Relaxed) {
            match self.ask() {
                Ok(()) => self.ok += 1,
                Err((what, is_race)) => {
                    self.lost.push(Loss { kind: self.kind, at: Instant::now(), what, is_race });
                }
            }
            self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner)[self.index] += 1;
            self.shared.progress.notify_all();
            thread::sleep(THINK_TIME);
        }
        self
    }

    /// An error comes with whether the server closed a reused connection just as a request was sent:
    /// what HTTP allows it to do, and clients to ask again for.
    fn ask(&mut self) -> Result<(), (String, bool)> {
        let patience = self.shared.plan.patience;
        let mut connection = match self.kept.take().filter(Connection::is_reusable) {
            Some(kept) => kept.again(),
            None => Connection::open(self.shared.addr, patience).map_err(|what| (what, false))?,
        };
        self.ask_on(&mut connection).map_err(|what| {
            let is_closed = !what.starts_with(exchange::TOO_LATE);
            (what, connection.is_reused && !connection.is_answered && is_closed)
        })?;
        if self.kind == Kind::KeepAlive && connection.stays {
            self.kept = Some(connection);
        }
        Ok(())
    }

    fn ask_on(&mut self, connection: &mut Connection) -> Result<(), String> {
        let (asked_at, deadline) = (Instant::now(), Instant::now() + self.shared.plan.patience);
        let number =
            (self.kind == Kind::Write).then(|| self.shared.next_write.fetch_add(1, Ordering::Relaxed));
        self.send(connection, number, deadline)?;
        let reply = match self.kind {
            Kind::WebSocket => websocket::converse(connection, deadline)?,
            _ => connection.receive(deadline)?,
        };
        let good = if self.kind == Kind::WebSocket { 101..102 } else { 200..300 };
        if !good.contains(&reply.status) {
            return Err(reply.describe());
        }
        self.acknowledged.extend(number);
        if let Some(marker) = self.marker(&reply) {
            let opened_at = connection.opened_at;
            self.answers.push(Answer {
                kind: self.kind,
                opened_at,
                asked_at,
                answered_at: Instant::now(),
                marker,
            });
        }
        connection.stays = !reply.closes;
        Ok(())
    }

    fn send(
        &self,
        connection: &mut Connection,
        number: Option<i64>,
        deadline: Instant,
    ) -> Result<(), String> {
        let Shared { plan, addr, .. } = &*self.shared;
        let head =
            |line: &str, more: &str| format!("{line} HTTP/1.1\r\nHost: {addr}\r\n{more}\r\n").into_bytes();
        let get = |path: &str, more: &str| head(&format!("GET {path}"), more);
        match self.kind {
            Kind::Fresh => connection.send(&get(&plan.path, "Connection: close\r\n"), deadline),
            Kind::KeepAlive => connection.send(&get(&plan.path, ""), deadline),
            Kind::Slow => connection.send(&get(&plan.slow_path, "Connection: close\r\n"), deadline),
            Kind::WebSocket => connection.send(&get(&plan.websocket_path, websocket::UPGRADE), deadline),
            Kind::Write => {
                let line = format!("POST {}{}", plan.write_path, number.unwrap_or_default());
                connection.send(&head(&line, "Content-Length: 0\r\nConnection: close\r\n"), deadline)
            }
            Kind::Upload => {
                let length = UPLOAD_PIECE.len() * UPLOAD_PIECES as usize;
                let more = format!("Content-Length: {length}\r\nConnection: close\r\n");
                connection.send(&head(&format!("POST {}", plan.upload_path), &more), deadline)?;
                self.send_pieces(connection, deadline)
            }
        }
    }

    fn send_pieces(&self, connection: &mut Connection, deadline: Instant) -> Result<(), String> {
        for piece in 0..UPLOAD_PIECES {
            if piece > 0 {
                thread::sleep(self.shared.plan.upload_time / (UPLOAD_PIECES - 1));
            }
            if let Err(what) = connection.send(&UPLOAD_PIECE, deadline) {
                // A server that refuses an upload answers before it closes.
                return Err(connection.receive(deadline).map_or(what, |reply| reply.describe()));
            }
        }
        Ok(())
    }

    /// What the answer says of the release behind it. A body counts only where it is the release's own text.
    fn marker(&self, reply: &Reply) -> Option<String> {
        let is_text = matches!(self.kind, Kind::Fresh | Kind::KeepAlive | Kind::Slow);
        reply.revision.clone().or_else(|| is_text.then(|| reply.text()))
    }
}
