//! What whole-system tests share. The tests themselves are in `integration`, `e2e` and `migrations`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod load;
