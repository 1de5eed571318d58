//! One HTTP request to an address of ours: no redirects, no pool, nothing kept of the body.

use std::time::Duration;

use reqwest::blocking::Client;
use reqwest::redirect::Policy;

/// What came back.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub status: u16,
}

/// GETs `url` on a fresh connection; the error is a sentence.
pub fn get(url: &str, limit: Duration) -> Result<Answer, String> {
    let client = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(limit)
        .build()
        .map_err(|error| error.to_string())?;
    let response = client.get(url).send().map_err(|error| innermost(&error))?;
    Ok(Answer { status: response.status().as_u16() })
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
