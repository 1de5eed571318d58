//! One single-threaded runtime per core. A connection and those to its target
//! stay with one worker for life: no request is handed from thread to thread.
//! The main thread is the first worker and accepts for all.

use std::cell::Cell;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::listener;

/// One core forwards tens of thousands of requests a second.
const MOST: usize = 4;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(0) };
}

pub(crate) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST))
}

/// Which worker this thread is; below `count()`.
pub(crate) fn index() -> usize {
    INDEX.get()
}

pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

type Accepted = (TcpStream, Arc<Client>);

/// All workers but the first, each taking its turn. They end with the process.
#[derive(Debug)]
pub(crate) struct Others {
    queues: Vec<UnboundedSender<Accepted>>,
    turn: usize,
}

impl Others {
    pub(crate) fn start(gateway: &Arc<Gateway>) -> io::Result<Self> {
        let mut queues = Vec::new();
        for index in 1..count() {
            let (queue, accepted) = unbounded_channel();
            let (runtime, gateway) = (runtime()?, Arc::clone(gateway));
            std::thread::Builder::new().spawn(move || {
                INDEX.set(index);
                runtime.block_on(serve_all(accepted, &gateway));
            })?;
            queues.push(queue);
        }
        Ok(Self { queues, turn: 0 })
    }

    /// Serves the connection here or there, in turn.
    pub(crate) fn share(
        &mut self,
        stream: tokio::net::TcpStream,
        client: Arc<Client>,
        gateway: &Arc<Gateway>,
    ) {
        self.turn = (self.turn + 1) % count();
        let Some(queue) = self.turn.checked_sub(1).and_then(|other| self.queues.get(other)) else {
            tokio::spawn(listener::serve(stream, client, Arc::clone(gateway)));
            return;
        };
        // A stream that cannot change its runtime is broken, and closing it is right.
        if let Ok(stream) = stream.into_std() {
            let _ = queue.send((stream, client));
        }
    }
}

async fn serve_all(mut accepted: UnboundedReceiver<Accepted>, gateway: &Arc<Gateway>) {
    while let Some((stream, client)) = accepted.recv().await {
        if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
            tokio::spawn(listener::serve(stream, client, Arc::clone(gateway)));
        }
    }
}
