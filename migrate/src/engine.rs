//! Runs a list of migrations in ONE transaction, or in one each: with their records, or nothing.
//!
//! Foreign keys are off before it begins (a table rebuild would otherwise empty its child tables)
//! and checked before it commits. SQLite itself finds the statements. Where the list comes from
//! and what it means is the caller's business.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use common::database::{Schema, open_existing};
use common::migrations::Kind;
use common::report::Problem;

use crate::books::Books;
use crate::cancel::cancellable;
use crate::content::Shape;
use crate::guard::Guard;
use crate::job::Job;
use crate::pass::Pass;
use crate::python::Python;
use crate::rows::Counts;
use crate::statements::{Executed, sql_problem};

/// A database in which migrations run, with its wall and the interpreter for those in Python.
pub(crate) struct Room {
    pub(crate) db: Connection,
    pub(crate) guard: Guard,
    pub(crate) python: Python,
}

/// How they run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Terms<'a> {
    /// Keep statements, and count rows and read the schema after each migration.
    pub(crate) watched: bool,
    /// A transaction for each migration.
    pub(crate) each: bool,
    /// Refuse what loses rows and does not say so.
    pub(crate) guarded: bool,
    /// Goes into each record.
    pub(crate) environment: &'a str,
    /// The other tool's table that is kept up to date.
    pub(crate) books: Option<&'a Books>,
}

impl<'a> Terms<'a> {
    pub(crate) fn of(environment: &'a str, books: Option<&'a Books>) -> Self {
        Self { environment, books, ..Self::default() }
    }
}

/// What committed transactions did.
pub(crate) struct Done {
    pub(crate) finished: Vec<Finished>,
    pub(crate) rows: [Counts; 2],
    /// Hashes of the schema, before and after.
    pub(crate) schema: [String; 2],
    /// How long other writers had to wait at most.
    pub(crate) write_lock: Duration,
}

/// One migration that ran.
pub(crate) struct Finished {
    pub(crate) job: Job,
    pub(crate) took: Duration,
    /// Kept when watched.
    pub(crate) statements: Vec<Executed>,
    /// Seen after each migration when watched.
    pub(crate) seen: Option<Seen>,
}

/// A database between two migrations.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) rows: Counts,
    pub(crate) schema: Schema,
    pub(crate) shape: Shape,
}

impl Finished {
    /// The SQL that ran; of a script, what it sent.
    pub(crate) fn sql(&self) -> String {
        match self.job.kind {
            Kind::Sql => self.job.text.to_string(),
            Kind::Python => {
                self.statements.iter().map(|statement| statement.sql.as_str()).collect::<Vec<_>>().join(";\n")
            }
        }
    }
}

/// A transaction that was rolled back.
pub(crate) struct Failure {
    pub(crate) problem: Box<Problem>,
    /// The migration that failed, when it was one of them.
    pub(crate) file: Option<String>,
    /// Those that had run before it in the same transaction, and are undone.
    pub(crate) undone: Vec<String>,
    /// Those that were committed before, and stay.
    pub(crate) kept: Vec<Finished>,
    /// Whether statements outside of transactions stay as well.
    pub(crate) touched: bool,
}

impl Failure {
    /// Whether the database is not as it was.
    pub(crate) fn left_something(&self) -> bool {
        self.touched || !self.kept.is_empty()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), file: None, undone: Vec::new(), kept: Vec::new(), touched: false }
    }
}

impl Room {
    /// Opens the database at `path`.
    ///
    /// # Errors
    /// `database-unreadable`, `database-busy`.
    pub(crate) fn open(path: &Path, python: Python) -> Result<Self, Problem> {
        Self::around(open_existing(path)?, python)
    }

    pub(crate) fn around(mut db: Connection, python: Python) -> Result<Self, Problem> {
        let guard = Guard::around(&mut db).map_err(|error| sql_problem(&error))?;
        Ok(Self { db, guard, python })
    }

    /// Chooses jobs by what it sees inside the transaction, runs them and commits. `None`: nothing
    /// to do.
    ///
    /// # Errors
    /// Whatever failed, after the rollback of what was not committed.
    pub(crate) fn run(
        &self,
        terms: Terms<'_>,
        choose: impl FnOnce(&Connection) -> Result<Vec<Job>, Problem>,
    ) -> Result<Option<Done>, Failure> {
        cancellable(&self.db, || Pass::new(self, terms).perform(choose))
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Time since `begun`, never less than what it was before.
pub(crate) fn longest(before: Duration, begun: Instant) -> Duration {
    before.max(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use common::migrations::{Migration, Text, read_applied};
    use proptest::prelude::*;

    use super::*;

    fn job(version: i64, up: &str) -> Job {
        let up = Text { file: format!("{version:03}_n.up.sql"), text: up.into() };
        Job::apply(&Migration::of_files(version, "n", Kind::Sql, up, None).unwrap(), Some("d1"))
    }

    fn room(sql: &str) -> Room {
        Room::around(database(sql), Python::new(Path::new("."), "dev")).unwrap()
    }

    fn transact(room: &Room, watched: bool, jobs: Vec<Job>) -> Result<Option<Done>, Failure> {
        room.run(Terms { watched, environment: "dev", ..Terms::default() }, |_| Ok(jobs))
    }

    fn database(sql: &str) -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(sql).unwrap();
        db
    }

    fn dump(db: &Connection) -> String {
        let mut list = db.prepare("SELECT group_concat(name || ifnull(sql, '')) FROM sqlite_master").unwrap();
        list.query_row([], |row| row.get::<_, Option<String>>(0)).unwrap().unwrap_or_default()
    }

    #[test]
    fn rebuilding_a_parent_keeps_the_rows_of_its_children() {
        let room = room(
            "CREATE TABLE p(id INTEGER PRIMARY KEY, a);
             CREATE TABLE c(p REFERENCES p(id) ON DELETE CASCADE);
             INSERT INTO p VALUES (1, 'x'); INSERT INTO c VALUES (1), (1), (1);",
        );
        let rebuild = "CREATE TABLE n(id INTEGER PRIMARY KEY, a, b); INSERT INTO n SELECT id, a, 1 FROM p;
            DROP TABLE p; ALTER TABLE n RENAME TO p;";
        let done = transact(&room, true, vec![job(1, rebuild)]).ok().flatten().unwrap();
        assert_eq!(done.rows[1]["c"], 3);
        assert_eq!(done.finished[0].statements[2].sql, "DROP TABLE p;");
    }

    #[test]
    fn a_failure_in_the_middle_leaves_nothing() {
        let room = room("CREATE TABLE t(a); INSERT INTO t VALUES (1);");
        let before = dump(&room.db);
        let jobs = vec![
            job(1, "CREATE TABLE u(a); DELETE FROM t;"),
            job(2, "CREATE TABLE v(a);\n\nINSERT INTO w VALUES (1);"),
        ];
        let failure = transact(&room, false, jobs).err().unwrap();
        assert_eq!(failure.problem.title, "002_n.up.sql line 3 failed: no such table: w");
        assert_eq!(
            (failure.file.as_deref(), failure.undone.as_slice()),
            (Some("002_n.up.sql"), &["001_n.up.sql".to_owned()][..])
        );
        assert_eq!(dump(&room.db), before);
        assert_eq!(room.db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        assert!(room.db.is_autocommit());
    }

    #[test]
    fn new_orphans_are_refused_and_old_ones_accepted() {
        let schema = "PRAGMA foreign_keys=OFF; CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id)); INSERT INTO c VALUES (7);";
        let room = room(schema);
        assert!(transact(&room, false, vec![job(1, "ALTER TABLE c ADD COLUMN x;")]).is_ok());
        let failure = transact(&room, false, vec![job(2, "INSERT INTO c(p) VALUES (8);")]).err().unwrap();
        assert_eq!(failure.problem.kind, "foreign-keys-broken");
        assert_eq!(read_applied(&room.db).unwrap().len(), 1);
    }

    fn fragments() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "CREATE TABLE u(a)",
            "DROP TABLE t",
            "INSERT INTO t VALUES (1)",
            "DELETE FROM t",
            "SELECT a FROM t",
            "COMMIT",
            "ROLLBACK",
            "BEGIN",
            "SAVEPOINT s",
            "ROLLBACK TO s",
            "RELEASE s",
            "ATTACH '' AS x",
            "PRAGMA foreign_keys = 1",
            "CREATE TRIGGER r AFTER INSERT ON t BEGIN",
            "END",
            "VACUUM",
            ";",
            ";;",
            "--",
            "/*",
            "'",
            "\"",
            "\n",
            "\0",
            "é",
            "RAISE(ROLLBACK, 'x')",
            "INSERT OR ROLLBACK INTO t VALUES (NULL)",
        ]);
        let mixed = prop::collection::vec(words, 0..12).prop_map(|words| words.join(" "));
        let bytes = prop::collection::vec(any::<u8>(), 0..200);
        prop_oneof![4 => mixed, 1 => bytes.prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())]
    }

    proptest! {
        /// Whatever a file holds, and whatever stood in the way of the screen: all of it with its
        /// record, or nothing.
        #[test]
        fn any_text_is_applied_with_its_record_or_leaves_nothing(texts in prop::collection::vec(fragments(), 1..4)) {
            let room = room("CREATE TABLE t(a NOT NULL); INSERT INTO t VALUES (7);");
            let image = || {
                let rows = room.db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap_or(-1);
                (dump(&room.db), rows)
            };
            let before = image();
            let made: Result<Vec<Job>, String> = (1..)
                .zip(&texts)
                .map(|(version, text)| {
                    let up = Text { file: format!("{version:03}_n.up.sql"), text: text.clone() };
                    Ok(Job::apply(&Migration::of_files(version, "n", Kind::Sql, up, None)?, None))
                })
                .collect();
            let Ok(jobs) = made else { return Ok(()) };
            let count = jobs.len();
            match transact(&room, false, jobs) {
                Ok(_) => prop_assert_eq!(read_applied(&room.db).unwrap().len(), count),
                Err(failure) => {
                    prop_assert!(!failure.left_something());
                    prop_assert_eq!(image(), before);
                }
            }
            prop_assert!(room.db.is_autocommit());
        }
    }

    #[test]
    fn rows_that_a_statement_returns_are_read_to_the_end() {
        let room = room("CREATE TABLE t(a)");
        let sql = "INSERT INTO t VALUES (1), (2), (3) RETURNING a; SELECT a FROM t; PRAGMA user_version = 7;";
        transact(&room, false, vec![job(1, sql)]).ok().flatten().unwrap();
        assert_eq!(room.db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 3);
        assert_eq!(room.db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
    }
}
