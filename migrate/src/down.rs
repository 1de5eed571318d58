//! `migrate ENV down`: undoes applied migrations by the down text stored with each, newest first,
//! all in one transaction.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use common::cli::Run;
use common::database::snapshot;
use common::migrations::{Applied, Kind, Migration, Source, Unfinished, read_unfinished};
use common::report::Problem;
use common::scratch::Scratch;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::books::Books;
use crate::engine::{Room, Terms, millis};
use crate::in_place::{self, Origin};
use crate::job::Job;
use crate::operation;
use crate::outcome::{report_done, report_failure};
use crate::outside::check_prefix;
use crate::python::Python;
use crate::scene::{Scene, applied_in};
use crate::screen::screen;
use crate::up::tell_source;

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

/// How they are undone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner<'a> {
    /// A backup from right before them.
    pub(crate) backup: Option<&'a str>,
    /// Where the way back was tried from that backup: what was unpacked is there still.
    pub(crate) prepared: Option<&'a Path>,
    /// By that backup, and not by the stored texts.
    pub(crate) in_place: bool,
    /// Say which values the older schema has no room for.
    pub(crate) listed: bool,
}

/// Undoes what `choice` names; nothing there to undo is a success.
///
/// # Errors
/// `migration-irreversible`, `migration-covered`, `migration-refused`, `migration-failed`,
/// `foreign-keys-broken`, usage for an unknown version; in place those of [`Origin`]; nothing is
/// changed then.
pub(crate) fn undo(
    run: &mut Run,
    scene: &Scene,
    choice: &Choice,
    manner: Manner<'_>,
    id: &str,
) -> Result<(), Problem> {
    let (Some(database), Some(db)) = (&scene.database, scene.enter()?) else {
        run.detail("undone", Vec::<Value>::new());
        return Ok(());
    };
    run.detail("database", database);
    // The texts in the records are enough for the one way, the other needs the files.
    let source = match manner.backup {
        Some(_) => scene.source(None, Some(&db))?,
        None => scene.source_of_records(&db)?,
    };
    tell_source(run, &source);
    let undone = chosen(scene, choice, &source, &db)?;
    if undone.is_empty() {
        run.detail("undone", Vec::<Value>::new());
        return Ok(());
    }
    operation::record(run, scene, id, |run| {
        let site = Site { scene, source: &source, database, choice, prepared: manner.prepared, undone };
        match manner.backup.filter(|_| manner.in_place) {
            Some(backup) => {
                drop(db);
                site.in_place(run, backup, id)
            }
            None if manner.listed => site.by_text_listed(run, db, manner.backup, id),
            None => site.by_text(run, db),
        }
    })
}

/// Where migrations are undone, and which.
struct Site<'a> {
    scene: &'a Scene,
    source: &'a Source,
    database: &'a Path,
    choice: &'a Choice,
    prepared: Option<&'a Path>,
    /// What it names, last applied first.
    undone: Vec<Applied>,
}

impl Site<'_> {
    fn by_text(&self, run: &mut Run, db: Connection) -> Result<(), Problem> {
        let environment = self.scene.environment();
        let room = Room::around(db, Python::new(&self.source.root, environment))?;
        let books = Books::of(self.source, environment);
        let terms = Terms::of(environment, books.as_ref());
        let ended = room.run(terms, |db| choose_jobs(self.scene, self.choice, self.source, db));
        drop(room);
        match ended {
            Ok(Some(done)) => report_done(run, "migrate.undo", "undone", &done),
            Ok(None) => run.detail("undone", Vec::<Value>::new()),
            Err(failure) => {
                let hint = format!("migrate {environment} status");
                return Err(report_failure(run, ("migrate.undo", "undone"), &failure, hint));
            }
        }
        Ok(())
    }

    /// The same, and what had no room is found in a copy from right before it.
    fn by_text_listed(
        &self,
        run: &mut Run,
        db: Connection,
        backup: Option<&str>,
        id: &str,
    ) -> Result<(), Problem> {
        let scratch = Scratch::make(&self.scene.place.root())?;
        let now = scratch.file("now.db");
        snapshot(self.database, &now, &mut |_, _| {})?;
        let origin = backup.map(|backup| self.origin(&scratch, backup)).transpose()?;
        self.by_text(run, db)?;
        let lost = match origin {
            Some(origin) => origin.go_back(&now, |_| Ok(()))?.lost,
            None => in_place::unlisted(&now, self.database, self.source)?,
        };
        in_place::publish(run, self.scene, id, &lost)
    }

    fn in_place(&self, run: &mut Run, backup: &str, id: &str) -> Result<(), Problem> {
        let scratch = Scratch::make(&self.scene.place.root())?;
        let origin = run.step("migrate.prepare", || self.origin(&scratch, backup))?;
        let begun = Instant::now();
        let done = origin.go_back(self.database, |salvaged| {
            run.report.changed = true;
            in_place::publish(run, self.scene, id, &salvaged.lost)
        });
        run.end_step("migrate.in-place", None, begun.elapsed(), done.as_ref().err());
        let salvaged = done?;
        let entry = |row: &Applied| json!({ "version": row.version, "name": row.name });
        run.detail("undone", origin.undone.iter().map(entry).collect::<Vec<_>>());
        run.detail("rebuilt", salvaged.tables);
        run.detail("write_lock_ms", millis(begun.elapsed()));
        Ok(())
    }

    fn origin(&self, scratch: &Scratch, backup: &str) -> Result<Origin, Problem> {
        let dir = self.prepared.unwrap_or(scratch.path());
        Origin::prepare(self.scene, self.source, dir, backup, self.undone.clone())
    }
}

/// What `choice` names, last applied first, whether its text can undo it or not.
pub(crate) fn chosen(
    scene: &Scene,
    choice: &Choice,
    source: &Source,
    db: &Connection,
) -> Result<Vec<Applied>, Problem> {
    let environment = scene.environment();
    let (applied, _) = recorded(db, source, environment)?;
    Ok(choose(choice, &applied, environment)?.into_iter().cloned().collect())
}

/// All that is recorded, in the order of applying, and what of it is unfinished.
fn recorded(
    db: &Connection,
    source: &Source,
    environment: &str,
) -> Result<(Vec<Applied>, Vec<Unfinished>), Problem> {
    let mut applied = applied_in(Some(db), source, environment)?;
    let unfinished = read_unfinished(db)?;
    applied.extend(unfinished.iter().map(|found| found.applied.clone()));
    applied.sort_by_key(|row| (row.sequence, row.version));
    Ok((applied, unfinished))
}

/// The jobs that undo `choice`, last applied first, each text screened.
pub(crate) fn choose_jobs(
    scene: &Scene,
    choice: &Choice,
    source: &Source,
    db: &Connection,
) -> Result<Vec<Job>, Problem> {
    let environment = scene.environment();
    let (applied, unfinished) = recorded(db, source, environment)?;
    if let Some(found) = unfinished.iter().find(|found| found.statements >= 0) {
        return Err(half_done(found, environment));
    }
    let mut jobs = Vec::new();
    for row in choose(choice, &applied, environment)? {
        let mut job = undoing(row, &source.migrations, environment)?;
        if let Some(found) = unfinished.iter().find(|found| found.applied.version == row.version) {
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
