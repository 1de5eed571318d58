//! One client connection as the rest of the gateway sees it: who it is, whether
//! a request is under way, and how to end it from outside.
//! The bytes themselves are hyper's business (`listener`).

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::clients::Clients;

const HEAD_LIMIT: Duration = Duration::from_secs(30);
const IDLE_LIMIT: Duration = Duration::from_secs(75);
const NEVER: u64 = 0;

/// What the connection's task is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Order {
    CarryOn,
    /// Finish the request under way, then close.
    Close,
    /// Drop everything now.
    Cut,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// `address` as header text, made once.
    pub(crate) address_text: HeaderValue,
    order: AtomicU8,
    attention: Notify,
    busy: AtomicBool,
    /// Milliseconds on the clock of `clients`.
    quiet_since: AtomicU64,
    /// When the first byte of a request head arrived; `NEVER` between heads.
    head_since: AtomicU64,
    /// Since when the target owes the head of a response; `NEVER` while it does not.
    waiting_since: AtomicU64,
    gave_up: AtomicBool,
    clients: Arc<Clients>,
    key: u64,
    _permit: OwnedSemaphorePermit,
}

impl Client {
    pub(crate) fn new(
        address: IpAddr,
        clients: Arc<Clients>,
        key: u64,
        permit: OwnedSemaphorePermit,
    ) -> io::Result<Self> {
        let address = address.to_canonical();
        Ok(Self {
            address,
            address_text: HeaderValue::try_from(address.to_string()).map_err(io::Error::other)?,
            order: AtomicU8::new(Order::CarryOn as u8),
            attention: Notify::new(),
            busy: AtomicBool::new(false),
            quiet_since: AtomicU64::new(clients.clock_ms()),
            head_since: AtomicU64::new(NEVER),
            waiting_since: AtomicU64::new(NEVER),
            gave_up: AtomicBool::new(false),
            clients,
            key,
            _permit: permit,
        })
    }

    /// Tells the connection's task; a later weaker order never replaces `Cut`.
    pub(crate) fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::SeqCst);
        self.attention.notify_one();
    }

    /// Waits until something was ordered.
    pub(crate) async fn next_order(&self) -> Order {
        loop {
            self.attention.notified().await;
            match self.order.load(Ordering::SeqCst) {
                order if order == Order::Cut as u8 => return Order::Cut,
                order if order == Order::Close as u8 => return Order::Close,
                _ => {}
            }
        }
    }

    /// Ends what has taken too long: a silent target, a slow head, a long silence.
    pub(crate) fn enforce_limits(&self, now_ms: u64, upstream_limit: Duration) {
        let passed = |since: &AtomicU64, limit: Duration| {
            let since = since.load(Ordering::Relaxed);
            since != NEVER && u128::from(now_ms.saturating_sub(since)) >= limit.as_millis()
        };
        if self.busy.load(Ordering::Relaxed) {
            if passed(&self.waiting_since, upstream_limit) {
                self.gave_up.store(true, Ordering::SeqCst);
                self.attention.notify_one();
            }
        } else if passed(&self.head_since, HEAD_LIMIT) {
            self.order(Order::Cut);
        } else if self.head_since.load(Ordering::Relaxed) == NEVER && passed(&self.quiet_since, IDLE_LIMIT) {
            self.order(Order::Close);
        }
    }

    /// The target's time begins anew with every frame of the request: a slow
    /// client is no silent target.
    pub(crate) fn note_progress(&self) {
        if self.waiting_since.load(Ordering::Relaxed) != NEVER {
            self.waiting_since.store(self.clients.clock_ms(), Ordering::Relaxed);
        }
    }

    /// `None` when the target's time was up first.
    pub(crate) async fn while_patient<T>(&self, exchange: impl Future<Output = T>) -> Option<T> {
        let mut exchange = pin!(exchange);
        self.gave_up.store(false, Ordering::SeqCst);
        self.waiting_since.store(self.clients.clock_ms(), Ordering::Relaxed);
        // No timer of its own: the sweep wakes this connection's task when time is up.
        let outcome = poll_fn(|context| {
            if self.gave_up.load(Ordering::SeqCst) {
                return Poll::Ready(None);
            }
            exchange.as_mut().poll(context).map(Some)
        })
        .await;
        self.waiting_since.store(NEVER, Ordering::Relaxed);
        outcome
    }

    fn note_bytes(&self) {
        if !self.busy.load(Ordering::Relaxed) && self.head_since.load(Ordering::Relaxed) == NEVER {
            self.head_since.store(self.clients.clock_ms(), Ordering::Relaxed);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.forget(self.key);
    }
}

/// A request of this client is under way for as long as this lives.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Client>);

impl Busy {
    pub(crate) fn begin(client: Arc<Client>) -> Self {
        client.busy.store(true, Ordering::Relaxed);
        client.head_since.store(NEVER, Ordering::Relaxed);
        Self(client)
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = self.0.clients.clock_ms();
        self.0.quiet_since.store(now, Ordering::Relaxed);
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// The client's socket, which notes when a request head begins to arrive.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) stream: TcpStream,
    pub(crate) client: Arc<Client>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.client.note_bytes();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
