//! Another content into a database in use: its writers are let in one by one, kept out for a
//! moment, and see the change as one great transaction.

use std::path::Path;
use std::time::{Duration, Instant};

use common::backups::Backup;
use common::cli::Run;
use common::database;
use common::fault;
use common::report::{OrProblem, Problem, quoted};
use rusqlite::backup::{Backup as PageCopy, StepResult};
use rusqlite::{Connection, ErrorCode};

use crate::content::{self, Header, number};
use crate::creation::{self, Request};
use crate::site::Site;

/// How long we wait for readers and writers of the live database to let us in.
const ENTRY: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_micros(200);

/// Refuses what SQLite cannot do.
///
/// # Errors
/// `page-size`.
pub(crate) fn refuse_page_size(backup: &Backup, live: &Path) -> Result<(), Problem> {
    let header = Header::read(live)?;
    let (has, wants) = (header.page_size, backup.manifest.page_size);
    if !header.wal || has == wants {
        return Ok(());
    }
    Err(Problem::new("page-size", "the page size cannot change while the database is in WAL mode")
        .detail(format!("the live database has {has}, the backup {wants}"))
        .hint(format!(
            "sqlite3 {} 'PRAGMA journal_mode=DELETE'   # with the app stopped",
            quoted(live.display())
        )))
}

/// Takes the protected snapshot and then keeps writers out, so that all they had acknowledged is
/// in it. Only when they wrote meanwhile is it taken once more, while they wait.
///
/// # Errors
/// Those of a creation; `database-busy`.
pub(crate) fn rescue(run: &mut Run, site: &Site<'_>, live: &Path) -> Result<Connection, Problem> {
    let watcher = database::open_read_only(live)?;
    let version = || number(&watcher, "data_version").map_err(|error| content::unreadable(&error));
    let before = version()?;
    take_snapshot(run, site)?;
    let gate = run.step("backup.hold", || hold_writers(live))?;
    if version()? != before {
        take_snapshot(run, site)?;
    }
    Ok(gate)
}

fn take_snapshot(run: &mut Run, site: &Site<'_>) -> Result<(), Problem> {
    let request = Request {
        reason: "pre-restore",
        protect: true,
        deployment: run.report.deployment.clone(),
        rescue: true,
    };
    if let Some(snapshot) = creation::create(run, site, &request)? {
        run.detail("protected_snapshot", snapshot.manifest.id);
    }
    Ok(())
}

/// Keeps asking: SQLite's own waiting would never meet the short gaps of a steady writer.
fn hold_writers(live: &Path) -> Result<Connection, Problem> {
    let gate = database::open_existing(live)?;
    let limit = Instant::now() + ENTRY;
    gate.busy_timeout(Duration::ZERO).map_err(|error| content::unreadable(&error))?;
    while let Err(error) = gate.execute_batch("BEGIN IMMEDIATE") {
        if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) || Instant::now() > limit {
            return Err(busy(live).detail(error.to_string()));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(gate)
}

/// Copies all pages in one transaction; an error means that nothing was copied. Gives the
/// connection and its `data_version`, which only the commits of others change.
///
/// # Errors
/// `restore-failed`, `database-busy`.
pub(crate) fn apply(raw: &Path, live: &Path, gate: Connection) -> Result<(Connection, i64), Problem> {
    let title = || format!("cannot restore into {}", live.display());
    let source = source_of(raw)?;
    let mut target = database::open_existing(live)?;
    let prepare = || {
        target.execute_batch("PRAGMA synchronous = EXTRA; PRAGMA wal_autocheckpoint = 0;")?;
        target.busy_timeout(Duration::ZERO)?;
        number(&target, "data_version")
    };
    let version = prepare().or_problem("restore-failed", title)?;
    let limit = Instant::now() + ENTRY;
    let copy = PageCopy::new(&source, &mut target).or_problem("restore-failed", title)?;
    drop(gate);
    fault::point("restore.before-commit");
    while copy.step(-1).or_problem("restore-failed", title)? != StepResult::Done {
        if Instant::now() > limit {
            return Err(busy(live));
        }
        std::thread::sleep(PAUSE);
    }
    fault::point("restore.after-commit");
    drop(copy);
    let _ = target.busy_timeout(ENTRY);
    Ok((target, version))
}

/// The unpacked snapshot without the mark of WAL mode: the live database keeps its own mode.
fn source_of(raw: &Path) -> Result<Connection, Problem> {
    let connection = database::open_existing(raw)?;
    connection
        .pragma_update(None, "journal_mode", "DELETE")
        .or_problem("restore-failed", || format!("cannot prepare {}", raw.display()))?;
    Ok(connection)
}

fn busy(live: &Path) -> Problem {
    Problem::new("database-busy", format!("{} is kept locked by another process", live.display()))
        .hint(format!("fuser -v {}", quoted(live.display())))
        .retryable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_commits_of_others_count_as_written_since() {
        for mode in ["WAL", "DELETE"] {
            let dir = tempfile::tempdir().unwrap();
            let (raw, live) = (dir.path().join("raw.db"), dir.path().join("live.db"));
            let script = format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(a);");
            Connection::open(&raw).unwrap().execute_batch(&script).unwrap();
            let app = Connection::open(&live).unwrap();
            app.execute_batch(&format!("{script} INSERT INTO t VALUES (1)")).unwrap();
            let gate = hold_writers(&live).unwrap();
            let (target, version) = apply(&raw, &live, gate).unwrap();
            assert_eq!(number(&target, "data_version").unwrap(), version, "{mode}");
            app.execute_batch("INSERT INTO t VALUES (2)").unwrap();
            assert_ne!(number(&target, "data_version").unwrap(), version, "{mode}");
        }
    }
}
