//! How the migrations of what serves stand to the environment's database.

use common::config::Config;
use common::database;
use common::layout::Place;
use common::ledger::Deployment;
use common::migrations::{Source, compare};
use common::report::Problem;
use serde_json::{Value, json};

/// Nothing when there is no database file.
pub(crate) fn database_facts(
    place: &Place,
    config: &Config,
    name: &str,
    serving: Option<&Deployment>,
) -> Option<Value> {
    let path = place.database(config.environments.get(name)?).filter(|path| path.exists())?;
    let release = serving.and_then(|row| row.release.as_deref()).map(|id| place.release(id));
    let read = || {
        let db = database::open_read_only(&path)?;
        let source = release.map(|root| Source::read(&root, Some(&db))).transpose()?;
        let source = source.unwrap_or_else(|| Source::without_files(place.root().as_path()));
        let applied = source.applied(&db)?;
        Ok::<_, Problem>((applied.iter().map(|row| row.version).max(), compare(&source.migrations, &applied)))
    };
    Some(match read() {
        Ok((version, standing)) => {
            json!({"version": version, "migrations": standing.word(), "pending": standing.pending.len(), "deferred": standing.deferred.len()})
        }
        Err(problem) => json!({"problem": problem.to_string()}),
    })
}
