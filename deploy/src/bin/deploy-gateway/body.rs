//! The two bodies that pass through: the client's on its way up, the target's
//! on its way down. Streamed frame by frame, trailers included, never gathered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::claim::Claim;
use crate::client::{Busy, Client};
use crate::pool::Sender;

type Polled = Poll<Option<Result<Frame<Bytes>, hyper::Error>>>;

/// A request's body; without one the request can be repeated.
#[derive(Debug)]
pub(crate) enum Upload {
    Empty,
    Streaming { body: Incoming, client: Arc<Client> },
}

impl Upload {
    pub(crate) fn new(body: Incoming, client: &Arc<Client>) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        Self::Streaming { body, client: Arc::clone(client) }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streaming { body, client } => {
                let polled = Pin::new(body).poll_frame(context);
                if polled.is_ready() {
                    client.note_progress();
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { body, .. } => body.size_hint(),
        }
    }
}

/// A target's response body, with everything that lasts as long as it does.
#[derive(Debug)]
pub(crate) struct Download {
    body: Incoming,
    sender: Option<Sender>,
    claim: Claim,
    _busy: Busy,
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.claim.target().pool.put(sender);
        }
    }
}

/// What the status server tells. Some of it has no end of its own; ours is one.
pub(crate) struct Told {
    body: Incoming,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    _lasting: (Busy, OwnedSemaphorePermit),
}

impl Told {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Polled {
        let is_endless = self.body.size_hint().exact().is_none();
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending if is_endless && self.end.as_mut().poll(context).is_ready() => Poll::Ready(None),
            polled => polled,
        }
    }
}

/// A response's body: the target's, the status server's, or a page of our own.
pub(crate) enum Reply {
    Page(Full<Bytes>),
    Download(Download),
    Told(Told),
}

impl Reply {
    pub(crate) fn download(body: Incoming, sender: Sender, claim: Claim, busy: Busy) -> Self {
        Self::Download(Download { body, sender: Some(sender), claim, _busy: busy })
    }

    /// Lasts until `end` at most.
    pub(crate) fn told(
        body: Incoming,
        end: Pin<Box<dyn Future<Output = ()> + Send>>,
        lasting: (Busy, OwnedSemaphorePermit),
    ) -> Self {
        Self::Told(Told { body, end, _lasting: lasting })
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        match self.get_mut() {
            Self::Page(page) => Pin::new(page).poll_frame(context).map_err(|never| match never {}),
            Self::Download(download) => Pin::new(&mut download.body).poll_frame(context),
            Self::Told(told) => told.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(page) => page.is_end_stream(),
            Self::Download(download) => download.body.is_end_stream(),
            Self::Told(told) => told.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(page) => page.size_hint(),
            Self::Download(download) => download.body.size_hint(),
            Self::Told(told) => told.body.size_hint(),
        }
    }
}
