//! The end of the process: what is under way is finished, nothing new begins.
//! A successor on the same listener makes the end unhurried, so that no
//! keep-alive client loses a request to a connection that closes under it.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::gateway::Gateway;

/// After the linger: what is still under way then is cut.
const LIMIT: Duration = Duration::from_secs(28);
/// Requests already on the wire when we stopped accepting.
const LINGER: Duration = Duration::from_millis(100);
/// Time for keep-alive clients to come by once more and be told to close.
const LINGER_BESIDE_SUCCESSOR: Duration = Duration::from_secs(2);

/// Registers at once; the future ends at SIGTERM.
pub(crate) fn requested() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        terminate.recv().await;
    })
}

/// Returns when no connection is left, or at the limit.
pub(crate) async fn finish(gateway: &Gateway) {
    gateway.close();
    let linger = if gateway.is_succeeded() { LINGER_BESIDE_SUCCESSOR } else { LINGER };
    let _ = tokio::time::timeout(linger, gateway.clients.wait_until_gone()).await;
    gateway.clients.close_all();
    let _ = tokio::time::timeout(LIMIT, gateway.clients.wait_until_gone()).await;
}
