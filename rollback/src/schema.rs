//! The schema on the way back. Whether an earlier release can live with it as it is, and taking
//! migrations back when it cannot, after a protected snapshot; or exactly those of one `migrate up`.

use std::time::Duration;

use common::cli::Run;
use common::database;
use common::exec::Sibling;
use common::journal::{self, Undo};
use common::ledger::State;
use common::migrations::{self, Applied, Source};
use common::report::{Outcome, Problem};
use common::site::Site;

const DATA_LIMIT: Duration = Duration::from_secs(30 * 60);

/// What an earlier release needs of the schema.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// It lives with it as it is.
    Nothing,
    /// Everything after this version has to be taken back.
    BackTo(i64),
}

/// Compares the database with the migrations of a release that is to serve again.
///
/// # Errors
/// `schema-behind`: the release needs migrations that were taken back; `migration-irreversible`.
pub(crate) fn need(site: &Site, release: &str) -> Result<Need, Problem> {
    let Some(path) = site.place.database(site.settings()).filter(|path| path.exists()) else {
        return Ok(Need::Nothing);
    };
    let db = database::open_read_only(&path)?;
    let source = Source::read(&site.place.release(release), Some(&db))?;
    let applied = source.applied(&db)?;
    if let Some(first) = migrations::compare(&source.migrations, &applied).pending.first() {
        return Err(behind(site, &first.file));
    }
    let unknown = |row: &&Applied| source.migrations.iter().all(|file| file.version != row.version);
    for row in applied.iter().filter(unknown) {
        if row.after || changed(site, row)? {
            return back_to(site, &applied, row.version);
        }
    }
    Ok(Need::Nothing)
}

/// Whether the deployment that applied it could not leave older code running.
fn changed(site: &Site, row: &Applied) -> Result<bool, Problem> {
    match &row.deployment {
        Some(id) => Ok(journal::grew(&site.ledger, id)? == Some(false)),
        None => Ok(false),
    }
}

fn behind(site: &Site, file: &str) -> Problem {
    let environment = &site.environment;
    Problem::new("schema-behind", format!("the release needs the migration {file}, which was taken back"))
        .hint(format!("deploy {environment} --revision REVISION   # runs it again"))
}

/// Refuses before anything is touched when one of those that have to go has no way back.
fn back_to(site: &Site, applied: &[Applied], oldest: i64) -> Result<Need, Problem> {
    if let Some(stuck) = applied.iter().find(|row| row.version >= oldest && row.down.is_none()) {
        return Err(Problem::new(
            "migration-irreversible",
            format!("migration {} ({}) has no way back", stuck.version, stuck.name),
        )
        .detail("the earlier release could not live with what it did; nothing was changed")
        .hint(format!("deploy {}   # a revision that mends it", site.environment)));
    }
    let before = applied.iter().map(|row| row.version).filter(|version| *version < oldest).max();
    Ok(Need::BackTo(before.unwrap_or(0)))
}

/// Takes everything after `version` back, in a standstill; what goes is in a protected snapshot.
///
/// # Errors
/// When the snapshot or the way down failed: nothing is half undone.
pub(crate) fn take_back(
    run: &mut Run,
    site: &Site,
    id: &str,
    version: i64,
    release: &str,
) -> Result<(), Problem> {
    protect(run, site, id)?;
    let undo = Undo::RedoMigrations { release: release.to_owned() };
    journal::record(site, id, &undo, || {
        tool(run, site, "migrate", &["down", "--to", &version.to_string()], DATA_LIMIT)
    })
}

/// Takes the migrations of `operation` back; the report then says `rolled_back`.
///
/// # Errors
/// When the snapshot, the way down or the proof failed: nothing is half undone.
pub(crate) fn undo(run: &mut Run, site: &Site, operation: &str) -> Result<(), Problem> {
    protect(run, site, operation)?;
    tool(run, site, "migrate", &["down", "--deployment", operation], DATA_LIMIT)?;
    site.ledger.set_state(operation, State::RolledBack)?;
    run.report.conclude(Outcome::RolledBack);
    run.report.serving = site.serving_revision()?;
    let limit = site.settings().deadlines.verify.0;
    if let Err(problem) = tool(run, site, "verify", &["--only", "service,identity,database"], limit) {
        run.warn(&format!("after the way back: {problem}"));
    }
    Ok(())
}

/// A snapshot that is never pruned, of all that the way back may take.
fn protect(run: &mut Run, site: &Site, id: &str) -> Result<(), Problem> {
    let args = ["create", "--reason", "pre-rollback", "--protect", "--deployment", id];
    tool(run, site, "backup", &args, DATA_LIMIT)
}

fn tool(
    run: &mut Run,
    site: &Site,
    name: &'static str,
    args: &[&str],
    limit: Duration,
) -> Result<(), Problem> {
    let report = site.run_sibling(&Sibling::find(name)?, args, limit)?;
    let verdict = report.verdict();
    run.adopt(report);
    verdict
}
