//! The tracking table of another tool, kept up to date beside ours: a project can go back to that
//! tool at any time, and what it did meanwhile is taken over.

use std::time::Duration;

use rusqlite::{Connection, Result, params};

use common::migrations::{Layout, Mark, Migration, Source, read_applied};
use common::report::{Problem, now, quoted};

use crate::fingerprint::{self, Fingerprint};
use crate::job::{Direction, Job, Stamp, forget};
use crate::statements::sql_problem;

/// The other tool's table.
pub(crate) struct Books {
    source: Source,
    table: String,
    environment: String,
}

impl Books {
    /// None when the layout has no such table.
    pub(crate) fn of(source: &Source, environment: &str) -> Option<Self> {
        let table = source.table.clone()?.replace('"', "\"\"");
        Some(Self { source: source.clone(), table, environment: environment.to_owned() })
    }

    /// Makes both tables say the same: the other tool's, when it is there, knows better.
    ///
    /// # Errors
    /// `migration-edited` by that tool's own checksum, `tracking-table-dirty`.
    pub(crate) fn open(&self, db: &Connection) -> std::result::Result<(), Problem> {
        let own = read_applied(db)?;
        let Some(marks) = self.source.marks(db)? else {
            return self.begin(db, own.iter().map(|row| row.version)).map_err(|error| sql_problem(&error));
        };
        let applied = self.source.applied(db)?;
        let is_in =
            |rows: &[common::migrations::Applied], version| rows.iter().any(|row| row.version == version);
        let take = || -> Result<()> {
            for row in own.iter().filter(|row| !is_in(&applied, row.version)) {
                forget(db, row.version)?;
            }
            for row in applied.iter().filter(|row| !is_in(&own, row.version)) {
                let Some(file) = self.file(row.version) else { continue };
                let stamp = Stamp { environment: &self.environment, sequence: 0, duration_ms: 0 };
                Job::record(file, None).write_row(db, stamp)?;
            }
            Ok(())
        };
        self.check(&marks)?;
        take().map_err(|error| sql_problem(&error))
    }

    fn file(&self, version: i64) -> Option<&Migration> {
        self.source.migrations.iter().find(|file| file.version == version)
    }

    /// That tool's checksums tell which files were edited since it ran them.
    fn check(&self, marks: &[Mark]) -> std::result::Result<(), Problem> {
        for mark in marks {
            let file = self.source.version_of(&mark.label).and_then(|version| self.file(version));
            let (Some(file), Some(noted)) = (file, &mark.checksum) else { continue };
            if !fingerprint::matches(self.source.layout, file, noted) {
                let tool = self.source.layout.word();
                return Err(Problem::new(
                    "migration-edited",
                    format!("{} was edited after {tool} applied it", file.file),
                )
                .detail("restore the file and put the change into a new migration")
                .hint(format!("git log -p -- {}", quoted(self.source.dir.join(&file.file).display()))));
            }
        }
        Ok(())
    }

    fn begin(&self, db: &Connection, versions: impl Iterator<Item = i64>) -> Result<()> {
        db.execute_batch(&definition(self.source.layout, &self.table))?;
        for file in versions.filter_map(|version| self.file(version)) {
            self.add(db, &Job::record(file, None), Duration::ZERO)?;
        }
        Ok(())
    }

    /// Notes there what `job` did.
    ///
    /// # Errors
    /// `migration-failed`.
    pub(crate) fn note(
        &self,
        db: &Connection,
        job: &Job,
        took: Duration,
    ) -> std::result::Result<(), Problem> {
        match job.direction {
            Direction::Up => self.add(db, job, took),
            Direction::Down => self.remove(db, job),
        }
        .map_err(|error| sql_problem(&error))
    }

    fn add(&self, db: &Connection, job: &Job, took: Duration) -> Result<()> {
        let table = &self.table;
        let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| db.prepare(sql)?.execute(values).map(drop);
        let print = fingerprint::of(self.source.layout, &job.name, job.version, &job.original);
        match (self.source.layout, print) {
            (Layout::Dbmate | Layout::Diesel, _) => {
                run(&format!("INSERT INTO \"{table}\"(version) VALUES (?1)"), params![job.label])
            }
            (Layout::GolangMigrate, _) => {
                db.execute(&format!("DELETE FROM \"{table}\""), [])?;
                run(&format!("INSERT INTO \"{table}\"(version, dirty) VALUES (?1, 0)"), params![job.version])
            }
            (Layout::Goose, _) => run(
                &format!("INSERT INTO \"{table}\"(version_id, is_applied) VALUES (?1, 1)"),
                params![job.version],
            ),
            (Layout::Sqlx, Some(Fingerprint::Bytes(bytes))) => run(
                &format!("INSERT INTO \"{table}\"(version, description, success, checksum, execution_time) VALUES (?1, ?2, 1, ?3, ?4)"),
                params![job.version, job.name.replace('_', " "), bytes, i64::try_from(took.as_nanos()).unwrap_or(i64::MAX)],
            ),
            (Layout::Refinery, Some(Fingerprint::Text(text))) => run(
                &format!("INSERT INTO \"{table}\"(version, name, applied_on, checksum) VALUES (?1, ?2, ?3, ?4)"),
                params![job.version, job.name, now().to_string(), text],
            ),
            (Layout::Flyway, Some(Fingerprint::Text(text))) => run(
                &format!("INSERT INTO \"{table}\"(installed_rank, version, description, type, script, checksum, installed_by, execution_time, success)
                    SELECT ifnull(max(installed_rank), 0) + 1, ?1, ?2, ?6, ?3, ?4, 'migrate', ?5, 1 FROM \"{table}\""),
                params![job.number.map(|_| &job.label), job.name.replace('_', " "), job.file, text.parse::<i64>().ok(), i64::try_from(took.as_millis()).unwrap_or(0), flyway_type(&job.file)],
            ),
            _ => Ok(()),
        }
    }

    fn remove(&self, db: &Connection, job: &Job) -> Result<()> {
        let table = &self.table;
        let marks = self.source.marks(db).ok().flatten().unwrap_or_default();
        // The file may be gone with its release; the row knows how its version is written.
        let is_its = |mark: &&Mark| self.source.version_of(&mark.label) == Some(job.version);
        let label = marks.iter().find(is_its).map_or(&job.label, |mark| &mark.label);
        let delete = |column: &str, value: &dyn rusqlite::ToSql| {
            db.execute(&format!("DELETE FROM \"{table}\" WHERE {column} = ?1"), [value]).map(drop)
        };
        match self.source.layout {
            Layout::Own | Layout::Plain => Ok(()),
            Layout::Dbmate | Layout::Diesel | Layout::Flyway => delete("version", label),
            Layout::Sqlx | Layout::Refinery => delete("version", &job.version),
            Layout::Goose => delete("version_id", &job.version),
            Layout::GolangMigrate => {
                db.execute(&format!("DELETE FROM \"{table}\""), [])?;
                db.execute(
                    &format!("INSERT INTO \"{table}\"(version, dirty) SELECT max(version), 0 FROM main.migrations WHERE unfinished IS NULL HAVING max(version) IS NOT NULL"),
                    [],
                )
                .map(drop)
            }
        }
    }
}

/// A baseline stands for all versions up to its own.
fn flyway_type(file: &str) -> &'static str {
    let is_baseline = file.rsplit('/').next().is_some_and(|name| name.starts_with('B'));
    if is_baseline { "SQL_BASELINE" } else { "SQL" }
}

/// The table as its tool makes it.
fn definition(layout: Layout, table: &str) -> String {
    match layout {
        Layout::Own | Layout::Plain => String::new(),
        Layout::Dbmate => format!("CREATE TABLE \"{table}\" (version varchar(128) primary key)"),
        Layout::Diesel => format!(
            "CREATE TABLE \"{table}\" (version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        ),
        Layout::GolangMigrate => format!(
            "CREATE TABLE \"{table}\" (version uint64, dirty bool); CREATE UNIQUE INDEX version_unique ON \"{table}\" (version)"
        ),
        Layout::Sqlx => format!(
            "CREATE TABLE \"{table}\" (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)"
        ),
        Layout::Goose => format!(
            "CREATE TABLE \"{table}\" (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now'))); INSERT INTO \"{table}\"(version_id, is_applied) VALUES (0, 1)"
        ),
        Layout::Refinery => format!(
            "CREATE TABLE \"{table}\" (version INTEGER PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255))"
        ),
        Layout::Flyway => format!(
            "CREATE TABLE \"{table}\" (\"installed_rank\" INT NOT NULL PRIMARY KEY, \"version\" VARCHAR(50), \"description\" VARCHAR(200) NOT NULL, \"type\" VARCHAR(20) NOT NULL, \"script\" VARCHAR(1000) NOT NULL, \"checksum\" INT, \"installed_by\" VARCHAR(100) NOT NULL, \"installed_on\" TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f','now')), \"execution_time\" INT NOT NULL, \"success\" BOOLEAN NOT NULL); CREATE INDEX \"{table}_s_idx\" ON \"{table}\" (\"success\")"
        ),
    }
}
