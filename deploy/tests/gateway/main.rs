//! The gateway and its keeper as real processes between real sockets.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod backend;
mod commands;
mod faults;
mod forwarding;
mod keeper;
mod load;
mod process;
mod restarts;
mod retries;
mod switching;
mod visitor;
