//! `verify` as people and scripts run it, against real servers and databases.
#![allow(clippy::unwrap_used)]

mod world;

mod browser;
mod command_line;
mod database;
mod discovery;
mod explaining;
mod faults;
mod forms;
mod identity;
mod init;
mod links;
mod programs;
mod routes;
mod tabs;
