//! The gateway as a real process between real sockets.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod backend;
mod commands;
mod forwarding;
mod load;
mod process;
mod restarts;
mod retries;
mod switching;
mod visitor;
