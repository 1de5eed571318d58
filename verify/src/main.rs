//! x
#![cfg_attr(test, allow(clippy::unwrap_used))]
mod checks;
mod finding;
mod http;
fn main() {}
