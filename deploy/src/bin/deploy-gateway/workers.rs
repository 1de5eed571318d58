//! One single-threaded runtime per core. A connection and those to its target
//! stay on the core that accepted it: nothing is handed from thread to thread.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

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

/// Which worker this thread is; below `count()`. The main thread is the first.
pub(crate) fn index() -> usize {
    INDEX.get()
}

pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Starts all workers but the first. They end with the process.
pub(crate) fn start_others(public: &TcpListener, gateway: &Arc<Gateway>) -> io::Result<()> {
    for index in 1..count() {
        let (public, gateway) = (public.try_clone()?, Arc::clone(gateway));
        let runtime = runtime()?;
        std::thread::Builder::new().spawn(move || {
            INDEX.set(index);
            runtime.block_on(async {
                listener::accept_until_closed(public, &gateway).await;
                // The connections accepted so far live in this runtime.
                pending::<()>().await;
            });
        })?;
    }
    Ok(())
}
