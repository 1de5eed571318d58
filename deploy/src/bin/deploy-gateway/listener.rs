//! The public listener: inherited or bound, and the life of each connection
//! accepted from it. What a request means is none of its business.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use listenfd::ListenFd;
use tokio::net::TcpStream;

use crate::client::{Client, Order, Watched};
use crate::forward;
use crate::gateway::Gateway;
use crate::workers::Others;

/// A request head longer than this is refused; more than 100 headers too.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;
const BACKLOG: i32 = 4096;
/// Out of descriptors: others must finish first.
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(20);

pub(crate) fn open(listen: Option<&str>) -> io::Result<TcpListener> {
    let inherited = ListenFd::from_env().take_tcp_listener(0)?;
    let listener = match (inherited, listen) {
        (Some(listener), _) => listener,
        (None, Some(address)) => bind(address)?,
        (None, None) => {
            return Err(io::Error::other("no listener inherited and no --listen ADDR"));
        }
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn bind(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// Accepts for ever.
pub(crate) async fn accept(listener: &tokio::net::TcpListener, gateway: &Arc<Gateway>, others: &mut Others) {
    loop {
        let permit = gateway.clients.place().await;
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
            continue;
        };
        if let Ok(client) = admit(&stream, peer, gateway, permit) {
            others.share(stream, client, gateway);
        }
    }
}

fn admit(
    stream: &TcpStream,
    peer: SocketAddr,
    gateway: &Gateway,
    permit: tokio::sync::OwnedSemaphorePermit,
) -> io::Result<Arc<Client>> {
    stream.set_nodelay(true)?;
    gateway.clients.admit(peer.ip(), permit)
}

pub(crate) async fn serve(stream: TcpStream, client: Arc<Client>, gateway: Arc<Gateway>) {
    let watched = Watched { stream, client: Arc::clone(&client) };
    let service = service_fn(|request| {
        let answer = forward::answer(Arc::clone(&gateway), Arc::clone(&client), request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(watched), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            biased;
            // Its errors are the client's: it went away, or sent no HTTP.
            _ = &mut connection => return,
            order = client.next_order() => match order {
                Order::Close => connection.as_mut().graceful_shutdown(),
                _ => return,
            },
        }
    }
}
