//! The gateway's own answers: small pages that say what a visitor can do and
//! nothing about what is behind.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use crate::body::Reply;

const RETRY_AFTER_SECONDS: &str = "5";

/// The one answer of ours for programs: whoever asks about the deployment can start what tells it.
pub(crate) fn no_status_server() -> Response<Reply> {
    told(
        "{\"type\":\"no-status-server\",\"title\":\"the status server does not answer\",\"status\":503,\
                   \"hint\":\"status serve   # deploy starts it where deploy.toml has a [status] table\"}\n",
    )
}

/// So many ask about the deployment already.
pub(crate) fn no_place() -> Response<Reply> {
    told(
        "{\"type\":\"too-many-streams\",\"title\":\"too many ask already\",\"status\":503,\
          \"hint\":\"curl /_deploy/deployments\"}\n",
    )
}

fn told(problem: &'static str) -> Response<Reply> {
    let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE);
    *response.body_mut() = Reply::Page(Full::new(Bytes::from_static(problem.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

pub(crate) fn refuse(status: StatusCode) -> Response<Reply> {
    let reason = status.canonical_reason().unwrap_or("Error");
    let advice = if status.is_server_error() { "<p>Please try again in a moment.</p>\n" } else { "" };
    let page = format!("<!doctype html>\n<title>{reason}</title>\n<h1>{reason}</h1>\n{advice}");
    let mut response = Response::new(Reply::Page(Full::new(Bytes::from(page))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        headers.insert(ALLOW, methods);
    }
    response
}
