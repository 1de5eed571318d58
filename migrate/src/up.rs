//! `migrate ENV up`, and `baseline`, which records without running.

use common::cli::Run;
use common::database::open_existing;
use common::migrations::{Migration, Source, compare};
use common::report::Problem;
use serde_json::Value;

use crate::belonging;
use crate::birth::Birth;
use crate::books::Books;
use crate::choice::{Wanted, choose, choose_within, jobs, screen_all};
use crate::engine::{Done, Failure, Room, Terms};
use crate::job::Job;
use crate::memo::{Ahead, Memo};
use crate::operation;
use crate::outcome::{report_done, report_failure};
use crate::python::Python;
use crate::scene::Scene;

/// Applies everything pending, in one transaction, or in one each.
///
/// # Errors
/// Those of [`common::migrations`], `migration-refused`, `destructive-unapproved`,
/// `migration-failed`, `foreign-keys-broken`, `database-busy`; nothing is changed then.
pub(crate) fn apply_pending(
    run: &mut Run,
    scene: &Scene,
    (wanted, each): (Wanted<'_>, bool),
    id: &str,
    ahead: Option<Ahead>,
) -> Result<(), Problem> {
    let memo = Memo::of(run, scene, &scene.root(wanted.release)?, ahead);
    if memo.as_ref().is_some_and(|memo| memo.recall(run)) {
        return Ok(());
    }
    let (db, source) = scene.look_at_both(wanted.release)?;
    tell_source(run, &source);
    let Some(database) = scene.database_for(&source.migrations)? else {
        run.detail("pending", Vec::<Value>::new());
        return Ok(());
    };
    run.detail("database", database);
    let choice = choose(run, scene, &source, wanted, db.as_ref())?;
    if choice.chosen.is_empty() {
        run.detail("applied", Vec::<Value>::new());
        // What waits for its phase depends on the release that serves, too.
        memo.filter(|_| choice.is_all).into_iter().for_each(|memo| memo.keep(run));
        return Ok(());
    }
    let python = Python::new(&source.root, scene.environment());
    screen_all(run, scene, &python, &choice.chosen, db.as_ref())?;
    drop((db, choice));
    operation::record(run, scene, id, |run| {
        let birth = Birth::ensure(database)?;
        let room = Room::open(database, python)?;
        apply(run, scene, (&source, wanted, each, id), room, birth)
    })
}

/// What is pending, as it is seen inside the transaction.
fn apply(
    run: &mut Run,
    scene: &Scene,
    (source, wanted, each, id): (&Source, Wanted<'_>, bool, &str),
    room: Room,
    birth: Birth,
) -> Result<(), Problem> {
    let books = Books::of(source, scene.environment());
    let terms = Terms { each, guarded: scene.is_guarded(), ..Terms::of(scene.environment(), books.as_ref()) };
    let ended = room.run(terms, |db| jobs(db, &choose_within(scene, source, wanted, db)?.chosen, Some(id)));
    // Thousands of tables weigh as much as the report about them.
    drop(room);
    let stays = ended.as_ref().map_or_else(Failure::left_something, |_| true);
    let result = tell(run, scene, ("migrate.apply", "applied", "plan"), ended);
    if stays {
        birth.keep();
    }
    result?;
    run.detail("pending", Vec::<Value>::new());
    Ok(())
}

/// Puts the end of a run into the report; `names` are those of its step, its list, and the verb that
/// helps when it failed.
fn tell(
    run: &mut Run,
    scene: &Scene,
    (step, list, helper): (&str, &str, &str),
    ended: Result<Option<Done>, Failure>,
) -> Result<(), Problem> {
    match ended {
        Ok(Some(done)) => report_done(run, step, list, &done),
        Ok(None) => run.detail(list, Vec::<Value>::new()),
        Err(failure) => {
            let hint = format!("migrate {} {helper}", scene.environment());
            return Err(report_failure(run, (step, list), &failure, hint));
        }
    }
    Ok(())
}

/// Names the directory, and whose layout it is when it is not ours.
pub(crate) fn tell_source(run: &mut Run, source: &Source) {
    run.detail("migrations", &source.dir);
    if let Some(table) = &source.table {
        run.detail("layout", source.layout.word());
        run.detail("tracking_table", table);
    }
    if !source.ignored.is_empty() {
        run.detail("ignored", &source.ignored);
    }
}

/// What `baseline` was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Baseline<'a> {
    pub(crate) release: Option<&'a str>,
    pub(crate) to: Option<i64>,
    /// The database is a copy from another environment.
    pub(crate) take_over: bool,
}

/// Records what is pending, up to a version, as applied, for a database made by other means.
///
/// # Errors
/// As [`apply_pending`]; `database-missing`.
pub(crate) fn record_pending(
    run: &mut Run,
    scene: &Scene,
    asked: Baseline<'_>,
    id: &str,
) -> Result<(), Problem> {
    let source = scene.source(asked.release, scene.look()?.as_ref())?;
    let Some(database) = scene.database_for(&source.migrations)? else { return Ok(()) };
    run.detail("database", database);
    let environment = scene.environment();
    if !database.exists() {
        return Err(Problem::new("database-missing", format!("there is no database {}", database.display()))
            .detail("a baseline is for a database that was made by other means")
            .hint(format!("migrate {environment} up")));
    }
    let chosen = |migration: &&Migration| {
        migration.number().is_some_and(|version| asked.to.is_none_or(|to| version <= to))
    };
    operation::record(run, scene, id, |run| {
        if asked.take_over {
            belonging::take_over(&open_existing(database)?, environment)?;
            run.report.changed = true;
        }
        let room = Room::open(database, Python::new(&source.root, environment))?;
        let books = Books::of(&source, environment);
        let terms = Terms::of(environment, books.as_ref());
        let ended = room.run(terms, |db| {
            let applied = source.applied(db)?;
            belonging::check(&applied, environment)?;
            let standing = compare(&source.migrations, &applied);
            standing.check(environment)?;
            let jobs = standing.pending.iter().chain(&standing.deferred).filter(chosen);
            Ok(jobs.map(|migration| Job::record(migration, Some(id))).collect())
        });
        tell(run, scene, ("migrate.record", "recorded", "status"), ended)
    })
}
