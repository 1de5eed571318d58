//! `verify` as people and scripts run it, against real servers and databases.
#![allow(clippy::unwrap_used)]

mod world;

mod browser;
mod command_line;
mod database;
mod explaining;
mod faults;
mod identity;
mod routes;
