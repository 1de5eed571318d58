//! Where answers come from: deploy.toml, read again when it was edited, and the ledger, opened again
//! when it is another file. Neither is ever made or written here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::cli;
use common::config::{self, Config};
use common::ledger::Ledger;
use common::report::{Problem, quoted};
use common::secrets::Secrets;

/// A shorter one could be guessed.
const SHORTEST_TOKEN: usize = 16;

/// What tells one state of a file from another.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// The configuration as it was read, and what belongs to it.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) config: Config,
    pub(crate) token: Option<String>,
    /// Of environments whose text was shown; none where they cannot be read.
    secrets: Mutex<BTreeMap<String, Option<Arc<Secrets>>>>,
}

/// Both files.
pub(crate) struct Source {
    file: PathBuf,
    known: Mutex<(Stamp, Arc<Setting>)>,
    ledger: Mutex<(Stamp, Option<Ledger>)>,
}

impl Setting {
    /// # Errors
    /// `env-file`; configuration (exit 2) for a token that is missing there, or too short.
    fn of(config: Config) -> Result<Self, Problem> {
        let token = token_of(&config)?;
        Ok(Self { config, token, secrets: Mutex::default() })
    }

    /// What must not be shown of what programs of an environment printed; none when nobody can tell.
    pub(crate) fn secrets(&self, environment: &str) -> Option<Arc<Secrets>> {
        let mut known = unpoisoned(&self.secrets);
        let read =
            || Secrets::of(&self.config, self.config.environments.get(environment)?).ok().map(Arc::new);
        known.entry(environment.to_owned()).or_insert_with(read).clone()
    }

    /// Names of all environments, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.config.environments.keys().cloned().collect()
    }
}

impl Source {
    /// # Errors
    /// Those of the token.
    pub(crate) fn new(config: Config) -> Result<Self, Problem> {
        let (file, stamp) = (config.file.clone(), stamp(&config.file));
        let setting = Arc::new(Setting::of(config)?);
        Ok(Self { file, known: Mutex::new((stamp, setting)), ledger: Mutex::new((None, None)) })
    }

    /// The configuration of now; one that makes no sense leaves the last one that did.
    pub(crate) fn setting(&self) -> Arc<Setting> {
        Arc::clone(&unpoisoned(&self.known).1)
    }

    /// Reads deploy.toml again when somebody edited it.
    pub(crate) fn look_again(&self) {
        let found = stamp(&self.file);
        let mut known = unpoisoned(&self.known);
        if known.0 == found {
            return;
        }
        known.0 = found;
        match config::load(Some(&self.file)).and_then(Setting::of) {
            Ok(setting) => known.1 = Arc::new(setting),
            Err(problem) => cli::warn(&format!("what served goes on, deploy.toml cannot be used: {problem}")),
        }
    }

    /// Asks the ledger; `None` when nothing was ever deployed.
    ///
    /// # Errors
    /// Those of [`Ledger::open_untouched`] and of what is asked.
    pub(crate) fn ask<T>(
        &self,
        question: impl FnOnce(Option<&Ledger>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let setting = self.setting();
        let found = stamp_of_ledger(&setting.config.state_dir().join("ledger.db"));
        let mut open = unpoisoned(&self.ledger);
        let is_usable = found.is_some() && open.0 == found && open.1.is_some();
        if !is_usable {
            *open = (None, None);
            let ledger = Ledger::open_untouched(&setting.config)?;
            // One that was made again in memory shows a moment, and is made again by the next question.
            let lasts = ledger.as_ref().is_some_and(|ledger| ledger.lost().is_none());
            *open = (found.filter(|_| lasts), ledger);
        }
        question(open.1.as_ref())
    }
}

fn token_of(config: &Config) -> Result<Option<String>, Problem> {
    let Some(status) = &config.status else { return Ok(None) };
    let (Some(token), Some(file)) = (&status.token, &status.env_file) else { return Ok(None) };
    let path = config.resolve(file);
    let hint = || format!("ls -l {}", quoted(path.display()));
    let value = Secrets::read(&path)?.get(token.trim_start_matches('$')).map(str::to_owned);
    match value {
        Some(value) if value.len() >= SHORTEST_TOKEN => Ok(Some(value)),
        Some(_) => Err(Problem::configuration(format!("the value of status.token {token} is too short"))
            .detail(format!("it needs {SHORTEST_TOKEN} bytes"))
            .hint("openssl rand -hex 32")),
        None => {
            Err(Problem::configuration(format!("{} has no {}", path.display(), &token[1..])).hint(hint()))
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

/// A ledger in use grows and changes: only another file is another ledger.
fn stamp_of_ledger(path: &Path) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), 0, 0, u64::from(meta.len() > 0)))
}

pub(crate) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
