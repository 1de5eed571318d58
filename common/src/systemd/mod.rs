//! What is said to systemd: the manager and its programs (`manager`), the files of units (`unit`),
//! how text is written there (`syntax`), what a service may not do (`sandbox`), as whom it runs
//! (`account`) and what that account may open (`access`); and the unit of the watch (`watching`).
//!
//! Knows nothing of slots and traffic: the supervisor and the gateway build on this.

pub(crate) mod access;
pub(crate) mod account;
pub(crate) mod manager;
pub(crate) mod sandbox;
pub(crate) mod syntax;
pub(crate) mod unit;
mod watching;

pub(crate) use account::Account;
pub(crate) use manager::Manager;
pub(crate) use unit::UnitFile;
pub use watching::watch_unit;
