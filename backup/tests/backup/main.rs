//! The tool `backup` from outside: the real binary on a project of its own, databases written by
//! SQLite in this process and by Python's.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod creation;
mod damage;
mod faults;
mod further;
mod grammar;
mod kill;
mod project;
mod restoration;
mod retention;
mod second;
mod space;
