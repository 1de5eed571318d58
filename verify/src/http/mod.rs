//! Asking the server: one bounded request, whatever the server does.
//!
//! `fault` names what went wrong on the wire, `reply` is what came back, `cookies` and `form` are
//! what a login needs, `document` a page as a tree, `curl` the command that asks the same by hand. Redirects are never followed.

mod cookies;
mod curl;
mod document;
mod fault;
mod form;
mod reply;

use std::io::Read;
use std::time::{Duration, Instant};

use common::address::Address;
use common::report::{OrProblem, Problem};
use reqwest::blocking::{Client, Response};
use reqwest::header::{ACCEPT, CONTENT_TYPE, COOKIE};
use reqwest::{Method, Url};

pub(crate) use cookies::Jar;
pub(crate) use curl::command;
pub(crate) use document::Document;
pub(crate) use form::{Filled, Form, encode, fill_form, find_form, select};
pub(crate) use reply::{EXCERPT, Reply, shorten};

use crate::checks::may_write;
use crate::finding::Finding;

/// What is read of a body.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
const TOO_LARGE: &str = "body-too-large";
/// A body that is not wanted and no longer than this costs less than a new connection.
const PASSED_OVER: u64 = 256 * 1024;
/// A gateway that is being replaced is back after this.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Asks one server, on a fresh connection each time unless it keeps them.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    address: Address,
    fresh: Client,
    kept: Option<Client>,
    base: Url,
}

/// One request; `path` with its query, `form` already encoded.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) cookies: Option<String>,
    pub(crate) form: Option<String>,
    pub(crate) limit: Duration,
    /// Only what leads on is read, pages of HTML and style sheets; of what else there is the answer is
    /// known without.
    pub(crate) leads_only: bool,
}

impl<'a> Request<'a> {
    pub(crate) fn get(path: &'a str, limit: Duration) -> Self {
        Self { method: "GET", path, cookies: None, form: None, limit, leads_only: false }
    }
}

impl Asker {
    /// An asker of what listens at `address`.
    ///
    /// # Errors
    /// `unverified` when the client cannot be made.
    pub(crate) fn new(address: &Address) -> Result<Self, Problem> {
        let base = Url::parse(&address.url()).or_problem("unverified", || format!("cannot ask {address}"))?;
        Ok(Self { address: address.clone(), fresh: client(address, 0)?, kept: None, base })
    }

    /// The same, for many requests.
    ///
    /// # Errors
    /// `unverified` when the client cannot be made.
    pub(crate) fn keeping(self, connections: usize) -> Result<Self, Problem> {
        Ok(Self { kept: Some(client(&self.address, connections)?), ..self })
    }

    /// The full address of a path.
    pub(crate) fn url(&self, path: &str) -> Url {
        self.base.join(path).unwrap_or_else(|_| self.base.clone())
    }

    /// Asks, a second time where the connection was refused, or where it was a kept one: the server
    /// may have closed it just as it was to be used again.
    ///
    /// # Errors
    /// The finding that describes what the server did instead of answering.
    pub(crate) fn ask(&self, request: &Request<'_>) -> Result<Reply, Finding> {
        let kept = self.kept.as_ref().filter(|_| !may_write(request.method));
        let answer = self.send(kept.unwrap_or(&self.fresh), request);
        match &answer {
            Err(finding) if finding.kind == fault::REFUSED => std::thread::sleep(REFUSED_PAUSE),
            Err(finding) if kept.is_some() && fault::STALE.contains(&finding.kind) => {}
            _ => return answer,
        }
        self.send(&self.fresh, request)
    }

    fn send(&self, client: &Client, request: &Request<'_>) -> Result<Reply, Finding> {
        let method = Method::from_bytes(request.method.as_bytes()).unwrap_or(Method::GET);
        let mut builder = client
            .request(method, self.url(request.path))
            .timeout(request.limit)
            .header(ACCEPT, "text/html,*/*;q=0.8");
        if let Some(cookies) = &request.cookies {
            builder = builder.header(COOKIE, cookies);
        }
        if let Some(form) = &request.form {
            builder = builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.clone());
        }
        let begun = Instant::now();
        let response = builder.send().map_err(|error| fault::before_answer(&error, request.limit))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = if request.leads_only && !leads_on(&response) {
            pass_over(response);
            Vec::new()
        } else {
            let is_passed_over = request.leads_only && reply::is_style(&headers);
            match read_body(response, begun, request.limit) {
                Err(finding) if is_passed_over && finding.kind == TOO_LARGE => Vec::new(),
                body => body?,
            }
        };
        Ok(Reply::new(status, headers, &body, begun.elapsed()))
    }
}

fn client(address: &Address, kept: usize) -> Result<Client, Problem> {
    common::http::client(address)
        .pool_max_idle_per_host(kept)
        .user_agent("verify")
        .build()
        .or_problem("unverified", || "cannot make an HTTP client".into())
}

/// Whether links can be in it. A style sheet that is too large is not read, a page that is so is a
/// finding.
fn leads_on(response: &Response) -> bool {
    let is_short = response.content_length().is_none_or(|length| length <= BODY_LIMIT as u64);
    reply::is_html(response.headers()) || (is_short && reply::is_style(response.headers()))
}

/// A short body is taken off the connection, which can be used again then; another one ends it.
fn pass_over(mut response: Response) {
    if response.content_length().is_some_and(|length| length <= PASSED_OVER) {
        let _ = std::io::copy(&mut response, &mut std::io::sink());
    }
}

fn read_body(mut response: Response, begun: Instant, limit: Duration) -> Result<Vec<u8>, Finding> {
    let mut body = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let count = response.read(&mut piece).map_err(|error| fault::within_body(&error, limit))?;
        body.extend_from_slice(&piece[..count]);
        if count == 0 {
            return Ok(body);
        }
        if body.len() > BODY_LIMIT {
            return Err(Finding::new(TOO_LARGE, "sends a body that does not end")
                .line("expected", format!("at most {BODY_LIMIT} bytes"))
                .line("actual", format!("{} bytes and more to come", body.len())));
        }
        if begun.elapsed() > limit {
            return Err(fault::slow_body(limit, Some(body.len())));
        }
    }
}
