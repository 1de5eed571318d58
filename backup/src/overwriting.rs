//! Another content into a database in use: what it holds is set aside, its writers are kept out for a
//! moment, and they see the change as one great transaction.
//!
//! One connection does all of it, so that nobody can write between what is set aside and the change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::backups::{Backup, DATABASE_PLAIN, FileFacts};
use common::cli::Run;
use common::database;
use common::fault;
use common::interrupt;
use common::report::{Problem, quoted};
use rusqlite::{Connection, ErrorCode};

use crate::content::{self, number};
use crate::site::Site;
use crate::{archive, pages, provenance, provisional};

/// Times that we ask readers and writers of the live database to let us in, and the pause between:
/// SQLite's own pauses, which grow, would never meet the short gaps of a steady writer. 30 s.
const TRIES: i32 = 150_000;
const PAUSE: Duration = Duration::from_micros(200);

/// A copy of the live database as it was at one moment.
pub(crate) struct Taken {
    live: Connection,
    pub(crate) copy: PathBuf,
    facts: FileFacts,
    /// What only the commits of others change.
    version: i64,
}

impl Taken {
    /// # Errors
    /// `database-unreadable`, `database-busy`, `snapshot-failed`.
    pub(crate) fn take(live: &Path, copy: PathBuf) -> Result<Self, Problem> {
        let live = database::open_existing(live)?;
        let prepare = || {
            live.execute_batch("PRAGMA synchronous = EXTRA; PRAGMA wal_autocheckpoint = 0; BEGIN")?;
            live.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
            number(&live, "data_version")
        };
        let version = prepare().map_err(|error| content::unreadable(&error))?;
        let facts = archive::snapshot_in(&live, &copy)?;
        live.execute_batch("COMMIT").map_err(|error| content::unreadable(&error))?;
        Ok(Self { live, copy, facts, version })
    }

    /// Brings the copy up to date, as far as others have written since.
    fn refresh(&mut self) -> Result<(), Problem> {
        let version = number(&self.live, "data_version").map_err(|error| content::unreadable(&error))?;
        if version != self.version {
            self.facts = archive::refresh_in(&self.live, &self.copy)?;
            self.version = version;
        }
        archive::sync(&self.copy)
    }

    /// Keeps other writers out; with a rollback journal readers, too, once pages are written.
    fn hold(&mut self) -> Result<(), Problem> {
        self.live
            .busy_handler(Some(|tries| {
                std::thread::sleep(PAUSE);
                tries < TRIES
            }))
            .and_then(|()| self.live.execute_batch("BEGIN IMMEDIATE"))
            .map_err(|error| refused(&self.live, &error))?;
        self.refresh()
    }

    /// Puts the content of `image`, which has the page size of the live database, in the place of its
    /// own, after a protected backup of that.
    ///
    /// # Errors
    /// `restore-failed`, `database-busy`, those of [`provisional::keep`]: the database is as it was.
    pub(crate) fn overwrite(
        mut self,
        run: &mut Run,
        site: &Site<'_>,
        image: &Path,
    ) -> Result<Overwritten, Problem> {
        // Most of it is on disk then before anybody waits.
        run.step("backup.refresh", || {
            let failed = |error| content::unreadable(&error);
            self.live.execute_batch("BEGIN; SELECT count(*) FROM sqlite_master").map_err(failed)?;
            self.refresh()?;
            self.live.execute_batch("COMMIT").map_err(failed)
        })?;
        run.step("backup.hold", || self.hold())?;
        let kept = provisional::keep(run, site, &self.copy, &self.facts)?;
        run.detail("protected_snapshot", &kept.manifest.id);
        interrupt::check()?;
        interrupt::shield();
        run.step("backup.restore", || self.apply(&kept, image))?;
        Ok(Overwritten { live: self.live, version: self.version, kept: kept.manifest.id })
    }

    fn apply(&self, kept: &Backup, image: &Path) -> Result<(), Problem> {
        pages::exchange(&self.live, &kept.directory.join(DATABASE_PLAIN), image)?;
        fault::point("restore.before-commit");
        pages::commit(&self.live).map_err(|error| refused(&self.live, &error))?;
        fault::point("restore.after-commit");
        Ok(())
    }
}

fn refused(live: &Connection, error: &rusqlite::Error) -> Problem {
    let path = live.path().unwrap_or_default();
    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) {
        return Problem::new("database-busy", format!("{path} is kept locked by another process"))
            .detail(error.to_string())
            .hint(format!("fuser -v {}", quoted(path)))
            .retryable();
    }
    Problem::new("restore-failed", format!("cannot restore into {path}")).detail(error.to_string())
}

/// The live database with its new content.
pub(crate) struct Overwritten {
    live: Connection,
    version: i64,
    /// The protected backup of what was there.
    kept: String,
}

impl Overwritten {
    pub(crate) fn connection(&self) -> &Connection {
        &self.live
    }

    /// Whether nobody has written since, as far as the connection's open transaction sees it.
    pub(crate) fn is_unchanged(&self) -> bool {
        number(&self.live, "data_version").is_ok_and(|now| now == self.version)
    }

    /// Brings the pages from the log into the file, which the app's next commit would have to, and tags
    /// what serves.
    pub(crate) fn settle(self, site: &Site<'_>) {
        provenance::tag(site, &self.kept);
        let _ = self.live.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }
}
