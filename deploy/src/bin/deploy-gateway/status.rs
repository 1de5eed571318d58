//! `/_deploy/`: what is asked about the deployment itself goes to `status serve`, and never to the
//! app. No target is claimed for it, so that no switch, hold or drain ever waits for it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::body::{Reply, Upload};
use crate::client::Busy;
use crate::gateway::Gateway;
use crate::listener::BUFFER_BYTES;
use crate::{headers, page};

const BELOW: &[u8] = b"/_deploy";
/// From our directory, which is our working directory.
const SOCKET: &str = "../../status/status.sock";
/// Says whose visitor asks; what a visitor says so himself is taken away.
const ENVIRONMENT: HeaderName = HeaderName::from_static("x-deploy-environment");
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Whether a path is about the deployment, also where some of it is written in hex, as apps read it.
pub(crate) fn is_asked(path: &str) -> bool {
    let mut left = path.as_bytes();
    for wanted in BELOW {
        match decode_first(left) {
            Some((byte, rest)) if byte == *wanted => left = rest,
            _ => return false,
        }
    }
    decode_first(left).is_none_or(|(byte, _)| byte == b'/')
}

fn decode_first(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match text {
        [b'%', high, low, rest @ ..] => match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => Some((high * 16 + low, rest)),
            _ => Some((b'%', &text[1..])),
        },
        [first, rest @ ..] => Some((*first, rest)),
        [] => None,
    }
}

/// The name of the environment whose directory we live in.
pub(crate) fn environment() -> io::Result<HeaderValue> {
    let dir = std::env::current_dir()?;
    let name = dir.parent().and_then(Path::file_name).unwrap_or_default();
    HeaderValue::from_str(&name.to_string_lossy()).map_err(io::Error::other)
}

/// Forwards one request; 503 says what to start.
pub(crate) async fn answer(
    gateway: &Arc<Gateway>,
    busy: Busy,
    mut request: Request<Incoming>,
) -> Result<Response<Reply>, StatusCode> {
    headers::check(&request)?;
    let Ok(place) = Arc::clone(&gateway.told).try_acquire_owned() else {
        return Ok(page::no_place());
    };
    let client = busy.client();
    headers::prepare_request(&mut request, client.address, &client.address_text, || None);
    let told = request.headers_mut();
    told.remove(CONNECTION);
    told.remove(UPGRADE);
    told.insert(ENVIRONMENT, gateway.environment.clone());
    let request = request.map(|body| Upload::new(body, client));
    let sent = client.while_patient(send(request)).await;
    match sent.unwrap_or(Err(StatusCode::GATEWAY_TIMEOUT)) {
        Ok(mut response) => {
            headers::prepare_response(&mut response);
            let end = Box::pin(Arc::clone(gateway).closed());
            Ok(response.map(|body| Reply::told(body, end, (busy, place))))
        }
        Err(StatusCode::SERVICE_UNAVAILABLE) => Ok(page::no_status_server()),
        Err(status) => Err(status),
    }
}

/// A server that is about to end has closed its socket, so a connection that opens is answered.
async fn send(request: Request<Upload>) -> Result<Response<Incoming>, StatusCode> {
    let connecting = tokio::time::timeout(CONNECT_LIMIT, UnixStream::connect(SOCKET)).await;
    let stream = connecting.ok().and_then(Result::ok).ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let handshake = http1::Builder::new().max_buf_size(BUFFER_BYTES).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    // Its errors reach the request that is on it.
    tokio::spawn(async move { connection.await.ok() });
    sender.send_request(request).await.map_err(|error| {
        if error.is_user() { StatusCode::BAD_REQUEST } else { StatusCode::SERVICE_UNAVAILABLE }
    })
}

#[cfg(test)]
mod tests {
    use super::is_asked;

    #[test]
    fn no_spelling_of_the_path_reaches_the_app_and_no_other_path_is_taken() {
        for path in
            ["/_deploy", "/_deploy/", "/_deploy/health", "/%5Fdeploy/x", "/_d%65ploy%2fx", "/%5f%64eploy"]
        {
            assert!(is_asked(path), "{path}");
        }
        for path in
            ["/", "", "*", "/_deployed", "/a/_deploy/", "/_Deploy/", "/%255Fdeploy/", "/%5", "/_deploy%3Fx"]
        {
            assert!(!is_asked(path), "{path}");
        }
    }
}
