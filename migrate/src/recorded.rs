//! What a database says is applied, and what is to be undone of it: which migrations a choice names,
//! and the jobs that undo them, by the down text stored with each. Runs nothing.

use std::sync::Arc;

use common::migrations::{Applied, Kind, Migration, Source, Unfinished, read_unfinished};
use common::report::Problem;
use rusqlite::Connection;

use crate::job::Job;
use crate::outside::check_prefix;
use crate::scene::{Scene, applied_in};
use crate::screen::screen;
use crate::statements::sql_problem;

/// Which applied migrations are undone.
#[derive(Debug, Clone)]
pub(crate) enum Choice {
    /// The newest so many.
    Steps(usize),
    /// All newer than this version; 0 means all.
    To(i64),
    /// Exactly those recorded with this deployment.
    Deployment(String),
}

/// What a database says is applied.
pub(crate) struct Recorded {
    /// In the order of applying, what is unfinished too.
    applied: Vec<Applied>,
    unfinished: Vec<Unfinished>,
    /// Another's commit changes it.
    data_version: i64,
}

impl Recorded {
    /// # Errors
    /// Those of [`applied_in`].
    pub(crate) fn read(db: &Connection, source: &Source, environment: &str) -> Result<Self, Problem> {
        let data_version = data_version(db)?;
        let mut applied = applied_in(Some(db), source, environment)?;
        let unfinished = read_unfinished(db)?;
        applied.extend(unfinished.iter().map(|found| found.applied.clone()));
        applied.sort_by_key(|row| (row.sequence, row.version));
        Ok(Self { applied, unfinished, data_version })
    }

    /// Whether nobody has written since; to be asked on the same connection, inside the transaction.
    ///
    /// # Errors
    /// `migration-failed`.
    pub(crate) fn is_still_true(&self, db: &Connection) -> Result<bool, Problem> {
        Ok(data_version(db)? == self.data_version)
    }

    /// What `choice` names, last applied first, whether its text can undo it or not.
    ///
    /// # Errors
    /// `migration-covered`, usage for an unknown version.
    pub(crate) fn chosen(&self, choice: &Choice, environment: &str) -> Result<Vec<Applied>, Problem> {
        Ok(choose(choice, &self.applied, environment)?.into_iter().cloned().collect())
    }

    /// The jobs that undo `choice`, last applied first, each text screened.
    ///
    /// # Errors
    /// `migration-unfinished`, `migration-irreversible`, `migration-refused`; as [`Recorded::chosen`].
    pub(crate) fn jobs(
        &self,
        choice: &Choice,
        source: &Source,
        environment: &str,
    ) -> Result<Vec<Job>, Problem> {
        if let Some(found) = self.unfinished.iter().find(|found| found.statements >= 0) {
            return Err(half_done(found, environment));
        }
        let mut jobs = Vec::new();
        for row in choose(choice, &self.applied, environment)? {
            let mut job = undoing(row, &source.migrations, environment)?;
            if let Some(found) = self.unfinished.iter().find(|found| found.applied.version == row.version) {
                job.done = usize::try_from(-1 - found.statements).unwrap_or(0);
                check_prefix(&job, job.done, &found.applied.checksum)?;
            }
            if job.kind == Kind::Sql {
                screen(&job.file, &job.text)?;
            }
            jobs.push(job);
        }
        Ok(jobs)
    }
}

fn data_version(db: &Connection) -> Result<i64, Problem> {
    db.query_row("PRAGMA data_version", [], |row| row.get(0)).map_err(|error| sql_problem(&error))
}

/// What `choice` names, last applied first, whether its text can undo it or not.
pub(crate) fn chosen(
    scene: &Scene,
    choice: &Choice,
    source: &Source,
    db: &Connection,
) -> Result<Vec<Applied>, Problem> {
    let environment = scene.environment();
    Recorded::read(db, source, environment)?.chosen(choice, environment)
}

/// The jobs that undo `choice`, last applied first, each text screened.
pub(crate) fn choose_jobs(
    scene: &Scene,
    choice: &Choice,
    source: &Source,
    db: &Connection,
) -> Result<Vec<Job>, Problem> {
    let environment = scene.environment();
    Recorded::read(db, source, environment)?.jobs(choice, source, environment)
}

fn half_done(found: &Unfinished, environment: &str) -> Problem {
    let row = &found.applied;
    Problem::new("migration-unfinished", format!("migration {}_{} is half applied", row.version, row.name))
        .detail("it runs without a transaction and was cut off; finish it before anything is undone")
        .hint(format!("migrate {environment} up"))
}

/// The job that undoes `applied`, by the stored text, else by the file's.
///
/// # Errors
/// `migration-irreversible`.
pub(crate) fn undoing(applied: &Applied, files: &[Migration], environment: &str) -> Result<Job, Problem> {
    let file = files.iter().find(|file| file.version == applied.version);
    let of_file = || file?.down.clone();
    let text = applied.down.as_deref().map(Arc::from).or_else(of_file).ok_or_else(|| {
        let title = format!("migration {}_{} has no down text", applied.version, applied.name);
        Problem::new("migration-irreversible", title)
            .detail("nothing was changed; add the down file, or restore a backup")
            .hint(format!("backup {environment} list"))
    })?;
    Ok(Job::undo(applied, text, file))
}

/// `applied` is in the order in which they were applied; the result is last first.
fn choose<'a>(
    choice: &Choice,
    applied: &'a [Applied],
    environment: &str,
) -> Result<Vec<&'a Applied>, Problem> {
    let newest_first = applied.iter().rev();
    match choice {
        Choice::Steps(steps) => Ok(newest_first.take(*steps).collect()),
        Choice::To(0) => Ok(newest_first.collect()),
        Choice::To(version) => {
            if !applied.iter().any(|row| row.version == *version) {
                return Err(Problem::usage(format!("version {version} is not applied in {environment}"))
                    .hint(format!("migrate {environment} status")));
            }
            Ok(newest_first.filter(|row| row.version > *version).collect())
        }
        Choice::Deployment(id) => {
            let is_its = |row: &&Applied| row.deployment.as_deref() == Some(id);
            let chosen: Vec<_> = newest_first.filter(is_its).collect();
            let oldest = chosen.last().map_or(i64::MAX, |row| row.version);
            let first = applied.iter().position(|row| is_its(&row)).unwrap_or(applied.len());
            let covering = applied[first..].iter().find(|row| !is_its(row));
            match covering {
                Some(row) => Err(Problem::new(
                    "migration-covered",
                    format!(
                        "migration {}_{} was applied on top by another deployment",
                        row.version, row.name
                    ),
                )
                .detail(format!("undoing those of {id} beneath it could break it; nothing was changed"))
                .hint(format!("migrate {environment} down --to {}", oldest - 1))),
                None => Ok(chosen),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(version: i64, deployment: &str) -> Applied {
        Applied { version, name: "n".into(), deployment: Some(deployment.into()), ..Applied::default() }
    }

    fn versions(choice: &Choice) -> Result<Vec<i64>, Problem> {
        let applied = [row(1, "a"), row(2, "b"), row(4, "b"), row(5, "c")];
        Ok(choose(choice, &applied, "dev")?.into_iter().map(|row| row.version).collect())
    }

    #[test]
    fn what_another_has_written_since_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let (ours, other) = (Connection::open(&path).unwrap(), Connection::open(&path).unwrap());
        for mode in ["delete", "wal"] {
            other.execute_batch(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE {mode}_t(a)")).unwrap();
            let recorded = Recorded::read(&ours, &Source::without_files(dir.path()), "dev").unwrap();
            ours.execute_batch("BEGIN IMMEDIATE").unwrap();
            assert!(recorded.is_still_true(&ours).unwrap());
            ours.execute_batch("ROLLBACK").unwrap();
            other.execute_batch(&format!("INSERT INTO {mode}_t VALUES (1)")).unwrap();
            ours.execute_batch("BEGIN IMMEDIATE").unwrap();
            assert!(!recorded.is_still_true(&ours).unwrap(), "{mode}");
            ours.execute_batch("ROLLBACK").unwrap();
        }
    }

    #[test]
    fn each_choice_undoes_newest_first() {
        assert_eq!(versions(&Choice::Steps(2)).unwrap(), [5, 4]);
        assert_eq!(versions(&Choice::Steps(9)).unwrap(), [5, 4, 2, 1]);
        assert_eq!(versions(&Choice::To(2)).unwrap(), [5, 4]);
        assert_eq!(versions(&Choice::To(0)).unwrap(), [5, 4, 2, 1]);
        assert_eq!(versions(&Choice::To(3)).unwrap_err().kind, "usage");
        assert_eq!(versions(&Choice::Deployment("c".into())).unwrap(), [5]);
        assert_eq!(versions(&Choice::Deployment("z".into())).unwrap(), Vec::<i64>::new());
        assert_eq!(versions(&Choice::Deployment("b".into())).unwrap_err().kind, "migration-covered");
    }
}
