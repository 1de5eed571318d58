//! What whole-system tests share. The tests themselves are in `integration`, `e2e` and `migrations`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::io::Write;

pub mod binaries;
pub mod browser;
pub mod campaign;
pub mod desk;
pub mod disk;
pub mod fault;
pub mod host;
pub mod http;
pub mod keepers;
pub mod load;
pub mod nginx;
pub mod parts;
pub mod ports;
pub mod ran;
pub mod receiver;
pub mod ssh;
pub mod stream;
pub mod world;

/// Says loudly that a test could not run here; in CI, where every part exists, that is a failure.
///
/// # Panics
/// When `CI` is set.
pub fn skipped(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "SKIPPED in CI: {reason}");
    tell(&format!("SKIPPED: {reason}"));
}

/// A figure worth reading in a test's output.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
