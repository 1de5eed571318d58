//! `migrate ENV up`, and `baseline`, which records without running.

use common::cli::Run;
use common::database::open_existing;
use common::migrations::{Migration, compare, read_applied};
use common::report::Problem;
use serde_json::{Value, json};

use crate::birth::Birth;
use crate::engine::transact;
use crate::job::Job;
use crate::operation;
use crate::outcome::{report_done, report_failure};
use crate::scene::{Scene, applied_in};
use crate::screen::screen;

/// Applies everything pending, in one transaction.
///
/// # Errors
/// Those of [`common::migrations`], `migration-refused`, `migration-failed`, `foreign-keys-broken`,
/// `database-busy`; nothing is changed then.
pub(crate) fn apply_pending(
    run: &mut Run,
    scene: &Scene,
    release: Option<&str>,
    id: &str,
) -> Result<(), Problem> {
    let source = scene.source(release)?;
    run.detail("migrations", &source.dir);
    let Some(database) = scene.database_for(&source.migrations)? else {
        run.detail("pending", Vec::<Value>::new());
        return Ok(());
    };
    run.detail("database", database);
    let pending = choose_pending(run, scene, &source.migrations)?;
    run.detail("pending", list(&pending));
    if pending.is_empty() {
        run.detail("applied", Vec::<Value>::new());
        return Ok(());
    }
    screen_all(run, &pending)?;
    operation::record(run, scene, id, |run| {
        let birth = Birth::ensure(database)?;
        let db = open_existing(database)?;
        let environment = scene.environment();
        let ended = transact(&db, false, |db| {
            let standing = compare(&source.migrations, &read_applied(db)?);
            standing.check(environment)?;
            Ok(standing.pending.iter().map(|migration| Job::apply(migration, Some(id))).collect())
        });
        match ended {
            Ok(Some(done)) => report_done(run, "migrate.apply", "applied", &done),
            Ok(None) => run.detail("applied", Vec::<Value>::new()),
            Err(failure) => {
                return Err(report_failure(
                    run,
                    "migrate.apply",
                    &failure,
                    format!("migrate {environment} plan"),
                ));
            }
        }
        run.detail("pending", Vec::<Value>::new());
        birth.keep();
        Ok(())
    })
}

/// Records what is pending, up to version `to`, as applied, for a database made by other means.
///
/// # Errors
/// As [`apply_pending`]; `database-missing`.
pub(crate) fn record_pending(
    run: &mut Run,
    scene: &Scene,
    release: Option<&str>,
    to: Option<i64>,
    id: &str,
) -> Result<(), Problem> {
    let source = scene.source(release)?;
    let Some(database) = scene.database_for(&source.migrations)? else { return Ok(()) };
    run.detail("database", database);
    let environment = scene.environment();
    if !database.exists() {
        return Err(Problem::new("database-missing", format!("there is no database {}", database.display()))
            .detail("a baseline is for a database that was made by other means")
            .hint(format!("migrate {environment} up")));
    }
    let chosen = |migration: &&Migration| to.is_none_or(|to| migration.version <= to);
    operation::record(run, scene, id, |run| {
        let ended = transact(&open_existing(database)?, false, |db| {
            let standing = compare(&source.migrations, &read_applied(db)?);
            standing.check(environment)?;
            let jobs = standing.pending.iter().filter(chosen);
            Ok(jobs.map(|migration| Job::record(migration, Some(id))).collect())
        });
        match ended {
            Ok(Some(done)) => report_done(run, "migrate.record", "recorded", &done),
            Ok(None) => run.detail("recorded", Vec::<Value>::new()),
            Err(failure) => {
                return Err(report_failure(
                    run,
                    "migrate.record",
                    &failure,
                    format!("migrate {environment} status"),
                ));
            }
        }
        Ok(())
    })
}

/// What `database` lacks of `files`; says in the report when it is ahead of them.
pub(crate) fn choose_pending(
    run: &mut Run,
    scene: &Scene,
    files: &[Migration],
) -> Result<Vec<Migration>, Problem> {
    let database = scene.database_for(files)?;
    let applied = database.map(applied_in).transpose()?.unwrap_or_default();
    let standing = compare(files, &applied);
    if !standing.ahead.is_empty() {
        let ahead = standing.ahead.iter().map(|row| json!({ "version": row.version, "name": row.name }));
        run.detail("ahead", ahead.collect::<Vec<_>>());
    }
    standing.check(scene.environment())?;
    Ok(standing.pending)
}

/// Screens up and down texts alike: a down that can never run is found before it is needed.
///
/// # Errors
/// `migration-refused`.
pub(crate) fn screen_all(run: &mut Run, pending: &[Migration]) -> Result<(), Problem> {
    let mut notes = Vec::new();
    for migration in pending {
        notes.extend(screen(&migration.file, &migration.up)?);
        if let Some(down) = &migration.down {
            notes.extend(screen(&migration.down_file(), down)?);
        }
    }
    if !notes.is_empty() {
        run.detail("notes", notes);
    }
    Ok(())
}

/// `[{version, name}]`.
pub(crate) fn list(migrations: &[Migration]) -> Vec<Value> {
    migrations
        .iter()
        .map(|migration| json!({ "version": migration.version, "name": migration.name }))
        .collect()
}
