//! Other pages into a database in use, inside a transaction of its own connection: only those that
//! differ are written, since its writers wait meanwhile.
//!
//! SQLite itself writes them (`sqlite_dbpage`, as its own replication program does), with its log or
//! journal: a transaction that is cut off leaves the pages of before.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;

use common::database;
use common::durable;
use common::report::{OrProblem, Problem};
use rusqlite::Connection;

use crate::content::{self, Content, Header, number};

/// SQLite locks the bytes at 1 GiB; a page that lies there holds nothing and cannot be written.
const LOCKED: u32 = 1 << 30;
/// Bytes of the first page that belong to the file, not to its content: the mark of WAL mode, the
/// counter of changes and the number of pages, the counter of schemas, who wrote it last.
const OF_THE_FILE: [Range<usize>; 4] = [18..20, 24..32, 40..44, 92..100];
const PAGES: Range<usize> = 28..32;
/// Bytes that are read at once.
const PART: usize = 128 << 10;
const PUT: &str = "INSERT INTO sqlite_dbpage(pgno, data) VALUES (?1, ?2)";

/// An error is what SQLite or the disk says.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A file's pages, one after the other.
struct Pages {
    file: BufReader<File>,
    page: Vec<u8>,
    number: u32,
    count: u32,
}

impl Pages {
    fn open(path: &Path, size: u32) -> io::Result<Self> {
        let file = File::open(path)?;
        let count = u32::try_from(file.metadata()?.len() / u64::from(size)).map_err(io::Error::other)?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        Ok(Self { file: BufReader::with_capacity(PART, file), page: vec![0; size], number: 0, count })
    }

    /// Its number and its bytes; none after the last.
    fn next(&mut self) -> io::Result<Option<(u32, &[u8])>> {
        if self.number == self.count {
            return Ok(None);
        }
        self.number += 1;
        self.file.read_exact(&mut self.page)?;
        Ok(Some((self.number, &self.page)))
    }
}

/// Puts the pages of `image` in the place of those that `copy` has, which are those of the database of
/// `live`, in its open transaction. Journal mode and counters stay the database's own.
///
/// # Errors
/// `restore-failed`, `database-unreadable`.
pub(crate) fn exchange(live: &Connection, copy: &Path, image: &Path) -> std::result::Result<(), Problem> {
    let title = || format!("cannot put the pages of {} into the database", image.display());
    let size = page_size(live).or_problem("restore-failed", title)?;
    if Header::read(image)?.page_size != size || Header::read(copy)?.page_size != size {
        return Err(Problem::new("restore-failed", title()).detail("its page size has changed just now"));
    }
    let open = |path| Pages::open(path, size).or_problem("restore-failed", title);
    let (mut old, mut new) = (open(copy)?, open(image)?);
    let locked = LOCKED / size + 1;
    let first = exchange_rest(live, &mut old, &mut new, locked).or_problem("restore-failed", title)?;
    finish(live, first, &old, new.count).or_problem("restore-failed", title)
}

/// All but the first page, which is given: once that is there, SQLite reads the schema anew.
fn exchange_rest(live: &Connection, old: &mut Pages, new: &mut Pages, locked: u32) -> Result<Vec<u8>> {
    let mut put = live.prepare(PUT)?;
    let mut first = Vec::new();
    while let Some((number, page)) = new.next()? {
        let before = old.next()?;
        if number == 1 {
            first = page.to_vec();
        } else if number != locked && before.is_none_or(|(_, before)| before != page) {
            put.execute((number, page))?;
        }
    }
    Ok(first)
}

/// The first page, then the end of the file, then the counter that tells all connections of the new
/// schema: each statement needs the schema that was there when it was prepared.
fn finish(live: &Connection, mut first: Vec<u8>, old: &Pages, count: u32) -> Result<()> {
    let schema = number(live, "schema_version")?;
    // Of a full auto-vacuum SQLite would move pages at the commit.
    if number(live, "auto_vacuum")? == 1 {
        live.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    }
    let held: Vec<u8> =
        live.query_row("SELECT data FROM sqlite_dbpage WHERE pgno = 1", [], |row| row.get(0))?;
    if utf16_of(&first) != utf16_of(&held) {
        return Err("its text encoding is not that of the database, which has to be moved aside first, with the app stopped".into());
    }
    for range in OF_THE_FILE {
        first[range.clone()].copy_from_slice(&held[range]);
    }
    first[PAGES].copy_from_slice(&count.to_be_bytes());
    live.execute(PUT, (1, first))?;
    if old.count > count {
        live.execute(PUT, (count + 1, rusqlite::types::Null))?;
    }
    Ok(live.pragma_update(None, "schema_version", schema.wrapping_add(1) & 0x7fff_ffff)?)
}

/// Which UTF-16 a first page says; none for UTF-8, also where there is no schema yet.
fn utf16_of(first: &[u8]) -> Option<u8> {
    first.get(59).copied().filter(|encoding| *encoding > 1)
}

/// Ends the transaction of an [`exchange`]. What SQLite has decoded of the pages of before goes with it.
///
/// # Errors
/// Of SQLite: the transaction is still open.
pub(crate) fn commit(live: &Connection) -> rusqlite::Result<()> {
    live.execute_batch("COMMIT")?;
    live.release_memory()
}

/// Gives the unpacked backup pages of the live database's size, which stays: SQLite changes it only
/// where nobody else has the file open. `expected` is what it holds.
///
/// # Errors
/// `restore-failed`, `state-unwritable`, `database-unreadable`.
pub(crate) fn resize(raw: &Path, page_size: u32, expected: &Content) -> std::result::Result<(), Problem> {
    let title = || format!("cannot give the backup pages of {page_size} bytes");
    let resized = raw.with_file_name("resized.db");
    let from = database::open_existing(raw)?;
    from.pragma_update(None, "page_size", page_size)
        .and_then(|()| from.execute("VACUUM INTO ?1", [resized.to_string_lossy()]))
        .or_problem("restore-failed", title)?;
    drop(from);
    if content::read(&content::open_private(&resized)?)? != *expected {
        return Err(Problem::new("restore-failed", title()).detail("SQLite would change its content"));
    }
    durable::rename_for_now(&resized, raw).or_problem("state-unwritable", title)
}

/// Whether the database of `live`, as its transaction sees it, has the content of `image`, page by page.
///
/// # Errors
/// Of SQLite or of reading.
pub(crate) fn is_same(live: &Connection, image: &Path) -> Result<bool> {
    let mut wanted = Pages::open(image, page_size(live)?)?;
    let mut statement = live.prepare("SELECT data FROM sqlite_dbpage")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let held = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        match wanted.next()? {
            Some((1, page)) if without_marks(held) == without_marks(page) => {}
            Some((2.., page)) if held == page => {}
            _ => return Ok(false),
        }
    }
    Ok(wanted.next()?.is_none())
}

fn without_marks(first: &[u8]) -> Vec<u8> {
    let mut first = first.to_vec();
    for range in OF_THE_FILE {
        first[range].fill(0);
    }
    first
}

fn page_size(live: &Connection) -> rusqlite::Result<u32> {
    live.pragma_query_value(None, "page_size", |row| row.get(0))
}

#[cfg(test)]
mod tests;
