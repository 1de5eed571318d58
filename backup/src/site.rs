//! The environment a command works on: its settings, its paths, its lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::backups;
use common::cli::{self, Run};
use common::config::{Config, Environment};
use common::layout::Place;
use common::ledger::{Deployment, Ledger};
use common::lock::Lock;
use common::recovery;
use common::relocation;
use common::report::{OrProblem, Problem};
use common::secrets::Secrets;
use common::site::enter;
use common::{database, migrations};
use tempfile::TempDir;

use crate::further;

/// Begins the name of a backup that is being made, and of a restore's scratch place.
pub(crate) const DRAFT: &str = ".tmp-";
/// Begins the name of a backup that is being removed.
pub(crate) const DOOMED: &str = ".del-";
/// Begins the name of a check's scratch place; the process id follows.
const CHECK: &str = ".check-";

/// How many deployments that changed the schema can be undone by their backups, whatever came after.
const MIGRATING: usize = 3;

/// One environment and everything about it that a verb needs.
pub(crate) struct Site<'a> {
    pub(crate) config: &'a Config,
    pub(crate) settings: &'a Environment,
    pub(crate) place: Place,
    /// `None` when they cannot be read.
    pub(crate) secrets: Option<Secrets>,
}

impl<'a> Site<'a> {
    /// Looks the environment up and hides its secrets in what `run` prints.
    ///
    /// # Errors
    /// Usage (exit 2): an unknown environment.
    pub(crate) fn open(config: &'a Config, name: &str, run: &mut Run) -> Result<Self, Problem> {
        let settings = config.environment(name)?;
        run.report.environment = Some(name.to_owned());
        let secrets = Secrets::of(config, settings).ok();
        if let Some(secrets) = &secrets {
            run.hide(secrets);
        }
        Ok(Self { config, settings, place: Place::new(config, name), secrets })
    }

    pub(crate) fn name(&self) -> &str {
        self.place.environment()
    }

    /// The database file, when one is configured; it need not exist.
    pub(crate) fn database(&self) -> Option<PathBuf> {
        self.place.database(self.settings)
    }

    /// Takes the environment's lock, finishes what a crash left and removes a killed run's files.
    ///
    /// # Errors
    /// `locked` (retryable), `state-unwritable`.
    pub(crate) fn lock(&self, what: &str, wait: Duration) -> Result<Lock, Problem> {
        let (lock, sound) = enter(self.config, &self.place, &format!("{what} {}", self.name()), wait)?;
        let (lock, recovered) = recovery::recover_under(self.config, self.name(), "backup", lock, sound)?;
        recovered.notes.into_iter().chain(further::cut_off(self)).for_each(|note| cli::warn(&note));
        sweep(&self.place.backups()).or_problem("state-unwritable", || {
            format!("cannot clean up {}", self.place.backups().display())
        })?;
        Ok(lock)
    }

    /// A private directory for a restore, removed at the end; only under the lock.
    pub(crate) fn scratch(&self) -> Result<TempDir, Problem> {
        self.temporary(&format!("{DRAFT}restore-"))
    }

    /// A private directory for a check, which needs no lock.
    pub(crate) fn check_scratch(&self) -> Result<TempDir, Problem> {
        self.temporary(&format!("{CHECK}{}-", std::process::id()))
    }

    /// The deployment that the ledger says serves.
    ///
    /// # Errors
    /// `ledger-unreadable`.
    pub(crate) fn serving(&self) -> Result<Option<Deployment>, Problem> {
        self.serving_in(Ledger::open_read_only(self.config)?.as_ref())
    }

    /// The same, where the ledger is open already.
    ///
    /// # Errors
    /// `ledger-unreadable`.
    pub(crate) fn serving_in(&self, ledger: Option<&Ledger>) -> Result<Option<Deployment>, Problem> {
        Ok(ledger.map(|ledger| ledger.serving(self.name())).transpose()?.flatten())
    }

    /// The deployment that a report names, when the ledger knows it here.
    ///
    /// # Errors
    /// `unknown-deployment`, `superseded`, `ledger-unreadable`.
    pub(crate) fn named_by_report(&self, id: Option<&str>) -> Result<Option<String>, Problem> {
        let (Some(id), Some(ledger)) = (id, Ledger::open_read_only(self.config)?) else { return Ok(None) };
        Ok(ledger.named_by_report(self.name(), id)?.map(|row| row.id))
    }

    /// Refuses a database that is no longer where the serving release has it.
    ///
    /// # Errors
    /// As those of [`relocation::check`].
    pub(crate) fn refuse_relocated(&self) -> Result<(), Problem> {
        let ledger = Ledger::open_read_only(self.config)?;
        let serving = self.serving_in(ledger.as_ref())?;
        relocation::check(self.config, &self.place, serving.as_ref(), ledger.as_ref()).map(drop)
    }

    /// Deployments whose backups a rollback may need: the serving one, the verified one before it, and
    /// those that last changed the schema, however many came after them.
    ///
    /// # Errors
    /// `ledger-unreadable`.
    pub(crate) fn rollback_needs(&self) -> Result<Vec<String>, Problem> {
        let Some(ledger) = Ledger::open_read_only(self.config)? else { return Ok(Vec::new()) };
        let serving = ledger.serving(self.name())?;
        let before = serving.as_ref().map_or(i64::MAX, |deployment| deployment.number);
        let previous = ledger.verified_before(self.name(), before)?;
        let mut needed: Vec<String> =
            serving.into_iter().chain(previous).map(|deployment| deployment.id).collect();
        needed.extend(self.migrating());
        Ok(needed)
    }

    /// The deployments whose backups lead back behind the newest migrations; none where the database
    /// cannot be read. What was deferred ran in a later deployment than the one it is recorded with.
    fn migrating(&self) -> Vec<String> {
        let database = self.database().filter(|path| path.exists());
        let db = database.and_then(|path| database::open_read_only(&path).ok());
        let mut applied = db.and_then(|db| migrations::read_applied(&db).ok()).unwrap_or_default();
        applied.sort_by_key(|row| std::cmp::Reverse((row.sequence, row.version)));
        let mut found: Vec<String> = applied.iter().filter_map(|row| row.deployment.clone()).collect();
        found.dedup();
        found.truncate(MIGRATING);
        for row in applied.iter().take(MIGRATING).filter(|row| row.after) {
            let mut before: Vec<i64> =
                applied.iter().map(|row| row.version).filter(|version| *version < row.version).collect();
            before.sort_unstable();
            let backup = backups::before_migrations(&self.place, &before, None).ok().flatten();
            found.extend(backup.and_then(|backup| backup.manifest.deployment));
        }
        found
    }

    fn temporary(&self, prefix: &str) -> Result<TempDir, Problem> {
        let root = self.place.backups();
        tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(&root)
            .or_problem("state-unwritable", || format!("cannot make a directory in {}", root.display()))
    }
}

/// Removes what killed runs left in a directory of backups; only under the lock.
pub(crate) fn sweep(root: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let abandoned = name.strip_prefix(CHECK).is_some_and(|rest| {
            let pid = rest.split('-').next().unwrap_or_default();
            !PathBuf::from("/proc").join(pid).exists()
        });
        if abandoned || name.starts_with(DRAFT) || name.starts_with(DOOMED) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
