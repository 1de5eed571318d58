//! `backup ENV restore ID`: puts the content of a backup into the live database in one step.
//!
//! The file itself stays: processes that have it open see the content change, as by one great
//! transaction. Only a missing file, or one that is no database, gets a new one in its place.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use common::backups::{self, Backup};
use common::cli::Run;
use common::database;
use common::fault;
use common::interrupt;
use common::ledger::Ledger;
use common::recovery;
use common::report::{OrProblem, Problem, quoted};
use rusqlite::backup::{Backup as PageCopy, StepResult};
use rusqlite::{Connection, ErrorCode};

use crate::content::{self, Header, number};
use crate::creation::{self, Request};
use crate::difference::{self, Difference, Lost};
use crate::operation::Operation;
use crate::site::Site;
use crate::{replacement, space, verification};

/// How long we wait for readers and writers of the live database to let us in.
const ENTRY: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_micros(200);
/// Tables named in a refusal.
const NAMED: usize = 20;

/// Restores backup `id` under the lock.
///
/// # Errors
/// Usage (exit 2) for an unknown id; `backup-damaged`, `would-lose-writes`, `page-size`,
/// `database-busy`, `database-in-use`, `no-space`: the database is as it was.
/// `restore-unfaithful`: it is not what the backup holds.
pub(crate) fn restore(
    run: &mut Run,
    site: &Site<'_>,
    id: &str,
    discard_writes: bool,
    wait: Duration,
) -> Result<(), Problem> {
    backups::find(&site.place, id)?;
    let _lock = site.lock("backup restore", wait)?;
    recovery::refuse_unconfirmed(&Ledger::open(site.config)?, site.name())?;
    let backup = backups::find(&site.place, id)?;
    let operation = Operation::begin(site)?;
    run.begin(site.name(), Some(&operation.id));
    run.detail("restored", id);
    let result = put_back(run, site, &backup, discard_writes);
    operation.end(run, &result);
    result
}

fn put_back(run: &mut Run, site: &Site<'_>, backup: &Backup, discard_writes: bool) -> Result<(), Problem> {
    let live = site.database().ok_or_else(|| {
        Problem::configuration(format!("'{}' has no database", site.name()))
            .hint(format!("grep -n database {}", quoted(site.config.file.display())))
    })?;
    run.step("backup.files", || verification::check_files(backup))?;
    let scratch = site.scratch()?;
    let raw = scratch.path().join("raw.db");
    let explain = |problem| space::explain(problem, scratch.path());
    run.step("backup.unpack", || verification::unpack(backup, &raw)).map_err(explain)?;
    if !live.exists() {
        return replace(run, backup, &raw, &live);
    }
    let copy = scratch.path().join("live.db");
    let difference = run.step("backup.compare", || compare(backup, &raw, &live, &copy)).map_err(explain)?;
    if matches!(difference, Difference::None) {
        run.skip("backup.restore", "the database holds this content already");
        return Ok(());
    }
    refuse_loss(run, site, backup, &difference, discard_writes)?;
    if !Header::read(&live)?.valid {
        return replace(run, backup, &raw, &live);
    }
    overwrite(run, site, backup, &raw, &live)
}

/// Compares a copy of the live database, so that its writers are not kept waiting.
fn compare(backup: &Backup, raw: &Path, live: &Path, copy: &Path) -> Result<Difference, Problem> {
    match database::snapshot(live, copy, &mut |_, _| {}) {
        Ok(()) => difference::compare(copy, raw, &verification::expected(backup)),
        Err(problem) if common::space::is_full(copy.parent().unwrap_or(copy)) => Err(problem),
        Err(problem) => Ok(Difference::Unknown(problem)),
    }
}

fn refuse_loss(
    run: &mut Run,
    site: &Site<'_>,
    backup: &Backup,
    difference: &Difference,
    accepted: bool,
) -> Result<(), Problem> {
    let id = &backup.manifest.id;
    let detail = match difference {
        Difference::None | Difference::Pages => return Ok(()),
        Difference::Unknown(problem) => format!("what was written cannot be counted: {problem}"),
        Difference::Rows(lost) => {
            run.detail("lost", lost);
            describe(lost)
        }
    };
    if accepted {
        return Ok(());
    }
    Err(Problem::new("would-lose-writes", format!("what was written since backup {id} would be lost"))
        .detail(detail)
        .hint(format!("backup {} restore {id} --discard-writes", site.name())))
}

fn describe(lost: &BTreeMap<String, Lost>) -> String {
    let line = |(name, lost): (&String, &Lost)| {
        format!("{name}: {} rows written, {} deleted", lost.written, lost.deleted)
    };
    let mut lines: Vec<String> = lost.iter().take(NAMED).map(line).collect();
    if lost.is_empty() {
        lines.push("the schema differs".into());
    } else if lost.len() > NAMED {
        lines.push(format!("and {} tables more", lost.len() - NAMED));
    }
    lines.join("\n")
}

/// Changes the database through SQLite, after a protected snapshot of what is there.
fn overwrite(
    run: &mut Run,
    site: &Site<'_>,
    backup: &Backup,
    raw: &Path,
    live: &Path,
) -> Result<(), Problem> {
    refuse_page_size(backup, live)?;
    let gate = rescue(run, site, live)?;
    interrupt::check()?;
    interrupt::shield();
    let (target, version) = run.step("backup.restore", || apply(raw, live, gate))?;
    run.report.changed = true;
    let unchanged = || number(&target, "data_version").is_ok_and(|now| now == version);
    confirm(run, backup, &target, &unchanged)
}

fn refuse_page_size(backup: &Backup, live: &Path) -> Result<(), Problem> {
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
fn rescue(run: &mut Run, site: &Site<'_>, live: &Path) -> Result<Connection, Problem> {
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
fn apply(raw: &Path, live: &Path, gate: Connection) -> Result<(Connection, i64), Problem> {
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

/// Makes a new file where none is, or where one is that SQLite cannot open.
fn replace(run: &mut Run, backup: &Backup, raw: &Path, live: &Path) -> Result<(), Problem> {
    let stamp = common::report::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let moved = run.step("backup.aside", || replacement::move_aside(live, &stamp))?;
    if !moved.is_empty() {
        run.report.changed = true;
        run.detail("moved_aside", moved.iter().map(|path| path.display().to_string()).collect::<Vec<_>>());
    }
    interrupt::shield();
    run.step("backup.restore", || replacement::put_new(raw, live))?;
    run.report.changed = true;
    let target = database::open_read_only(live)?;
    confirm(run, backup, &target, &|| true)
}

/// Compares the live database with the manifest. Once the app writes again it differs, rightly;
/// `unchanged` tells whether it has.
fn confirm(
    run: &mut Run,
    backup: &Backup,
    target: &Connection,
    unchanged: &dyn Fn() -> bool,
) -> Result<(), Problem> {
    let id = &backup.manifest.id;
    let expected = verification::expected(backup);
    let begun = Instant::now();
    target
        .execute_batch("BEGIN")
        .or_problem("restore-unfaithful", || format!("cannot read what was restored from {id}"))?;
    let held = content::read(target);
    let ended = target.execute_batch("COMMIT");
    let problem = match held {
        Ok(held) if held == expected && ended.is_ok() => None,
        _ if !unchanged() => {
            run.skip("backup.content", "the app has written since");
            return Ok(());
        }
        Ok(_) => Some("the content differs".to_owned()),
        Err(problem) => Some(problem.to_string()),
    };
    let problem = problem.map(|why| {
        Problem::new("restore-unfaithful", format!("the database is not what backup {id} holds"))
            .detail(why)
            .hint(format!("backup {} list", backup.manifest.environment))
    });
    run.end_step("backup.content", None, begun.elapsed(), problem.as_ref());
    problem.map_or(Ok(()), Err)
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
