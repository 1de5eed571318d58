//! An environment's database file under another path than the one that serves uses: a new release
//! would begin with an empty file, and nobody would notice until users asked for their data. And
//! one file under two names: what is meant for one environment would change another's data.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::database;
use crate::layout::{Place, environments_on_disk};
use crate::ledger::{Deployment, Ledger};
use crate::report::{Problem, quoted};

/// Accepts the configured path when it is the one that `serving` uses, or when a person has put a
/// database there that is no other environment's, as `ledger` knows them. The path that is new is
/// returned.
///
/// # Errors
/// `database-changed`; `wrong-database` where nothing serves yet; `ledger-unreadable`.
pub fn check(
    config: &Config,
    place: &Place,
    serving: Option<&Deployment>,
    ledger: Option<&Ledger>,
) -> Result<Option<PathBuf>, Problem> {
    let environment = place.environment();
    let configured = place.database(config.environment(environment)?);
    let Some(used) = serving.and_then(|row| row.database.as_deref()) else {
        return configured
            .map_or(Ok(None), |path| refuse_anothers(config, ledger, environment, &path).map(|()| None));
    };
    match configured {
        Some(path) if path == used => Ok(None),
        Some(path) => match objection(config, ledger, environment, &path)? {
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

/// A file that no record of a migration names anybody's is known by who serves from it.
fn refuse_anothers(
    config: &Config,
    ledger: Option<&Ledger>,
    environment: &str,
    path: &Path,
) -> Result<(), Problem> {
    let Some(owner) = owner(config, ledger, environment, path)? else { return Ok(()) };
    let title = format!("this database belongs to {owner}, not to {environment}");
    Err(Problem::new("wrong-database", title)
        .detail(format!(
            "{} serves {owner}, or is meant to: the path in the configuration is wrong",
            path.display()
        ))
        .hint(format!("grep -n database {}", quoted(config.file.display()))))
}

/// Why the file cannot be what users have written.
fn objection(
    config: &Config,
    ledger: Option<&Ledger>,
    environment: &str,
    path: &Path,
) -> Result<Option<String>, Problem> {
    if path.metadata().map_or(0, |meta| meta.len()) == 0 {
        return Ok(Some("there is no database yet".into()));
    }
    if let Err(problem) = database::open_read_only(path) {
        return Ok(Some(problem.to_string()));
    }
    let owner = owner(config, ledger, environment, path)?;
    Ok(owner.map(|name| format!("it is the database of '{name}'")))
}

/// The other environment that serves from this very file, or has it in the configuration.
fn owner(
    config: &Config,
    ledger: Option<&Ledger>,
    environment: &str,
    path: &Path,
) -> Result<Option<String>, Problem> {
    let identity = |path: &Path| path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    let is_same =
        |other: PathBuf| other == path || identity(path).is_some_and(|it| identity(&other) == Some(it));
    for name in environments_on_disk(config).into_iter().filter(|name| name != environment) {
        let serving = ledger.map(|ledger| ledger.serving(&name)).transpose()?.flatten();
        if serving.and_then(|row| row.database).is_some_and(is_same) {
            return Ok(Some(name));
        }
    }
    let mut others = config.environments.iter().filter(|(name, _)| *name != environment);
    let owner =
        others.find(|(name, settings)| Place::new(config, name).database(settings).is_some_and(is_same));
    Ok(owner.map(|(name, _)| name.clone()))
}
