//! `migrate ENV down`: undoes applied migrations by the down text stored with each, newest first,
//! all in one transaction.

use common::cli::Run;
use common::database::open_existing;
use common::migrations::{Applied, Migration, read_applied};
use common::report::Problem;
use serde_json::Value;

use crate::engine::transact;
use crate::job::Job;
use crate::operation;
use crate::outcome::{report_done, report_failure};
use crate::scene::{Scene, applied_in};
use crate::screen::screen;

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

/// Undoes what `choice` names; nothing there to undo is a success.
///
/// # Errors
/// `migration-irreversible`, `migration-covered`, `migration-refused`, `migration-failed`,
/// `foreign-keys-broken`, usage for an unknown version; nothing is changed then.
pub(crate) fn undo(run: &mut Run, scene: &Scene, choice: &Choice, id: &str) -> Result<(), Problem> {
    let Some(database) = scene.database_for(&[])? else { return Ok(()) };
    run.detail("database", database);
    let jobs = choose_jobs(scene, choice, &applied_in(database)?)?;
    if jobs.is_empty() {
        run.detail("undone", Vec::<Value>::new());
        return Ok(());
    }
    operation::record(run, scene, id, |run| {
        let db = open_existing(database)?;
        match transact(&db, false, |db| choose_jobs(scene, choice, &read_applied(db)?)) {
            Ok(Some(done)) => report_done(run, "migrate.undo", "undone", &done),
            Ok(None) => run.detail("undone", Vec::<Value>::new()),
            Err(failure) => {
                let hint = format!("migrate {} status", scene.environment());
                return Err(report_failure(run, "migrate.undo", &failure, hint));
            }
        }
        Ok(())
    })
}

/// The jobs that undo `choice`, newest first, each text screened.
fn choose_jobs(scene: &Scene, choice: &Choice, applied: &[Applied]) -> Result<Vec<Job>, Problem> {
    let chosen = choose(choice, applied, scene.environment())?;
    // The directory is read only when the database itself does not know a way back.
    let files = if chosen.iter().any(|row| row.down.is_none()) {
        scene.source(None).map(|source| source.migrations).unwrap_or_default()
    } else {
        Vec::new()
    };
    let jobs: Vec<Job> =
        chosen.into_iter().map(|row| undoing(row, &files, scene.environment())).collect::<Result<_, _>>()?;
    for job in &jobs {
        screen(&job.file, &job.text)?;
    }
    Ok(jobs)
}

/// The job that undoes `applied`, by the stored text, else by the file's.
///
/// # Errors
/// `migration-irreversible`.
pub(crate) fn undoing(applied: &Applied, files: &[Migration], environment: &str) -> Result<Job, Problem> {
    let of_file = || files.iter().find(|file| file.version == applied.version)?.down.clone();
    let text = applied.down.clone().or_else(of_file).ok_or_else(|| {
        let title = format!("migration {}_{} has no down text", applied.version, applied.name);
        Problem::new("migration-irreversible", title)
            .detail("nothing was changed; add the down file, or restore a backup")
            .hint(format!("backup {environment} list"))
    })?;
    Ok(Job::undo(applied, text))
}

/// `applied` is in the order of versions; the result is newest first.
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
            Ok(newest_first.take_while(|row| row.version > *version).collect())
        }
        Choice::Deployment(id) => {
            let is_its = |row: &&Applied| row.deployment.as_deref() == Some(id);
            let chosen: Vec<_> = newest_first.filter(is_its).collect();
            let oldest = chosen.last().map_or(i64::MAX, |row| row.version);
            let covering = applied.iter().find(|row| row.version > oldest && !is_its(row));
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
        Applied {
            version,
            name: "n".into(),
            checksum: String::new(),
            down: None,
            applied_at: String::new(),
            duration_ms: 0,
            deployment: Some(deployment.into()),
            tool_version: String::new(),
        }
    }

    fn versions(choice: &Choice) -> Result<Vec<i64>, Problem> {
        let applied = [row(1, "a"), row(2, "b"), row(4, "b"), row(5, "c")];
        Ok(choose(choice, &applied, "dev")?.into_iter().map(|row| row.version).collect())
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
