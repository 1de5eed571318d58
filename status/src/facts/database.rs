//! How the migrations of what serves stand to the environment's database.

use common::config::Config;
use common::database;
use common::layout::Place;
use common::ledger::Deployment;
use common::migrations::{Source, compare};
use common::report::Problem;
use serde::Serialize;
use serde_json::{Value, json};

/// What is applied to a database, and what is not yet.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Migrations {
    pub(crate) applied: Vec<Done>,
    pub(crate) pending: Vec<Waiting>,
    /// Waits until the release before is retired.
    pub(crate) deferred: Vec<Waiting>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Done {
    pub(crate) version: i64,
    pub(crate) name: String,
    /// RFC 3339, UTC; empty where another tool's table does not say.
    pub(crate) applied_at: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Waiting {
    pub(crate) version: i64,
    pub(crate) name: String,
}

/// Nothing when there is no database file.
pub(super) fn look(
    place: &Place,
    config: &Config,
    name: &str,
    serving: Option<&Deployment>,
) -> (Option<Value>, Migrations) {
    let path = config.environments.get(name).and_then(|settings| place.database(settings));
    let Some(path) = path.filter(|path| path.exists()) else { return (None, Migrations::default()) };
    let release = serving.and_then(|row| row.release.as_deref()).map(|id| place.release(id));
    let read = || {
        let db = database::open_untouched(&path)?;
        let source = release.map(|root| Source::read(&root, Some(&db))).transpose()?;
        let source = source.unwrap_or_else(|| Source::without_files(place.root().as_path()));
        let applied = source.applied(&db)?;
        let standing = compare(&source.migrations, &applied);
        let waiting = |files: &[common::migrations::Migration]| {
            files.iter().map(|file| Waiting { version: file.version, name: file.name.clone() }).collect()
        };
        let (pending, deferred) = (waiting(&standing.pending), waiting(&standing.deferred));
        let done = applied.into_iter().map(|row| Done {
            version: row.version,
            name: row.name,
            applied_at: row.applied_at,
        });
        Ok::<_, Problem>((standing.word(), Migrations { applied: done.collect(), pending, deferred }))
    };
    match read() {
        Ok((word, migrations)) => (Some(told(word, &migrations)), migrations),
        Err(problem) => (Some(json!({"problem": problem.to_string()})), Migrations::default()),
    }
}

fn told(word: &str, migrations: &Migrations) -> Value {
    json!({
        "version": migrations.applied.iter().map(|done| done.version).max(),
        "migrations": word,
        "pending": migrations.pending.len(),
        "deferred": migrations.deferred.len(),
    })
}
