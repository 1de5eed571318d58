//! Loads an export into a new database, a part at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use rusqlite::Connection;

use super::LAST_SECTION;
use super::statement::Reader;
use crate::archive::create_private;

/// How much SQL is handed over at once: SQLite copies what is left of it for each statement.
const PART: usize = 8 << 10;
/// How much is read at once.
const READ: usize = 1 << 20;

/// Runs the statements of `export` in the new database `target`.
pub(super) fn load(export: File, target: &Path) -> io::Result<()> {
    create_private(target)?;
    let connection = Connection::open(target).map_err(io::Error::other)?;
    connection
        .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -2048;")
        .map_err(io::Error::other)?;
    let mut input = BufReader::with_capacity(READ, export);
    let mut reader = Reader::new();
    let (mut part, mut begun, mut read) = (Vec::new(), 0, 0);
    let mut whole = true;
    while input.read_until(b';', &mut part)? > 0 {
        if whole && reader.ends_statement(&part[read..]) {
            whole = !part[begun..].trim_ascii_start().starts_with(LAST_SECTION.as_bytes());
            begun = part.len();
        }
        if whole && begun == part.len() && part.len() >= PART {
            run(&connection, &part)?;
            part.clear();
            begun = 0;
        }
        read = part.len();
    }
    run(&connection, &part)
}

fn run(connection: &Connection, part: &[u8]) -> io::Result<()> {
    let text = std::str::from_utf8(part).map_err(io::Error::other)?;
    connection.execute_batch(text).map_err(io::Error::other)
}
