//! `migrate ENV rehearse --back-to V`: which way back is right, tried on a copy of the database. The
//! text that each migration brought along, when it keeps every row; else in place, from a backup.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::cli::Run;
use common::database::{Change, Schema, open_read_only, snapshot};
use common::migrations::Source;
use common::report::{OrProblem, Problem};
use common::scratch::Scratch;
use rusqlite::Connection;
use serde_json::json;

use crate::books::Books;
use crate::engine::{Room, Terms};
use crate::in_place::{self, Origin};
use crate::python::Python;
use crate::recorded::{self, Choice, choose_jobs};
use crate::salvage::{Lost, Salvaged, missing};
use crate::scene::Scene;

/// What each way makes of its copy.
const DOWN: &str = "down.db";
const IN_PLACE: &str = "in-place.db";

/// Copies on which both ways are tried.
struct Trial<'a> {
    scene: &'a Scene,
    source: &'a Source,
    scratch: &'a Scratch,
    choice: Choice,
    /// Where the backup is unpacked.
    prepared: &'a Path,
    /// The database as it is.
    now: PathBuf,
}

/// Finds the way back to `version`; `backup` is from right before what is to be undone, and is
/// unpacked in `prepared`.
///
/// # Errors
/// `migration-irreversible`: neither way is right, for the reasons in its detail.
pub(crate) fn rehearse(
    run: &mut Run,
    scene: &Scene,
    version: i64,
    backup: Option<&str>,
    prepared: Option<&Path>,
) -> Result<(), Problem> {
    let (Some(database), Some(db)) = (&scene.database, scene.look()?) else { return Ok(()) };
    let source = scene.source(None, Some(&db)).or_else(|_| scene.source_of_records(&db))?;
    drop(db);
    let scratch = Scratch::make(&scene.place.root())?;
    let now = scratch.file("now.db");
    run.step("back.copy", || snapshot(database, &now, &mut |_, _| {}))?;
    let choice = Choice::To(version);
    let prepared = prepared.unwrap_or(scratch.path());
    let trial = Trial { scene, source: &source, scratch: &scratch, choice, prepared, now };
    let in_place = backup.map(|id| attempt(run, "back.in-place", || trial.in_place(id)));
    // Only the backup tells what a migration wrote from what users did.
    run.detail("exact", in_place.as_ref().is_some_and(Result::is_ok));
    let other = in_place.as_ref().and_then(|found| found.as_ref().ok());
    let by_text = attempt(run, "back.down", || trial.by_text(other));
    let (way, lost, why) = match (by_text, in_place) {
        (Ok(lost), _) => ("down", lost, None),
        (Err(problem), Some(Ok((_, salvaged)))) => ("in_place", salvaged.lost, Some(problem)),
        (Err(problem), other) => return Err(neither(scene, &problem, other.and_then(Result::err))),
    };
    run.detail("way", way);
    run.detail("change", trial.change(way)?);
    run.detail("reason", why.map(|problem| problem.title));
    in_place::tell(run, &lost);
    Ok(())
}

/// A step that may fail as long as another way is right.
fn attempt<T>(run: &mut Run, name: &str, act: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    let begun = Instant::now();
    let result = act();
    match &result {
        Ok(_) => run.end_step(name, None, begun.elapsed(), None),
        Err(problem) => run.skip(name, &problem.title),
    }
    result
}

impl Trial<'_> {
    fn copy(&self, name: &str) -> Result<PathBuf, Problem> {
        let copy = self.scratch.file(name);
        fs::copy(&self.now, &copy)
            .or_problem("state-unwritable", || format!("cannot write {}", copy.display()))?;
        Ok(copy)
    }

    /// What the newer schema does to code written for the older one.
    fn change(&self, way: &str) -> Result<&'static str, Problem> {
        let older = self.scratch.file(if way == "down" { DOWN } else { IN_PLACE });
        let older = Schema::read(&open_read_only(&older)?)?;
        Ok(match older.compare(&Schema::read(&open_read_only(&self.now)?)?) {
            Change::Same => "same",
            Change::Grew => "grew",
            Change::Changed(_) => "changed",
        })
    }

    fn in_place(&self, backup: &str) -> Result<(PathBuf, Salvaged), Problem> {
        let undone = recorded::chosen(self.scene, &self.choice, self.source, &open_read_only(&self.now)?)?;
        let origin = Origin::prepare(self.scene, self.source, self.prepared, backup, undone)?;
        let copy = self.copy(IN_PLACE)?;
        origin.go_back(&copy, |_| Ok(())).map(|salvaged| (copy, salvaged))
    }

    /// By the stored texts. Nothing may be missing of what the other way keeps, or, when there is none,
    /// of what is there now.
    fn by_text(&self, in_place: Option<&(PathBuf, Salvaged)>) -> Result<Vec<Lost>, Problem> {
        let copy = self.copy(DOWN)?;
        let environment = self.scene.environment();
        let room = Room::open(&copy, Python::new(&self.source.root, environment))?;
        let books = Books::of(self.source, environment);
        room.run(Terms::of(environment, books.as_ref()), |db| {
            choose_jobs(self.scene, &self.choice, self.source, db)
        })?;
        let records = in_place::records(self.source);
        match in_place {
            Some((path, _)) => {
                refuse_other_schema(&room.db, path)?;
                refuse_missing(&room.db, path, true, &records)?;
            }
            None => refuse_missing(&room.db, &self.now, false, &records)?,
        }
        match in_place {
            Some((_, salvaged)) => Ok(salvaged.lost.clone()),
            None => in_place::unlisted(&self.now, &copy, self.source),
        }
    }
}

/// Refuses a result that is not the older schema.
fn refuse_other_schema(result: &Connection, older: &Path) -> Result<(), Problem> {
    match Schema::read(&open_read_only(older)?)?.compare(&Schema::read(result)?) {
        Change::Same | Change::Grew => Ok(()),
        Change::Changed(reasons) => {
            Err(Problem::new("rehearsal-differs", "the way down does not lead to the older schema")
                .detail(reasons.join("\n")))
        }
    }
}

/// Refuses a result that lacks rows or values.
fn refuse_missing(result: &Connection, kept: &Path, whole: bool, records: &[String]) -> Result<(), Problem> {
    let missing = missing(result, kept, whole, records).map_err(|error| unreadable(&error))?;
    let Some(first) = missing.first() else { return Ok(()) };
    Err(Problem::new("rows-lost", format!("the way down loses {first}")).detail(missing.join("\n")))
}

fn unreadable(error: &rusqlite::Error) -> Problem {
    Problem::new("database-unreadable", "cannot read the rehearsed copy").detail(error.to_string())
}

fn neither(scene: &Scene, by_text: &Problem, in_place: Option<Problem>) -> Problem {
    let environment = scene.environment();
    let other =
        in_place.map_or("there is no backup from right before it".into(), |problem| problem.to_string());
    Problem::new(
        "migration-irreversible",
        format!("there is no way back that keeps what was written: {by_text}"),
    )
    .detail(format!("{}; in place: {other}; nothing was changed", json!(by_text.detail)))
    .hint(format!("rollback {environment} --plan --discard-writes"))
}
