//! `backup ENV restore ID`: puts the content of a backup into the live database in one step.
//!
//! The file itself stays: processes that have it open see the content change, as by one great
//! transaction. Only a missing file, or one that is no database, gets a new one in its place.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use common::backups::Backup;
use common::cli::Run;
use common::database;
use common::interrupt;
use common::layout::is_plain_name;
use common::ledger::Ledger;
use common::recovery;
use common::report::{OrProblem, Problem, quoted};
use rusqlite::Connection;

use crate::content::Header;
use crate::difference::{self, Difference, Lost};
use crate::further::Further;
use crate::operation::Operation;
use crate::overwriting::Taken;
use crate::site::Site;
use crate::{pages, provisional, replacement, salvaging, second, space, verification};

/// Tables named in a refusal.
const NAMED: usize = 20;

/// What is asked for.
pub(crate) struct Request<'a> {
    pub(crate) id: &'a str,
    pub(crate) discard_writes: bool,
    /// Readable rows of what is there are put upon the backup.
    pub(crate) salvage: bool,
    /// The rollback it is done for; what is set aside has its name.
    pub(crate) deployment: Option<&'a str>,
    /// From the copy in the second place, whatever the first has.
    pub(crate) second: bool,
    pub(crate) wait: Duration,
}

/// Restores a backup under the lock.
///
/// # Errors
/// Usage (exit 2) for an unknown id; `backup-damaged`, `would-lose-writes`,
/// `database-busy`, `database-in-use`, `no-space`, `files-outside`, `files-unreadable`: the database
/// is as it was. `restore-unfaithful`: it is not what the backup holds. `files-unplaced`: it is, and
/// not all further files are.
pub(crate) fn restore(run: &mut Run, site: &Site<'_>, request: &Request<'_>) -> Result<(), Problem> {
    if let Some(id) = request.deployment.filter(|id| !is_plain_name(id)) {
        return Err(
            Problem::usage(format!("'{id}' is no deployment")).hint(format!("status {}", site.name()))
        );
    }
    second::locate(site, request.id, request.second)?;
    let lock = site.lock("backup restore", request.wait)?;
    recovery::refuse_unconfirmed(&Ledger::open(site.config)?, site.name())?;
    let mut backup = second::locate(site, request.id, request.second)?;
    let operation = Operation::begin(site)?;
    run.begin(site.name(), Some(&operation.id));
    run.detail("restored", request.id);
    run.detail("directory", backup.directory.display().to_string());
    let completed = if backup.manifest.is_provisional() {
        run.step("backup.complete", || provisional::complete(site, &mut backup))
    } else {
        Ok(false)
    };
    let result = completed.and_then(|_| put_back(run, site, &backup, request, lock.is_own()));
    operation.end(run, &result);
    if result.is_ok() && run.report.changed {
        provisional::follow_restore(run, site, &lock);
    }
    second::follow(run, site, &lock);
    result
}

/// What has to be done with the database.
enum Way {
    Nothing,
    /// A new file: there is none, or none that SQLite can open.
    NewFile,
    Overwrite(Taken),
}

/// Further files only `with_files`: an undo brings back the database alone, while requests wait.
fn put_back(
    run: &mut Run,
    site: &Site<'_>,
    backup: &Backup,
    request: &Request<'_>,
    with_files: bool,
) -> Result<(), Problem> {
    site.refuse_relocated()?;
    let live = site.database().ok_or_else(|| {
        Problem::configuration(format!("'{}' has no database", site.name()))
            .hint(format!("grep -n database {}", quoted(site.config.file.display())))
    })?;
    run.step("backup.files", || verification::check_restored(backup))?;
    let scratch = site.scratch()?;
    let raw = scratch.path().join("raw.db");
    run.step("backup.unpack", || verification::unpack(backup, &raw))
        .map_err(|problem| space::explain(problem, scratch.path()))?;
    let way = if request.salvage && live.exists() {
        salvage(run, &raw, &live)?;
        Way::NewFile
    } else {
        decide(run, site, backup, &raw, &live, request.discard_writes)?
    };
    let mut further = if with_files { Some(Further::begin(run, site, backup)?) } else { None };
    let done = match way {
        Way::Nothing => {
            run.skip("backup.restore", "the database holds this content already");
            Ok(())
        }
        Way::NewFile => {
            let stamp = request.deployment.map_or_else(stamp_of_now, str::to_owned);
            replace(run, backup, (&raw, &live), &stamp)
        }
        Way::Overwrite(taken) => overwrite(run, site, backup, &raw, taken),
    };
    match &mut further {
        Some(further) => further.finish(run, site, done),
        None => done,
    }
}

/// Puts what can be read of the live database upon the unpacked backup.
fn salvage(run: &mut Run, raw: &Path, live: &Path) -> Result<(), Problem> {
    replacement::refuse_holders(live)?;
    let damaged = raw.with_file_name("damaged.db");
    let salvaged = run.step("backup.salvage", || {
        for (file, copy) in database::files_of(live).iter().zip(database::files_of(&damaged)) {
            if file.exists() {
                std::fs::copy(file, &copy)
                    .or_problem("state-unwritable", || format!("cannot copy {}", file.display()))?;
            }
        }
        salvaging::merge(raw, &damaged)
    })?;
    run.detail("salvaged", salvaged);
    Ok(())
}

fn decide(
    run: &mut Run,
    site: &Site<'_>,
    backup: &Backup,
    raw: &Path,
    live: &Path,
    discard_writes: bool,
) -> Result<Way, Problem> {
    if !live.exists() {
        return Ok(Way::NewFile);
    }
    // Before SQLite opens it: whoever closes a file gives up all of its process's locks on it.
    let header = Header::read(live)?;
    let copy = raw.with_file_name("live.db");
    let taken = run.step("backup.snapshot", || Ok(Taken::take(live, copy.clone())))?;
    let difference = run
        .step("backup.compare", || compare(backup, raw, &taken))
        .map_err(|problem| space::explain(problem, &copy))?;
    if matches!(difference, Difference::None) {
        return Ok(Way::Nothing);
    }
    refuse_loss(run, site, backup, &difference, discard_writes)?;
    if !header.valid {
        return Ok(Way::NewFile);
    }
    if header.page_size != backup.manifest.page_size || backup.manifest.raw_bytes == 0 {
        run.step("backup.resize", || pages::resize(raw, header.page_size, &verification::expected(backup)))
            .map_err(|problem| space::explain(problem, &copy))?;
    }
    taken.map(Way::Overwrite)
}

/// Compares a copy of the live database, so that its writers are not kept waiting.
fn compare(backup: &Backup, raw: &Path, taken: &Result<Taken, Problem>) -> Result<Difference, Problem> {
    match taken {
        Ok(taken) => difference::compare(&taken.copy, raw, &verification::expected(backup)),
        Err(problem) if common::space::is_full(raw.parent().unwrap_or(raw)) => Err(problem.clone()),
        Err(problem) => Ok(Difference::Unknown(problem.clone())),
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
    taken: Taken,
) -> Result<(), Problem> {
    let written = taken.overwrite(run, site, raw)?;
    run.report.changed = true;
    let confirmed = confirm(run, backup, raw, written.connection(), &|| written.is_unchanged());
    written.settle(site);
    confirmed
}

/// Makes a new file where none is, or where one is that SQLite cannot open.
fn replace(run: &mut Run, backup: &Backup, (raw, live): (&Path, &Path), stamp: &str) -> Result<(), Problem> {
    let moved = run.step("backup.aside", || replacement::move_aside(live, stamp))?;
    if !moved.is_empty() {
        run.report.changed = true;
        run.detail("moved_aside", moved.iter().map(|path| path.display().to_string()).collect::<Vec<_>>());
    }
    interrupt::shield();
    run.step("backup.restore", || replacement::put_new(raw, live))?;
    run.report.changed = true;
    let target = database::open_read_only(live)?;
    confirm(run, backup, raw, &target, &|| true)
}

fn stamp_of_now() -> String {
    common::report::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Compares the live database with what was unpacked. Once the app writes again it differs, rightly;
/// `unchanged` tells whether it has.
fn confirm(
    run: &mut Run,
    backup: &Backup,
    raw: &Path,
    target: &Connection,
    unchanged: &dyn Fn() -> bool,
) -> Result<(), Problem> {
    let id = &backup.manifest.id;
    let begun = Instant::now();
    target
        .execute_batch("BEGIN")
        .or_problem("restore-unfaithful", || format!("cannot read what was restored from {id}"))?;
    let (same, unchanged) = (pages::is_same(target, raw), unchanged());
    let _ = target.execute_batch("COMMIT");
    let problem = match same {
        Ok(true) => None,
        _ if !unchanged => {
            run.skip("backup.content", "the app has written since");
            return Ok(());
        }
        Ok(false) => Some("the content differs".to_owned()),
        Err(error) => Some(error.to_string()),
    };
    let problem = problem.map(|why| {
        Problem::new("restore-unfaithful", format!("the database is not what backup {id} holds"))
            .detail(why)
            .hint(format!("backup {} list", backup.manifest.environment))
    });
    run.end_step("backup.content", None, begun.elapsed(), problem.as_ref());
    problem.map_or(Ok(()), Err)
}
