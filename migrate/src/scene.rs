//! What a verb acts on: one environment, its database, and the migrations meant for it.

use std::path::{Path, PathBuf};

use common::config::Config;
use common::database::open_read_only;
use common::layout::Place;
use common::ledger::{Deployment, Ledger};
use common::migrations::{self, Applied, Migration};
use common::report::Problem;

/// One environment with its place and database.
pub(crate) struct Scene {
    pub(crate) config: Config,
    pub(crate) place: Place,
    /// The file need not exist yet.
    pub(crate) database: Option<PathBuf>,
    /// The deployment that serves, when there is one.
    pub(crate) serving: Option<Deployment>,
}

/// The migrations of one release or of the work tree.
pub(crate) struct Source {
    pub(crate) dir: PathBuf,
    pub(crate) migrations: Vec<Migration>,
}

impl Scene {
    /// # Errors
    /// Usage for an unknown environment; `ledger-unreadable`.
    pub(crate) fn new(config: Config, environment: &str) -> Result<Self, Problem> {
        let place = Place::new(&config, environment);
        let database = place.database(config.environment(environment)?);
        let mut scene = Self { config, place, database, serving: None };
        scene.look_again()?;
        Ok(scene)
    }

    /// Asks the ledger anew which release serves; it may have changed while we waited.
    pub(crate) fn look_again(&mut self) -> Result<(), Problem> {
        self.serving = match Ledger::open_read_only(&self.config)? {
            Some(ledger) => ledger.serving(self.environment())?,
            None => None,
        };
        Ok(())
    }

    pub(crate) fn environment(&self) -> &str {
        self.place.environment()
    }

    /// The migrations of the named release, else of the serving one, else of the work tree.
    ///
    /// # Errors
    /// `release-unknown`, `migration-files`.
    pub(crate) fn source(&self, release: Option<&str>) -> Result<Source, Problem> {
        let serving = self.serving.as_ref().and_then(|deployment| deployment.release.as_deref());
        let dir = match release.or(serving) {
            Some(id) => self.release_dir(id)?,
            None => work_tree(&self.config),
        };
        Ok(Source { migrations: migrations::read(&dir)?, dir })
    }

    fn release_dir(&self, id: &str) -> Result<PathBuf, Problem> {
        let is_plain = !id.is_empty() && !id.contains('/') && !id.starts_with('.');
        let dir = self.place.release(id);
        if is_plain && dir.is_dir() {
            return Ok(dir.join("migrations"));
        }
        Err(Problem::new("release-unknown", format!("there is no release '{id}' in {}", self.environment()))
            .hint(format!("ls {}", self.place.releases().display())))
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
            .hint(format!("grep -n database {}", self.config.file.display())))
    }
}

/// `migrations/` beside deploy.toml.
pub(crate) fn work_tree(config: &Config) -> PathBuf {
    config.root().join("migrations")
}

/// What `database` has; nothing when there is no file.
///
/// # Errors
/// `database-unreadable`, `tracking-table-foreign`.
pub(crate) fn applied_in(database: &Path) -> Result<Vec<Applied>, Problem> {
    if !database.exists() {
        return Ok(Vec::new());
    }
    migrations::read_applied(&open_read_only(database)?)
}
