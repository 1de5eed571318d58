//! What a verb acts on: one environment, its database, and the migrations meant for it.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use common::cli;
use common::config::Config;
use common::database::{open_existing, open_read_only};
use common::layout::{Place, is_plain_name};
use common::ledger::{Deployment, Ledger};
use common::lock::Lock;
use common::migrations::{Applied, Files, Layout, Migration, SETTINGS_FILE, Source};
use common::recovery;
use common::relocation;
use common::report::{Problem, quoted};
use common::site::enter;
use rusqlite::Connection;

use crate::belonging;
use crate::cores;

/// One environment with its place and database.
pub(crate) struct Scene {
    pub(crate) config: Config,
    pub(crate) place: Place,
    /// The file need not exist yet.
    pub(crate) database: Option<PathBuf>,
    /// The deployment that serves, when there is one.
    pub(crate) serving: Option<Deployment>,
    /// Held by verbs that change something.
    pub(crate) lock: Option<Lock>,
    /// Open for writing while we hold the lock, only that mends what a kill left; else for reading.
    ledger: Option<Ledger>,
}

impl Scene {
    /// # Errors
    /// Usage for an unknown environment.
    pub(crate) fn new(config: Config, environment: &str) -> Result<Self, Problem> {
        let place = Place::new(&config, environment);
        let database = place.database(config.environment(environment)?);
        Ok(Self { config, place, database, serving: None, lock: None, ledger: None })
    }

    /// Takes the environment's lock, waiting at most `wait`, and finishes what a crash left.
    ///
    /// # Errors
    /// `locked`, `state-unwritable`.
    pub(crate) fn take_lock(&mut self, wait: Duration) -> Result<(), Problem> {
        let what = format!("migrate {}", self.environment());
        let (lock, sound) = enter(&self.config, &self.place, &what, wait)?;
        let (lock, recovered) =
            recovery::recover_under(&self.config, self.environment(), "migrate", lock, sound)?;
        recovered.notes.iter().for_each(|note| cli::warn(note));
        let ledger = recovered.ledger.map_or_else(|| Ledger::open(&self.config), Ok)?;
        if lock.is_own() {
            recovery::refuse_unconfirmed(&ledger, self.environment())?;
        }
        self.lock = Some(lock);
        self.ledger = Some(ledger);
        Ok(())
    }

    /// Where our run is recorded: none when we hold the lock on behalf of the tool that started us.
    pub(crate) fn own_ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref().filter(|_| self.lock.as_ref().is_some_and(Lock::is_own))
    }

    /// Asks the ledger which release serves; under the lock, the answer stays true.
    ///
    /// # Errors
    /// `ledger-unreadable`.
    pub(crate) fn ask_ledger(&mut self) -> Result<(), Problem> {
        if self.ledger.is_none() {
            self.ledger = Ledger::open_read_only(&self.config)?;
        }
        let serving = self.ledger.as_ref().map(|ledger| ledger.serving(self.environment()));
        self.serving = serving.transpose()?.flatten();
        Ok(())
    }

    /// Refuses to act for a deployment that this environment's ledger does not know.
    ///
    /// # Errors
    /// `unknown-deployment`, `superseded`, `ledger-unreadable`.
    pub(crate) fn expect(&self, id: &str) -> Result<(), Problem> {
        let row = self.ledger.as_ref().map(|ledger| ledger.named_by_report(self.environment(), id));
        row.transpose()?.flatten().map(drop).ok_or_else(|| Ledger::unknown(self.environment(), id))
    }

    pub(crate) fn environment(&self) -> &str {
        self.place.environment()
    }

    /// Refuses a database under another path than the one that serves uses, and another's.
    ///
    /// # Errors
    /// Those of [`relocation::check`].
    pub(crate) fn check_database(&self) -> Result<(), Problem> {
        relocation::check(&self.config, &self.place, self.serving.as_ref(), self.ledger.as_ref()).map(drop)
    }

    /// The database, to be changed on the same connection: its schema is read once. `None` when there is
    /// no file.
    ///
    /// # Errors
    /// `database-unreadable`.
    pub(crate) fn enter(&self) -> Result<Option<Connection>, Problem> {
        self.database.as_deref().filter(|path| path.exists()).map(open_existing).transpose()
    }

    /// The database to look at, before anything is changed; `None` when there is no file.
    ///
    /// # Errors
    /// `database-unreadable`.
    pub(crate) fn look(&self) -> Result<Option<Connection>, Problem> {
        look(self.database.as_deref())
    }

    /// Database and files, read side by side: neither waits for the other.
    ///
    /// # Errors
    /// Those of [`Scene::look`] and [`Scene::source`].
    pub(crate) fn look_at_both(
        &self,
        release: Option<&str>,
    ) -> Result<(Option<Connection>, Source), Problem> {
        let (root, database) = (self.root(release)?, self.database.as_deref());
        let (db, files) = thread::scope(|scope| {
            let looking = thread::Builder::new().spawn_scoped(scope, || look(database));
            if looking.is_ok() {
                cores::step_aside();
            }
            let files = Files::read(&root);
            (looking.ok().and_then(|looking| looking.join().ok()), files)
        });
        let db = db.unwrap_or_else(|| look(database))?;
        let source = Source::of(files?, db.as_ref())?;
        Ok((db, source))
    }

    /// The migrations of the named release, else of the serving one, else of the work tree.
    ///
    /// # Errors
    /// `release-unknown`, those of [`Source::read`].
    pub(crate) fn source(&self, release: Option<&str>, db: Option<&Connection>) -> Result<Source, Problem> {
        Source::read(&self.root(release)?, db)
    }

    /// Top of the named release, else of the serving one, else of the work tree.
    ///
    /// # Errors
    /// `release-unknown`.
    pub(crate) fn root(&self, release: Option<&str>) -> Result<PathBuf, Problem> {
        let serving = self.serving.as_ref().and_then(|deployment| deployment.release.as_deref());
        match release.or(serving) {
            Some(id) => self.release_dir(id),
            None => Ok(self.config.root().to_path_buf()),
        }
    }

    /// The same, for undoing: what the records say is enough, unless another tool's table has to be
    /// kept up to date, too.
    ///
    /// # Errors
    /// As [`Scene::source`], where only the files say whose table that is.
    pub(crate) fn source_of_records(&self, db: &Connection) -> Result<Source, Problem> {
        let root = self.root(None)?;
        let is_shared =
            root.join(SETTINGS_FILE).exists() || Layout::FOREIGN.iter().any(|layout| layout.owns_table(db));
        let without = "SELECT count(*) FROM main.migrations WHERE down IS NULL";
        let is_enough = !is_shared && db.query_row(without, [], |row| row.get::<_, i64>(0)) == Ok(0);
        match if is_enough { Ok(Source::without_files(&root)) } else { Source::read(&root, Some(db)) } {
            Err(problem) if problem.kind == "migration-files" && !is_shared => {
                Ok(Source::without_files(&root))
            }
            other => other,
        }
    }

    /// Which of the deferred migrations may run now: those that the release which serves knows too,
    /// since then nothing older is left; all of them when nothing serves.
    ///
    /// # Errors
    /// Those of [`Scene::source`].
    pub(crate) fn due(
        &self,
        release: Option<&str>,
        deferred: &[Migration],
        db: Option<&Connection>,
    ) -> Result<Vec<Migration>, Problem> {
        if deferred.is_empty() {
            return Ok(Vec::new());
        }
        let Some(serving) = self.serving.as_ref().and_then(|row| row.release.as_deref()) else {
            return Ok(deferred.to_vec());
        };
        if release.is_none_or(|release| release == serving) {
            return Ok(Vec::new());
        }
        let known = self.source(Some(serving), db)?.migrations;
        let is_known = |file: &&Migration| known.iter().any(|other| other.version == file.version);
        Ok(deferred.iter().filter(is_known).cloned().collect())
    }

    /// Whether losses need an approval here: releases are promoted to this environment.
    pub(crate) fn is_guarded(&self) -> bool {
        self.config.environment(self.environment()).is_ok_and(|settings| settings.promote_from.is_some())
    }

    /// What changes nothing may look at a revision that is no release yet, by its path.
    fn release_dir(&self, id: &str) -> Result<PathBuf, Problem> {
        let dir = self.place.release(id);
        let is_elsewhere = self.lock.is_none() && Path::new(id).is_absolute();
        if (is_plain_name(id) || is_elsewhere) && dir.is_dir() {
            return Ok(dir);
        }
        Err(Problem::new("release-unknown", format!("there is no release '{id}' in {}", self.environment()))
            .hint(format!("ls {}", quoted(self.place.releases().display()))))
    }

    /// Refuses migrations without a database before anything of ours is made.
    ///
    /// # Errors
    /// Those of [`Scene::source`] and [`Scene::database_for`].
    pub(crate) fn require_database(&mut self, release: Option<&str>) -> Result<(), Problem> {
        if self.database.is_some() {
            return Ok(());
        }
        self.ask_ledger()?;
        self.database_for(&self.source(release, None)?.migrations).map(drop)
    }

    /// The database file, or `None` when none is configured and none is needed.
    ///
    /// # Errors
    /// Configuration (exit 2): migrations, but no database.
    pub(crate) fn database_for(&self, migrations: &[Migration]) -> Result<Option<&Path>, Problem> {
        if let Some(path) = &self.database {
            return Ok(Some(path));
        }
        if migrations.is_empty() {
            return Ok(None);
        }
        let environment = self.environment();
        Err(Problem::configuration(format!("environment '{environment}' has migrations but no database"))
            .detail(format!("add database = \"sqlite:instance/app.db\" to [environments.{environment}]"))
            .hint(format!("grep -n database {}", quoted(self.config.file.display()))))
    }
}

fn look(database: Option<&Path>) -> Result<Option<Connection>, Problem> {
    database.filter(|path| path.exists()).map(open_read_only).transpose()
}

/// What a database has of `source`; nothing when there is none.
///
/// # Errors
/// `database-unreadable`, `tracking-table-foreign`, `wrong-database`.
pub(crate) fn applied_in(
    db: Option<&Connection>,
    source: &Source,
    environment: &str,
) -> Result<Vec<Applied>, Problem> {
    let Some(db) = db else { return Ok(Vec::new()) };
    let applied = source.applied(db)?;
    belonging::check(&applied, environment)?;
    Ok(applied)
}
