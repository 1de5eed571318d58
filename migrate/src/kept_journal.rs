//! Many transactions, one journal: what SQLite's default makes and removes for each of them stays.

use rusqlite::Connection;

/// While it lives, the rollback journal of a database is emptied after a transaction rather than removed,
/// with the same order of writes on disk. A kill leaves the empty file, which the next transaction of
/// anybody removes.
pub(crate) struct KeptJournal<'a>(&'a Connection);

impl<'a> KeptJournal<'a> {
    /// `None` where the database has no such journal, or removes it for another reason.
    pub(crate) fn of(db: &'a Connection) -> Option<Self> {
        let current: String = db.pragma_query_value(Some("main"), "journal_mode", |row| row.get(0)).ok()?;
        (current == "delete" && set(db, "persist") == Ok("persist".into())).then_some(Self(db))
    }
}

impl Drop for KeptJournal<'_> {
    fn drop(&mut self) {
        let _ = set(self.0, "delete");
    }
}

fn set(db: &Connection, mode: &str) -> rusqlite::Result<String> {
    db.pragma_update_and_check(Some("main"), "journal_mode", mode, |row| row.get(0))
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
        assert_eq!(set(&db, "wal"), Ok("wal".into()));
        assert!(KeptJournal::of(&db).is_none());
        assert_eq!(set(&db, "wal"), Ok("wal".into()), "as it was");
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
