//! What `up` will run: pending migrations and those whose phase has come, screened, as jobs that
//! go on where a run before was cut off.

use common::cli::{Run, warn};
use common::migrations::{Applied, Kind, Migration, Source, Standing, compare, read_unfinished};
use common::report::Problem;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::job::Job;
use crate::loss::refuse_text;
use crate::outside::check_prefix;
use crate::python::Python;
use crate::scene::{Scene, applied_in};
use crate::screen::screen;
use crate::vocabulary;

/// Chosen by the files and one state of the database.
pub(crate) struct Choice {
    /// Lowest version first.
    pub(crate) chosen: Vec<Migration>,
    /// Which of them waited for the release before to be retired.
    pub(crate) due: Vec<i64>,
    /// Whether nothing waits for its phase any more.
    pub(crate) is_all: bool,
}

/// How `up` chooses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) release: Option<&'a str>,
    /// Run deferred migrations now.
    pub(crate) contract: bool,
}

/// What `database` lacks of `source`; says in the report what stays behind and what is ahead.
///
/// # Errors
/// Those of [`applied_in`] and [`Standing::check`].
pub(crate) fn choose(
    run: &mut Run,
    scene: &Scene,
    source: &Source,
    wanted: Wanted<'_>,
    db: Option<&Connection>,
) -> Result<Choice, Problem> {
    scene.database_for(&source.migrations)?;
    let applied = applied_in(db, source, scene.environment())?;
    let standing = compare(&source.migrations, &applied);
    if !standing.ahead.is_empty() {
        let ahead = standing.ahead.iter().map(|row| json!({ "version": row.version, "name": row.name }));
        run.detail("ahead", ahead.collect::<Vec<_>>());
    }
    let mut left = standing.deferred.clone();
    let choice = of_standing(scene, wanted, standing, db)?;
    left.retain(|migration| !choice.due.contains(&migration.version));
    if !left.is_empty() {
        run.detail("deferred", list(&left));
    }
    run.detail("pending", list(&choice.chosen));
    Ok(choice)
}

/// The same, inside the transaction.
///
/// # Errors
/// As [`choose`].
pub(crate) fn choose_within(
    scene: &Scene,
    source: &Source,
    wanted: Wanted<'_>,
    db: &Connection,
) -> Result<Choice, Problem> {
    let applied = applied_in(Some(db), source, scene.environment())?;
    of_standing(scene, wanted, compare(&source.migrations, &applied), Some(db))
}

fn of_standing(
    scene: &Scene,
    wanted: Wanted<'_>,
    standing: Standing,
    db: Option<&Connection>,
) -> Result<Choice, Problem> {
    standing.check(scene.environment())?;
    let deferred = standing.deferred.len();
    let due = if wanted.contract {
        standing.deferred
    } else {
        scene.due(wanted.release, &standing.deferred, db)?
    };
    let is_all = due.len() == deferred;
    let versions = due.iter().map(|migration| migration.version).collect();
    let mut chosen = standing.pending;
    chosen.extend(due);
    chosen.sort_by_key(|migration| migration.version);
    Ok(Choice { chosen, due: versions, is_all })
}

/// Jobs that apply `chosen`, going on where a run before was cut off.
///
/// # Errors
/// `migration-unfinished`, `migration-edited`.
pub(crate) fn jobs(db: &Connection, chosen: &[Migration], id: Option<&str>) -> Result<Vec<Job>, Problem> {
    let unfinished = read_unfinished(db)?;
    let job = |migration: &Migration| {
        let mut job = Job::apply(migration, id);
        let Some(found) = unfinished.iter().find(|found| found.applied.version == migration.version) else {
            return Ok(job);
        };
        if found.statements < 0 {
            return Err(half_undone(&found.applied));
        }
        job.done = usize::try_from(found.statements).unwrap_or(0);
        check_prefix(&job, job.done, &found.applied.checksum)?;
        Ok(job)
    };
    chosen.iter().map(job).collect()
}

fn half_undone(applied: &Applied) -> Problem {
    let title = format!("migration {}_{} is half undone", applied.version, applied.name);
    let owner = applied.environment.as_deref().unwrap_or("dev");
    Problem::new("migration-unfinished", title)
        .detail("undoing it runs without a transaction and was cut off; finish that first")
        .hint(format!("migrate {owner} down"))
}

/// Screens up and down texts alike: a down that can never run is found before it is needed.
///
/// # Errors
/// `migration-refused`, `destructive-unapproved`, before anything is touched.
pub(crate) fn screen_all(
    run: &mut Run,
    scene: &Scene,
    python: &Python,
    chosen: &[Migration],
    db: Option<&Connection>,
) -> Result<(), Problem> {
    let mut notes = Vec::new();
    for migration in chosen {
        if migration.kind == Kind::Python {
            python.check(&migration.file, &migration.up)?;
            continue;
        }
        notes.extend(screen(&migration.file, &migration.up)?);
        if migration.directives.no_transaction {
            let note =
                format!("{} runs without a transaction: what it has done stays, if it fails", migration.file);
            warn(&note);
            notes.push(note);
        }
        if let Some(down) = &migration.down {
            notes.extend(screen(&migration.down_file, down)?);
        }
        if scene.is_guarded() && !migration.directives.approves_loss {
            refuse_text(&migration.file, &migration.up)?;
        }
    }
    if !notes.is_empty() {
        run.detail("notes", notes);
    }
    vocabulary::check(db, chosen)
}

/// `[{version, name}]`; the version is null for a repeatable one.
pub(crate) fn list(migrations: &[Migration]) -> Vec<Value> {
    migrations
        .iter()
        .map(|migration| json!({ "version": migration.number(), "name": migration.name }))
        .collect()
}

/// Why a migration that was cut off is not rehearsed.
pub(crate) fn half_applied(job: &Job, environment: &str) -> Problem {
    Problem::new("migration-unfinished", format!("{} is half applied", job.file))
        .detail(format!(
            "it runs without a transaction and was cut off after {} statements; the next `up` goes on there",
            job.done
        ))
        .hint(format!("migrate {environment} up"))
}
