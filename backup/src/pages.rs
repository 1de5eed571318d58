//! Other pages into a database in use, inside a transaction of its own connection: only those that
//! differ are written, so that writers wait no longer than the difference takes.
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

use crate::content::{self, Content, number};

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
/// `restore-failed`.
pub(crate) fn exchange(live: &Connection, copy: &Path, image: &Path) -> std::result::Result<(), Problem> {
    let title = || format!("cannot put the pages of {} into the database", image.display());
    let size = page_size(live).or_problem("restore-failed", title)?;
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
fn finish(live: &Connection, mut first: Vec<u8>, old: &Pages, count: u32) -> rusqlite::Result<()> {
    let schema = number(live, "schema_version")?;
    // Of a full auto-vacuum SQLite would move pages at the commit.
    if number(live, "auto_vacuum")? == 1 {
        live.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    }
    let held: Vec<u8> =
        live.query_row("SELECT data FROM sqlite_dbpage WHERE pgno = 1", [], |row| row.get(0))?;
    for range in OF_THE_FILE {
        first[range.clone()].copy_from_slice(&held[range]);
    }
    first[PAGES].copy_from_slice(&count.to_be_bytes());
    live.execute(PUT, (1, first))?;
    if old.count > count {
        live.execute(PUT, (count + 1, rusqlite::types::Null))?;
    }
    live.pragma_update(None, "schema_version", schema.wrapping_add(1) & 0x7fff_ffff)
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

/// Whether the database of `live` has the content of `image`, page by page.
///
/// # Errors
/// Of SQLite or of reading.
pub(crate) fn is_same(live: &Connection, image: &Path) -> Result<bool> {
    live.execute_batch("BEGIN")?;
    let found = compare(live, image);
    live.execute_batch("COMMIT")?;
    found
}

fn compare(live: &Connection, image: &Path) -> Result<bool> {
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
mod tests {
    use super::*;

    const ROWS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000)
        INSERT INTO t SELECT n, hex(randomblob(40)) FROM c;";
    const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE INDEX i ON t(a);";

    /// An app's open connection, and the database of `image` put into it: as they are afterwards.
    fn exchanged(live: &str, image: &str) -> Connection {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let app = Connection::open(path("live.db")).unwrap();
        app.execute_batch(&format!("PRAGMA synchronous = OFF; {live}")).unwrap();
        Connection::open(path("other.db"))
            .unwrap()
            .execute_batch(&format!("PRAGMA synchronous = OFF; {image}"))
            .unwrap();
        database::snapshot(&path("other.db"), &path("image.db"), &mut |_, _| {}).unwrap();
        let db = Connection::open(path("live.db")).unwrap();
        db.execute_batch("PRAGMA synchronous = OFF; BEGIN EXCLUSIVE").unwrap();
        database::snapshot_in(&db, &path("copy.db"), &mut |_, _| {}).unwrap();
        exchange(&db, &path("copy.db"), &path("image.db")).unwrap();
        commit(&db).unwrap();
        assert!(is_same(&db, &path("image.db")).unwrap(), "{live} | {image}");
        for connection in [&app, &Connection::open(path("live.db")).unwrap()] {
            database::check(connection).unwrap();
            let image = content::read(&content::open_private(&path("image.db")).unwrap()).unwrap();
            assert_eq!(content::read(connection).unwrap(), image);
        }
        app.execute_batch(
            "CREATE TABLE later(a); INSERT INTO later VALUES (randomblob(100000)); DROP TABLE later;",
        )
        .unwrap();
        database::check(&app).unwrap();
        app
    }

    #[test]
    fn a_database_takes_any_other_content_and_its_app_goes_on() {
        let lives = [
            "",
            TABLE,
            &format!("{TABLE}{ROWS}"),
            "CREATE TABLE other(x); INSERT INTO other VALUES (zeroblob(900000))",
        ];
        let images = [
            format!("{TABLE}{ROWS} DELETE FROM t WHERE id % 3 = 0;"),
            format!(
                "PRAGMA user_version = 7; PRAGMA application_id = 9; {TABLE} INSERT INTO t VALUES (1, 'one');"
            ),
            format!(
                "CREATE TABLE gone(a); INSERT INTO gone VALUES (randomblob(700000)); DROP TABLE gone; {TABLE}"
            ),
        ];
        for mode in ["WAL", "DELETE"] {
            for vacuum in ["NONE", "FULL", "INCREMENTAL"] {
                for live in lives {
                    for image in &images {
                        let set = format!("PRAGMA auto_vacuum = {vacuum}; PRAGMA journal_mode = {mode};");
                        exchanged(&format!("{set} {live}"), image);
                        exchanged(&format!("{set} {live}"), &format!("PRAGMA auto_vacuum = FULL; {image}"));
                    }
                }
            }
        }
    }

    #[test]
    fn journal_mode_stays_and_statements_of_others_see_the_new_schema() {
        for (live, image) in [("WAL", "DELETE"), ("DELETE", "WAL")] {
            let app = exchanged(
                &format!("PRAGMA journal_mode = {live}; CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 2)"),
                &format!(
                    "PRAGMA journal_mode = {image}; CREATE TABLE t(b, c, a); INSERT INTO t VALUES (1, 2, 3)"
                ),
            );
            assert_eq!(
                app.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))
                    .unwrap()
                    .to_uppercase(),
                live
            );
            assert_eq!(app.query_row("SELECT a FROM t", [], |row| row.get::<_, i64>(0)), Ok(3));
        }
    }

    #[test]
    fn a_transaction_that_is_rolled_back_leaves_the_pages_of_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for mode in ["WAL", "DELETE"] {
            let live = path(mode);
            let db = Connection::open(&live).unwrap();
            db.execute_batch(&format!("PRAGMA journal_mode = {mode}; {TABLE}{ROWS}")).unwrap();
            let copy = path(&format!("{mode}-copy"));
            database::snapshot(&live, &copy, &mut |_, _| {}).unwrap();
            let image = path(&format!("{mode}-image"));
            Connection::open(&image).unwrap().execute_batch(TABLE).unwrap();
            db.execute_batch("BEGIN EXCLUSIVE").unwrap();
            exchange(&db, &copy, &image).unwrap();
            db.execute_batch("ROLLBACK").unwrap();
            assert!(is_same(&db, &copy).unwrap());
            database::check(&Connection::open(&live).unwrap()).unwrap();
        }
    }

    /// A sparse file reaches beyond the bytes that SQLite locks.
    #[test]
    fn the_page_that_is_locked_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let db = Connection::open(path("live.db")).unwrap();
        db.execute_batch("PRAGMA page_size = 65536; PRAGMA journal_mode = DELETE; CREATE TABLE t(a);")
            .unwrap();
        db.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let locked = LOCKED / 65536 + 1;
        let pages = |count: u32| {
            let name = path(&count.to_string());
            std::fs::copy(path("live.db"), &name).unwrap();
            File::options().write(true).open(&name).unwrap().set_len(u64::from(count) * 65536).unwrap();
            Pages::open(&name, 65536).unwrap()
        };
        let (mut old, mut new) = (pages(locked - 1), pages(locked + 1));
        exchange_rest(&db, &mut old, &mut new, locked).unwrap();
        db.execute_batch("ROLLBACK").unwrap();
    }

    #[test]
    fn another_page_size_is_made_that_of_the_database() {
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("raw.db");
        for (sql, size) in [
            (format!("PRAGMA page_size = 1024; {TABLE}{ROWS} DELETE FROM t WHERE id < 5;"), 8192),
            (String::new(), 4096),
            (
                "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES (7, 1), (9, 2)".to_owned(),
                512,
            ),
        ] {
            let _ = std::fs::remove_file(&raw);
            Connection::open(&raw).unwrap().execute_batch(&sql).unwrap();
            let expected = content::read(&content::open_private(&raw).unwrap()).unwrap();
            resize(&raw, size, &expected).unwrap();
            assert_eq!(content::Header::read(&raw).unwrap().page_size, size);
            assert_eq!(content::read(&content::open_private(&raw).unwrap()).unwrap(), expected);
        }
    }
}
