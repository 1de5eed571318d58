//! Answers that say no, as problem details (RFC 9457), with the command that helps.

use axum::Json;
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use common::report::Problem;
use serde_json::json;

/// A problem on its way to the asker.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    problem: Box<Problem>,
    header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    fn new(status: StatusCode, kind: &str, title: impl Into<String>) -> Self {
        Self { status, problem: Box::new(Problem::new(kind, title)), header: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { problem: Box::new(self.problem.hint(hint)), ..self }
    }

    /// A question that makes no sense.
    pub(crate) fn senseless(title: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-question", title).hint("curl /_deploy/openapi.json")
    }

    /// Nothing is there.
    pub(crate) fn nothing() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-page", "there is nothing here")
            .hint("curl /_deploy/openapi.json")
    }

    /// No environment of that name, or none that this asker may see.
    pub(crate) fn no_environment(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-environment", format!("there is no environment {name:?}"))
            .hint("status all")
    }

    /// A proxy brought a visitor and does not say to which environment.
    pub(crate) fn whose() -> Self {
        let title = "the proxy does not say whose visitor this is";
        Self::new(StatusCode::NOT_FOUND, "no-such-environment", title).hint(
            "deploy init --nginx ENV   # prints a location ^~ /_deploy/ with \
             proxy_set_header X-Deploy-Environment \"ENV\"; and proxy_buffering off;",
        )
    }

    /// Too many listen already.
    pub(crate) fn crowded() -> Self {
        Self {
            header: Some((RETRY_AFTER, "10")),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", "too many listen already")
                .hint("curl /_deploy/deployments")
        }
    }

    /// No deployment of that id.
    pub(crate) fn no_deployment(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-deployment", format!("there is no deployment {id:?}"))
            .hint("status all history")
    }

    /// Only reading is possible.
    pub(crate) fn only_reading() -> Self {
        Self {
            header: Some((ALLOW, "GET, HEAD")),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "only-reading", "everything here is for reading only")
                .hint("deploy --help")
        }
    }

    /// The asker has to show the token, or there is none to show.
    pub(crate) fn closed(has_token: bool) -> Self {
        let title = "this is not open to everybody";
        if !has_token {
            return Self::new(StatusCode::FORBIDDEN, "not-public", title)
                .hint("status all   # on the host, or allow it: [status] public = [...] in deploy.toml");
        }
        let scheme = "Basic realm=\"deployments\", charset=\"UTF-8\"";
        Self {
            header: Some((WWW_AUTHENTICATE, scheme)),
            ..Self::new(StatusCode::UNAUTHORIZED, "token-needed", title)
                .hint("curl -H \"Authorization: Bearer $TOKEN\" URL")
        }
    }

    /// A problem of ours; its details may name paths of this host, so they are for the log.
    pub(crate) fn broken(problem: &Problem, is_trusted: bool) -> Self {
        let told = if is_trusted {
            problem.clone()
        } else {
            Problem::new(&problem.kind, "the status of this app cannot be told at the moment")
        };
        let hint = "status all";
        let problem = if told.hint.is_some() { told } else { told.hint(hint) };
        Self { status: StatusCode::SERVICE_UNAVAILABLE, problem: Box::new(problem), header: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let problem = &self.problem;
        let mut body = json!({"type": problem.kind, "title": problem.title, "status": self.status.as_u16()});
        if let Some(detail) = &problem.detail {
            body["detail"] = json!(detail);
        }
        if let Some(hint) = &problem.hint {
            body["hint"] = json!(hint);
        }
        let mut headers = HeaderMap::new();
        headers.extend(self.header.map(|(name, value)| (name, HeaderValue::from_static(value))));
        let mut response = (self.status, headers, Json(body)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
