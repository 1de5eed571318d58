//! `migrate` as people run it: the real binary, real files, a real database, and python3's own
//! sqlite3 module as an independent eye.
#![allow(clippy::unwrap_used)]

mod applying;
mod concurrency;
mod flyway;
mod grammar;
mod layouts;
mod peers;
mod promises;
mod rehearsing;
mod releases;
mod remembering;
mod scripts;
mod standing;
mod undoing;
mod world;
