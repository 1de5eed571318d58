//! One request from arrival to response: claim a target, send, answer.
//! Here is decided what may be sent twice; bodies and tunnels live elsewhere.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::body::{Reply, Upload};
use crate::claim::Claim;
use crate::client::{Busy, Client};
use crate::gateway::Gateway;
use crate::pool::{Pool, Sender};
use crate::{headers, page, status, tunnel};

type Sent = Result<(Response<Incoming>, Sender), StatusCode>;

pub(crate) async fn answer(
    gateway: Arc<Gateway>,
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Response<Reply> {
    let busy = Busy::begin(client);
    let answered = if status::is_asked(request.uri().path()) {
        status::answer(&gateway, busy, request).await
    } else {
        gateway.counters.requests.add(1);
        respond(&gateway, busy, request).await
    };
    let mut response = answered.unwrap_or_else(page::refuse);
    if gateway.is_closing() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

async fn respond(
    gateway: &Gateway,
    busy: Busy,
    mut request: Request<Incoming>,
) -> Result<Response<Reply>, StatusCode> {
    headers::check(&request)?;
    let claim = gateway.claim(busy.client()).await;
    let claim = claim.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let (client, target) = (busy.client(), claim.target());
    let default_host = || HeaderValue::try_from(target.description.address.to_string()).ok();
    let wants_upgrade =
        headers::prepare_request(&mut request, client.address, &client.address_text, default_host);
    let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let request = request.map(|body| Upload::new(body, client));
    let sent = client.while_patient(send(&target.pool, request)).await;
    let sent = sent.unwrap_or(Err(StatusCode::GATEWAY_TIMEOUT));
    let (mut response, sender) = sent.inspect_err(|status| count_failure(gateway, *status))?;
    if response.status().is_server_error() {
        gateway.counters.server_errors.add(1);
    }
    headers::prepare_response(&mut response);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgrade = upgrade.ok_or(StatusCode::BAD_GATEWAY);
        let upgrade = upgrade.inspect_err(|status| count_failure(gateway, *status))?;
        return Ok(tunnel::open(upgrade, response, claim, busy));
    }
    Ok(hand_down(response, sender, claim, busy))
}

fn hand_down(response: Response<Incoming>, sender: Sender, claim: Claim, busy: Busy) -> Response<Reply> {
    response.map(|body| Reply::download(body, sender, claim, busy))
}

fn count_failure(gateway: &Gateway, status: StatusCode) {
    if status.is_server_error() {
        gateway.counters.failed.add(1);
    }
}

/// Sends the request, a second time on a fresh connection if no byte of it went
/// out, or if repeating it is harmless and no response came. What cannot be
/// repeated starts on a fresh one: a kept one may be closing just now.
async fn send(pool: &Pool, request: Request<Upload>) -> Sent {
    let spare = is_repeatable(&request).then(|| copy_of(&request));
    let kept = spare.as_ref().and_then(|_| pool.take());
    let mut sender = match kept {
        Some(sender) => sender,
        None => connect(pool).await?,
    };
    let failure = match sender.try_send_request(request).await {
        Ok(response) => return Ok((response, sender)),
        Err(failure) => failure,
    };
    let (again, status) = second_try(failure, spare);
    let again = again.ok_or(status)?;
    let mut sender = connect(pool).await?;
    match sender.send_request(again).await {
        Ok(response) => Ok((response, sender)),
        Err(error) => Err(status_of(&error)),
    }
}

fn second_try(
    mut failure: TrySendError<Request<Upload>>,
    spare: Option<Request<Upload>>,
) -> (Option<Request<Upload>>, StatusCode) {
    let unsent = failure.take_message();
    let error = failure.into_error();
    let unanswered = !error.is_parse();
    (unsent.or(spare.filter(|_| unanswered)), status_of(&error))
}

async fn connect(pool: &Pool) -> Result<Sender, StatusCode> {
    pool.connect().await.map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    })
}

/// A body that broke off is the client's doing, anything else the target's.
fn status_of(error: &hyper::Error) -> StatusCode {
    if error.is_user() { StatusCode::BAD_REQUEST } else { StatusCode::BAD_GATEWAY }
}

fn is_repeatable(request: &Request<Upload>) -> bool {
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE];
    matches!(request.body(), Upload::Empty) && safe.contains(request.method())
}

fn copy_of(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::Empty);
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    copy
}
