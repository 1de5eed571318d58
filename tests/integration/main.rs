//! Whole commands on the tiny app: real git, real processes, the real gateway.
#![allow(clippy::unwrap_used)]

mod chains;
mod clocks;
mod confirming;
mod crashes;
mod damaged;
mod deploying;
mod draining;
mod evidence;
mod faults;
mod gates;
mod hook_files;
mod hooks;
mod ladder;
mod locks;
mod lost_ledger;
mod nginx;
mod power;
mod refusals;
mod regressing;
mod regressions;
mod relocation;
mod retention;
mod returning;
mod secrets;
mod security;
mod serving;
mod standstill;
mod stubborn;
mod systemd;
mod tags;
mod telling;
mod traffic;
mod watching;
mod writes;
mod zoo;
