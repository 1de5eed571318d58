//! A consistent copy of a database in use, at one point in time, page by page.
//!
//! A read transaction pins the source: no commit of another process restarts or changes the copy, and
//! beside a steady writer it ends. SQLite itself reads the pages, so what still lies in a `-wal` is
//! among them. Its backup interface does the same, but writes one page at a time: twice as slow.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rusqlite::Connection;

use super::open_read_only;
use crate::report::{OrProblem, Problem};

/// Bytes that are written at once; of more, the kernel finds the first gone from the processor's cache.
const PART: usize = 128 << 10;
/// Each page is read once: a large cache would only push others out.
const CACHED_PAGES: u32 = 20;

const _: () = assert!(
    option_env!("LIBSQLITE3_FLAGS").is_some(),
    "snapshots need a table of SQLite that .cargo/config.toml asks for: run cargo inside of the repository"
);

/// Copies `source` to the new file `target` (0600), byte for byte as the transaction sees it. `act` gets
/// each part once it is written, in order, and how many bytes there are in total.
///
/// # Errors
/// `database-unreadable`, `snapshot-failed` (target exists, disk full, source unreadable).
pub fn snapshot(source: &Path, target: &Path, act: &mut dyn FnMut(&[u8], u64)) -> Result<(), Problem> {
    let from = open_read_only(source)?;
    from.pragma_update(None, "cache_size", CACHED_PAGES)
        .and_then(|()| from.execute_batch("BEGIN"))
        .or_problem("snapshot-failed", || format!("cannot read {}", source.display()))?;
    snapshot_in(&from, target, act)
}

/// As [`snapshot`], of what the open transaction of `from` sees.
///
/// # Errors
/// `snapshot-failed`.
pub fn snapshot_in(from: &Connection, target: &Path, act: &mut dyn FnMut(&[u8], u64)) -> Result<(), Problem> {
    let failed = || format!("cannot copy {} to {}", from.path().unwrap_or("the database"), target.display());
    let size = size_of(from).or_problem("snapshot-failed", failed)?;
    let mut to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(target)
        .or_problem("snapshot-failed", failed)?;
    copy_pages(from, &mut to, size, act).or_problem("snapshot-failed", failed)
}

/// Brings an earlier copy up to what the open transaction of `from` sees; only what differs is written.
///
/// # Errors
/// `snapshot-failed`: the copy is neither the one nor the other.
pub fn refresh_in(from: &Connection, copy: &Path, act: &mut dyn FnMut(&[u8], u64)) -> Result<(), Problem> {
    let failed = || format!("cannot bring {} up to date", copy.display());
    let size = size_of(from).or_problem("snapshot-failed", failed)?;
    let mut refresh = || {
        let to = File::options().read(true).write(true).open(copy)?;
        let (mut held, mut offset) = (vec![0; PART], 0);
        each_part(from, &mut |part| {
            held.resize(part.len(), 0);
            if to.read_exact_at(&mut held, offset).is_err() || held != part {
                to.write_all_at(part, offset)?;
            }
            offset += part.len() as u64;
            act(part, size);
            Ok(())
        })?;
        to.set_len(size)
    };
    refresh().or_problem("snapshot-failed", failed)
}

/// Bytes of the database, which from now on stays the same for this transaction.
fn size_of(from: &Connection) -> rusqlite::Result<u64> {
    from.execute_batch("SELECT count(*) FROM sqlite_master;")?;
    let number = |pragma| from.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0)).map(u64::from);
    Ok(number("page_count")? * number("page_size")?)
}

fn copy_pages(
    from: &Connection,
    to: &mut File,
    total: u64,
    act: &mut dyn FnMut(&[u8], u64),
) -> io::Result<()> {
    let mut written = 0;
    each_part(from, &mut |part| {
        to.write_all(part)?;
        written += part.len() as u64;
        act(part, total);
        Ok(())
    })?;
    if written == total {
        return Ok(());
    }
    Err(io::Error::other(format!("{written} of {total} bytes could be read")))
}

fn each_part(from: &Connection, act: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut pages = from.prepare("SELECT data FROM sqlite_dbpage").map_err(io::Error::other)?;
    let mut rows = pages.query([]).map_err(io::Error::other)?;
    let mut part = Vec::with_capacity(PART);
    while let Some(row) = rows.next().map_err(io::Error::other)? {
        part.extend_from_slice(
            row.get_ref(0).map_err(io::Error::other)?.as_blob().map_err(io::Error::other)?,
        );
        if part.len() >= PART {
            act(&part)?;
            part.clear();
        }
    }
    act(&part)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    /// Pages of 512 to 65,536 bytes, an empty database, one that nothing fits evenly.
    #[test]
    fn a_copy_is_the_file_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        for (name, sql) in [
            ("empty", ""),
            ("small", "PRAGMA page_size = 512; CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(300001))"),
            ("usual", "CREATE TABLE t(x); INSERT INTO t VALUES (randomblob(3000001)); DELETE FROM t"),
            (
                "large",
                "PRAGMA page_size = 65536; CREATE TABLE t(x); INSERT INTO t VALUES (randomblob(900000))",
            ),
            ("utf16", "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(x); INSERT INTO t VALUES ('\u{e4}')"),
        ] {
            let (live, copy) = (dir.path().join(name), dir.path().join(format!("{name}-copy")));
            Connection::open(&live).unwrap().execute_batch(sql).unwrap();
            let (mut seen, mut totals) = (Vec::new(), Vec::new());
            snapshot(&live, &copy, &mut |part, total| {
                seen.extend_from_slice(part);
                totals.push(total);
            })
            .unwrap();
            let bytes = fs::read(&live).unwrap_or_default();
            assert!(fs::read(&copy).unwrap() == bytes && seen == bytes, "{name}");
            assert!(totals.iter().all(|total| *total == bytes.len() as u64), "{name}: {totals:?}");
        }
    }

    #[test]
    fn a_copy_has_what_lies_in_the_log_and_not_what_comes_later() {
        let dir = tempfile::tempdir().unwrap();
        let (live, copy) = (dir.path().join("live.db"), dir.path().join("copy.db"));
        let db = Connection::open(&live).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(x);")
            .unwrap();
        db.execute_batch("INSERT INTO t SELECT randomblob(900000) FROM (VALUES (1), (2))").unwrap();
        let mut later = true;
        snapshot(&live, &copy, &mut |_, _| {
            if std::mem::take(&mut later) {
                db.execute_batch("UPDATE t SET x = 1; INSERT INTO t VALUES (2); PRAGMA wal_checkpoint")
                    .unwrap();
            }
        })
        .unwrap();
        let copied = open_read_only(&copy).unwrap();
        let found: (i64, i64) = copied
            .query_row("SELECT count(*), sum(length(x)) FROM t", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(found, (2, 1_800_000));
        super::super::check(&copied).unwrap();
    }

    #[test]
    fn a_refreshed_copy_is_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let rows = "CREATE TABLE t(x); INSERT INTO t SELECT randomblob(900000) FROM (VALUES (1), (2));";
        for change in [
            "",
            "UPDATE t SET x = 1 WHERE rowid = 2",
            "INSERT INTO t SELECT x FROM t",
            "DELETE FROM t; VACUUM",
        ] {
            let db = Connection::open(path("live")).unwrap();
            db.execute_batch(&format!("PRAGMA synchronous = OFF; {rows}")).unwrap();
            snapshot(&path("live"), &path("copy"), &mut |_, _| {}).unwrap();
            db.execute_batch(change).unwrap();
            let mut seen = Vec::new();
            db.execute_batch("BEGIN").unwrap();
            refresh_in(&db, &path("copy"), &mut |part, _| seen.extend_from_slice(part)).unwrap();
            let bytes = fs::read(path("live")).unwrap();
            assert!(fs::read(path("copy")).unwrap() == bytes && seen == bytes, "{change}");
            drop(db);
            fs::remove_file(path("live")).and_then(|()| fs::remove_file(path("copy"))).unwrap();
        }
    }

    #[test]
    fn a_page_that_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (live, copy) = (dir.path().join("live.db"), dir.path().join("copy.db"));
        Connection::open(&live)
            .unwrap()
            .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(500000))")
            .unwrap();
        File::options().write(true).open(&live).unwrap().set_len(200_000).unwrap();
        let problem = snapshot(&live, &copy, &mut |_, _| {}).unwrap_err();
        assert!(["snapshot-failed", "database-unreadable"].contains(&problem.kind.as_ref()), "{problem:?}");
    }

    #[test]
    fn a_copy_beside_a_busy_writer_ends_and_is_one_point_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join("live.db");
        let db = Connection::open(&live).unwrap();
        db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(n INTEGER PRIMARY KEY, pad TEXT);")
            .unwrap();
        db.execute_batch("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<20000) INSERT INTO t SELECT n, hex(randomblob(200)) FROM c").unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    db_insert(&live);
                }
            });
            for number in 0..3 {
                let copy = dir.path().join(format!("copy{number}.db"));
                snapshot(&live, &copy, &mut |_, _| {}).unwrap();
                let copied = open_read_only(&copy).unwrap();
                let (count, max): (i64, i64) = copied
                    .query_row("SELECT count(*), max(n) FROM t", [], |row| Ok((row.get(0)?, row.get(1)?)))
                    .unwrap();
                assert_eq!(count, max);
                super::super::check(&copied).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    fn db_insert(live: &Path) {
        let db = Connection::open(live).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        for _ in 0..50 {
            db.execute("INSERT INTO t(pad) VALUES (hex(randomblob(200)))", []).unwrap();
        }
    }
}
