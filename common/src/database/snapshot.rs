//! A consistent copy of a database in use, at one point in time.
//!
//! A read transaction pins the source first: without it every commit of another process would
//! restart the copy, and beside a steady writer it would never end.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::open_read_only;
use crate::report::{OrProblem, Problem};

const PAGES_PER_STEP: i32 = 1000;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Copies `source` to the new file `target` (0600); `progress` hears pages done and in total.
///
/// # Errors
/// `database-unreadable`, `snapshot-failed` (target exists, disk full, source unreadable).
pub fn snapshot(source: &Path, target: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Problem> {
    let failed = || format!("cannot copy {} to {}", source.display(), target.display());
    let from = open_read_only(source)?;
    from.execute_batch("BEGIN; SELECT count(*) FROM sqlite_master;").or_problem("snapshot-failed", failed)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(target)
        .or_problem("snapshot-failed", failed)?;
    let mut to = Connection::open_with_flags(target, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .or_problem("snapshot-failed", failed)?;
    to.pragma_update(None, "synchronous", "OFF").or_problem("snapshot-failed", failed)?;
    copy_pages(&from, &mut to, progress).or_problem("snapshot-failed", failed)
}

fn copy_pages(
    from: &Connection,
    to: &mut Connection,
    progress: &mut dyn FnMut(u64, u64),
) -> rusqlite::Result<()> {
    let backup = Backup::new(from, to)?;
    loop {
        match backup.step(PAGES_PER_STEP)? {
            StepResult::Done => return Ok(()),
            StepResult::Busy | StepResult::Locked => std::thread::sleep(BUSY_PAUSE),
            _ => {}
        }
        let state = backup.progress();
        let total = u64::try_from(state.pagecount).unwrap_or(0);
        let left = u64::try_from(state.remaining).unwrap_or(0);
        progress(total.saturating_sub(left), total);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

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
