//! Websockets and every other upgrade: after 101 the bytes belong to the two
//! ends. A tunnel counts as a request in flight until it closes or is cut.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::body::Reply;
use crate::claim::Claim;
use crate::client::{Busy, Order};

/// Passes the 101 down and connects both ends behind it.
pub(crate) fn open(
    client_side: OnUpgrade,
    mut response: Response<Incoming>,
    claim: Claim,
    busy: Busy,
) -> Response<Reply> {
    let target_side = hyper::upgrade::on(&mut response);
    tokio::spawn(async move {
        let _claim = claim;
        let client = busy.client();
        tokio::select! {
            () = carry(client_side, target_side) => {}
            () = async { while client.next_order().await != Order::Cut {} } => {}
        }
    });
    response.map(|_| Reply::Page(Full::new(Bytes::new())))
}

/// Either end may break off at any time; that is how tunnels end.
async fn carry(client_side: OnUpgrade, target_side: OnUpgrade) {
    let (Ok(client), Ok(target)) = tokio::join!(client_side, target_side) else {
        return;
    };
    let (mut client, mut target) = (TokioIo::new(client), TokioIo::new(target));
    let _ = copy_bidirectional(&mut client, &mut target).await;
}
