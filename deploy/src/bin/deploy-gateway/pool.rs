//! Connections to one target: opened, kept for a moment, taken again.
//! Whether a request may be sent a second time is decided in `forward`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::body::Upload;
use crate::listener::BUFFER_BYTES;
use crate::unpoisoned::lock;
use crate::workers;

/// Shorter than the keep-alive of any common app server (gunicorn: 2 s), so that
/// we hardly ever send on a connection which the other side is just closing.
const IDLE_LIMIT: Duration = Duration::from_secs(1);
/// For each worker: a threaded app server has a place for only so many.
const MOST_IDLE: usize = 64;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// An instance that its keeper restarts refuses for a moment.
const REFUSED_LIMIT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(80);

pub(crate) type Sender = SendRequest<Upload>;

#[derive(Debug)]
pub(crate) struct Pool {
    address: SocketAddr,
    /// For each worker its own, in the order they were put back.
    idle: Vec<Mutex<VecDeque<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Idle {
    fn is_usable(&self) -> bool {
        self.sender.is_ready() && !self.is_stale()
    }

    fn is_stale(&self) -> bool {
        self.sender.is_closed() || self.since.elapsed() >= IDLE_LIMIT
    }
}

impl Pool {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, idle: (0..workers::count()).map(|_| Mutex::default()).collect() }
    }

    /// The kept connection that was used last, if it is ready for a request.
    pub(crate) fn take(&self) -> Option<Sender> {
        let mut idle = lock(&self.idle[workers::index()]);
        let index = (0..idle.len()).rev().find(|&index| idle[index].is_usable())?;
        idle.remove(index).map(|kept| kept.sender)
    }

    /// Also for a connection whose last exchange is not quite over: it becomes
    /// ready, or closes, and `take` sees which.
    pub(crate) fn put(&self, sender: Sender) {
        let mut idle = lock(&self.idle[workers::index()]);
        while idle.front().is_some_and(Idle::is_stale) {
            idle.pop_front();
        }
        if idle.len() < MOST_IDLE {
            idle.push_back(Idle { sender, since: Instant::now() });
        }
    }

    /// A fresh connection. A refusal is tried again for a second: nothing was sent yet.
    pub(crate) async fn connect(&self) -> io::Result<Sender> {
        let give_up = Instant::now() + REFUSED_LIMIT;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.open().await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < give_up => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                outcome => return outcome,
            }
        }
    }

    async fn open(&self) -> io::Result<Sender> {
        let stream = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(self.address)).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // Its errors reach the request that is on it.
        tokio::spawn(async move { connection.with_upgrades().await.ok() });
        Ok(sender)
    }
}
