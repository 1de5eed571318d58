//! One HTTP request to an address of ours: no redirects, no pool, of the body a short text at most.

use std::io::Read;
use std::time::Duration;

use reqwest::blocking::{Client, ClientBuilder};
use reqwest::redirect::Policy;

use crate::address::Address;

/// What came back.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub status: u16,
}

/// GETs `path` at `address` on a fresh connection; the error is a sentence.
pub fn get(address: &Address, path: &str, limit: Duration) -> Result<Answer, String> {
    let client = client(address)
        .pool_max_idle_per_host(0)
        .timeout(limit)
        .build()
        .map_err(|error| error.to_string())?;
    let url = format!("{}{path}", address.url());
    let response = client.get(url).send().map_err(|error| innermost(&error))?;
    Ok(Answer { status: response.status().as_u16() })
}

/// What is read of a short answer.
const SHORT: u64 = 64 * 1024;

/// GETs `path` at `address` on a fresh connection: status and text. The error is the end of a sentence
/// about what was asked.
pub fn text(address: &Address, path: &str, limit: Duration) -> Result<(u16, String), String> {
    let client = client(address)
        .pool_max_idle_per_host(0)
        .timeout(limit)
        .build()
        .map_err(|error| error.to_string())?;
    let request = client.get(format!("{}{path}", address.url())).header("connection", "close");
    let response = request.send().map_err(|error| format!("does not answer: {}", innermost(&error)))?;
    let (status, mut text) = (response.status().as_u16(), String::new());
    response
        .take(SHORT)
        .read_to_string(&mut text)
        .map_err(|error| format!("breaks off its answer: {error}"))?;
    Ok((status, text))
}

/// A client of one address that follows no redirect and asks no proxy.
pub fn client(address: &Address) -> ClientBuilder {
    let builder = Client::builder().redirect(Policy::none()).no_proxy();
    match address {
        Address::Tcp(_) => builder,
        Address::Unix(path) => builder.unix_socket(path.as_path()),
    }
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
