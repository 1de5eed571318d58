//! Whole commands on the tiny app: real git, real processes, the real gateway.
#![allow(clippy::unwrap_used)]

mod chains;
mod confirming;
mod crashes;
mod deploying;
mod faults;
mod refusals;
mod regressions;
mod returning;
mod secrets;
mod security;
mod stubborn;
mod traffic;
