//! One HTTP request to an address of ours: no redirects, no pool, nothing kept of the body.

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
