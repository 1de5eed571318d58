//! What two or more tools need. A map of the modules, from the ones that know nothing upward:
//!
//! - `clock` what time it is, as far as that can be known; `histogram` lengths of time, counted;
//!   `address` where something listens
//! - `report` the document that every tool prints; `secrets` what it may never show
//! - `config` deploy.toml; `layout` the directories of an environment; `ownership` whose they are
//! - `fault` where tests break in; `durable` what outlives a power cut; `space` room on the disks
//! - `interrupt` signals; `lock` one changing command at a time; `exec` running programs
//! - `systemd` units, and what is said to their manager
//! - `git`, `release`, `database`, `supervisor`, `gateway`, `identity` the things acted on
//! - `evidence` a verification that another host may believe
//! - `ledger` what happened; `relocation` a database under another path
//! - `errors` what instances wrote into their logs; `notify` telling others what happened
//! - `handover` traffic from one instance to the next, `standstill` when they may not overlap
//! - `journal` how to undo it; `recovery` doing so after a crash
//! - `status_server` the program that tells how things stand, kept running
//! - `guard` finishing what a run left that died at a bad moment
//! - `cli` the command line; nothing below knows it
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod address;
pub mod backups;
pub mod chores;
pub mod cli;
pub mod clock;
pub mod config;
pub mod database;
pub mod durable;
pub mod errors;
pub mod evidence;
pub mod exec;
pub mod fault;
pub mod gateway;
pub mod git;
pub mod guard;
pub mod handover;
pub mod histogram;
pub mod http;
pub mod identity;
pub mod instance;
pub mod interrupt;
pub mod journal;
pub mod layout;
pub mod ledger;
pub mod lock;
pub mod migrations;
pub mod notify;
pub mod ownership;
pub mod process;
pub mod readiness;
pub mod recovery;
pub mod release;
pub mod relocation;
pub mod report;
pub mod scratch;
pub mod secrets;
pub mod site;
pub mod space;
pub mod standstill;
pub mod status_server;
pub mod supervisor;
mod systemd;
pub mod version;

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
