//! An environment's database file under another path than the one that serves uses: a new release
//! would begin with an empty file, and nobody would notice until users asked for their data.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::database;
use crate::layout::Place;
use crate::ledger::Deployment;
use crate::report::{Problem, quoted};

/// Accepts the configured path when it is the one that `serving` uses, or when a person has put a
/// database there. The path that is new is returned.
///
/// # Errors
/// `database-changed`.
pub fn check(
    config: &Config,
    place: &Place,
    serving: Option<&Deployment>,
) -> Result<Option<PathBuf>, Problem> {
    let environment = place.environment();
    let Some(used) = serving.and_then(|row| row.database.as_deref()) else { return Ok(None) };
    let configured = place.database(config.environment(environment)?);
    match configured {
        Some(path) if path == used => Ok(None),
        Some(path) => match objection(config, environment, &path) {
            None => Ok(Some(path)),
            Some(why) => {
                Err(refuse(environment, used, &format!("names {}", path.display()), &why).hint(format!(
                    "sqlite3 {} {}   # or name the old path again",
                    quoted(used.display()),
                    quoted(format!(".backup '{}'", path.display()))
                )))
            }
        },
        None if used.exists() => Err(refuse(environment, used, "names none", "that file still exists")
            .hint(format!("grep -n database {}", quoted(config.file.display())))),
        None => Ok(None),
    }
}

fn refuse(environment: &str, used: &Path, now: &str, why: &str) -> Problem {
    Problem::new(
        "database-changed",
        format!("'{environment}' serves from {}, and the configuration {now}", used.display()),
    )
    .detail(format!("{why}; a new release would not find what users have written"))
}

/// Why the file cannot be what users have written.
fn objection(config: &Config, environment: &str, path: &Path) -> Option<String> {
    if path.metadata().map_or(0, |meta| meta.len()) == 0 {
        return Some("there is no database yet".into());
    }
    if let Err(problem) = database::open_read_only(path) {
        return Some(problem.to_string());
    }
    let same = |other: PathBuf| other == path || other.canonicalize().ok() == path.canonicalize().ok();
    let mut others = config.environments.iter().filter(|(name, _)| *name != environment);
    let owner = others.find(|(name, settings)| Place::new(config, name).database(settings).is_some_and(same));
    owner.map(|(name, _)| format!("it is the database of '{name}'"))
}
