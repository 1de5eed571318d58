//! Which path leads where, and what every answer carries: headers that let a browser do nothing but
//! show it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::caller::{Caller, Door};
use super::refusal::Refusal;
use super::{Server, endpoints, events, metrics};
use crate::dashboard;

const BELOW: &str = "/_deploy";
const CONTRACT: &str = include_str!("openapi.json");
const HEADERS: [(HeaderName, &str); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// All answers at one door.
pub(super) fn router(server: &Arc<Server>, door: Door) -> Router {
    let endpoints = || {
        Router::new()
            .route("/status", get(endpoints::status))
            .route("/health", get(endpoints::health))
            .route("/version", get(endpoints::version))
            .route("/migrations", get(endpoints::migrations))
            .route("/deployments", get(endpoints::deployments))
            .route("/deployments/{id}", get(endpoints::deployment))
            .route("/metrics", get(metrics::metrics))
            .route("/events", get(events::events))
    };
    let all = endpoints().merge(dashboard::routes()).route("/openapi.json", get(contract));
    Router::new()
        .route(BELOW, get(dashboard::lead_there))
        .route(&format!("{BELOW}/"), get(dashboard::overview))
        .nest(BELOW, all)
        .nest(&format!("{BELOW}/{{environment}}"), endpoints())
        .fallback(|| async { Refusal::nothing() })
        .method_not_allowed_fallback(|| async { Refusal::only_reading() })
        .layer(from_fn_with_state((Arc::clone(server), door), admit))
        .with_state(Arc::clone(server))
}

/// Says who asks before anything is answered, and closes the answer to all but reading.
async fn admit(
    State((server, door)): State<(Arc<Server>, Door)>,
    mut request: Request,
    next: Next,
) -> Response {
    server.source.look_again();
    let caller = Caller::of(door, request.headers(), &server.source.setting());
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn contract() -> Response {
    ([("content-type", "application/json")], CONTRACT).into_response()
}
