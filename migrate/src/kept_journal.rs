//! Many transactions, one journal: what SQLite's default makes and removes for each of them stays.

use std::os::unix::fs::MetadataExt;

use rusqlite::{Connection, Result};
use rustix::process::{getegid, geteuid};

/// Of the largest transaction before, in bytes.
const KEPT: i64 = 1024 * 1024;

/// While it lives, the header of the rollback journal is zeroed after a transaction, and the file stays
/// rather than being removed, with the same order of writes on disk. A kill leaves such a file: it counts
/// for nothing, and the next transaction in the default mode, anybody's, removes it.
pub(crate) struct KeptJournal<'a>(&'a Connection);

impl<'a> KeptJournal<'a> {
    /// `None` where the database has no such journal, removes it for another reason, or would have one
    /// that its owner cannot read.
    pub(crate) fn of(db: &'a Connection) -> Option<Self> {
        let is_default = mode(db).is_ok_and(|mode| mode == "delete");
        (is_default && is_shared_with_owner(db) && set(db, "persist", KEPT).is_ok()).then_some(Self(db))
    }
}

impl Drop for KeptJournal<'_> {
    fn drop(&mut self) {
        // Somebody may have chosen another one meanwhile.
        if mode(self.0).is_ok_and(|mode| mode == "persist") {
            let _ = set(self.0, "delete", -1);
        }
    }
}

/// SQLite gives a journal to the owner of the database only when it runs as root.
fn is_shared_with_owner(db: &Connection) -> bool {
    let is_own = |path| {
        let meta = std::fs::metadata(path);
        meta.is_ok_and(|meta| meta.uid() == geteuid().as_raw() && meta.gid() == getegid().as_raw())
    };
    geteuid().is_root() || db.path().is_some_and(is_own)
}

fn mode(db: &Connection) -> Result<String> {
    db.pragma_query_value(Some("main"), "journal_mode", |row| row.get(0))
}

fn set(db: &Connection, mode: &str, limit: i64) -> Result<()> {
    db.pragma_update(Some("main"), "journal_size_limit", limit)?;
    db.pragma_update(Some("main"), "journal_mode", mode)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use common::database::with_suffix;

    use super::*;

    #[test]
    fn a_journal_is_kept_between_transactions_and_not_after_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let journal = with_suffix(&path, "-journal");
        let db = Connection::open(&path).unwrap();
        db.execute_batch("CREATE TABLE t(a)").unwrap();
        let kept = KeptJournal::of(&db);
        assert!(kept.is_some() && !journal.exists());
        db.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        let bytes = fs::read(&journal).unwrap();
        assert!(bytes.len() > 512 && bytes[..28] == [0; 28], "{:?}", &bytes[..28]);
        let other = Connection::open(&path).unwrap();
        assert_eq!(other.query_row("SELECT a FROM t", [], |row| row.get(0)), Ok(1), "it is nobody's work");
        drop(kept);
        assert!(!journal.exists());
        drop(other);
        let kept = KeptJournal::of(&db);
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        drop(kept);
        assert_eq!(mode(&db).unwrap(), "wal", "as somebody has chosen it meanwhile");
        assert!(KeptJournal::of(&db).is_none());
    }

    #[test]
    fn a_large_transaction_does_not_keep_its_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let db = Connection::open(&path).unwrap();
        let rows = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) SELECT randomblob(1000) FROM n";
        db.execute_batch(&format!("CREATE TABLE t(a); INSERT INTO t {rows};")).unwrap();
        let _kept = KeptJournal::of(&db);
        db.execute_batch("UPDATE t SET a = randomblob(1000)").unwrap();
        assert_eq!(fs::metadata(with_suffix(&path, "-journal")).unwrap().len(), KEPT.cast_unsigned());
    }

    #[test]
    fn what_a_kill_leaves_is_removed_by_whoever_writes_next() {
        let dir = tempfile::tempdir().unwrap();
        let (path, killed) = (dir.path().join("app.db"), dir.path().join("killed.db"));
        let db = Connection::open(&path).unwrap();
        db.execute_batch("CREATE TABLE t(a)").unwrap();
        let _kept = KeptJournal::of(&db);
        db.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        for suffix in ["", "-journal"] {
            fs::copy(with_suffix(&path, suffix), with_suffix(&killed, suffix)).unwrap();
        }
        let next = Connection::open(&killed).unwrap();
        next.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert_eq!(next.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)), Ok(3));
        assert!(!with_suffix(&killed, "-journal").exists());
    }
}
