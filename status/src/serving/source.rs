//! Where answers come from: deploy.toml and the token, read again when they were edited, and the ledger, opened again
//! when it is another file. Neither is ever made or written here.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::cli;
use common::config::{self, Config};
use common::ledger::Ledger;
use common::report::Problem;
use common::status_server::token;

/// What tells one state of a file from another.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// Of deploy.toml, and of the file that holds the token.
type Stamps = (Stamp, Stamp);

/// The configuration as it was read, and what belongs to it.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) config: Config,
    pub(crate) token: Option<String>,
}

/// The last configuration that made sense.
struct Known {
    stamps: Stamps,
    setting: Arc<Setting>,
    /// Of files that make no sense, and of which that was said.
    refused: Option<Stamps>,
}

/// Both files.
pub(crate) struct Source {
    file: PathBuf,
    known: Mutex<Known>,
    ledger: Mutex<(Stamp, Option<Ledger>)>,
}

impl Setting {
    /// Names of all environments, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.config.environments.keys().cloned().collect()
    }
}

impl Source {
    /// # Errors
    /// Those of the token.
    pub(crate) fn new(config: Config) -> Result<Self, Problem> {
        let file = config.file.clone();
        let known = Known::of(stamp(&file), config)?;
        Ok(Self { file, known: Mutex::new(known), ledger: Mutex::new((None, None)) })
    }

    /// The configuration of now; one that makes no sense leaves the last one that did.
    pub(crate) fn setting(&self) -> Arc<Setting> {
        Arc::clone(&unpoisoned(&self.known).setting)
    }

    /// Reads deploy.toml and the token again when somebody edited them. A token that cannot be read
    /// opens nothing any more.
    pub(crate) fn look_again(&self) {
        let mut known = unpoisoned(&self.known);
        let found = (stamp(&self.file), stamp_of_token(&known.setting.config));
        if known.stamps == found {
            return;
        }
        match config::load(Some(&self.file)).and_then(|config| Known::of(found.0, config)) {
            Ok(new) => *known = new,
            Err(problem) => {
                if known.refused.replace(found) != Some(found) {
                    cli::warn(&format!("what served goes on, deploy.toml cannot be used: {problem}"));
                }
                let token = token(&known.setting.config).ok().flatten();
                if known.setting.token != token {
                    known.setting = Arc::new(Setting { config: known.setting.config.clone(), token });
                }
            }
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

impl Known {
    fn of(file: Stamp, config: Config) -> Result<Self, Problem> {
        let stamps = (file, stamp_of_token(&config));
        let token = token(&config)?;
        Ok(Self { stamps, setting: Arc::new(Setting { config, token }), refused: None })
    }
}

fn stamp_of_token(config: &Config) -> Stamp {
    let file = config.status.as_ref().and_then(|status| status.env_file.as_ref())?;
    stamp(&config.resolve(file))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use common::durable;

    use super::*;

    const TOKENS: [&str; 2] = ["0123456789abcdef", "fedcba9876543210"];

    fn write(dir: &Path, status: &str) {
        let text = format!(
            "[app]\nname = 'x'\nrun = 'true'\n{status}\n[environments.dev]\nbranches = ['dev']\nlisten = '127.0.0.1:8001'\n"
        );
        fs::write(dir.join("deploy.toml"), text).unwrap();
    }

    fn write_token(dir: &Path, text: &str) {
        let file = dir.join("new.env");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        durable::rename(&file, &dir.join("status.env")).unwrap();
    }

    #[test]
    fn a_changed_token_counts_at_once_and_one_that_is_gone_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, "");
        let source = Source::new(config::load(Some(&dir.join("deploy.toml"))).unwrap()).unwrap();
        let told = || {
            source.look_again();
            source.setting().token.clone()
        };
        // The table comes before the file that it names.
        write(dir, "[status]\ntoken = '$T'\nenv_file = 'status.env'");
        assert_eq!(told(), None);
        write_token(dir, &format!("T={}\n", TOKENS[0]));
        assert_eq!(told().as_deref(), Some(TOKENS[0]));
        let same = source.setting();
        source.look_again();
        assert!(Arc::ptr_eq(&same, &source.setting()), "what stays the same is not another one");
        write_token(dir, &format!("T={}\n", TOKENS[1]));
        assert_eq!(told().as_deref(), Some(TOKENS[1]));
        fs::write(dir.join("deploy.toml"), "[app").unwrap();
        assert_eq!(told().as_deref(), Some(TOKENS[1]), "one that makes no sense changes nothing");
        write_token(dir, "OTHER=1\n");
        assert_eq!(told(), None);
    }
}
