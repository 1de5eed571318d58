//! The schema on the way back: taking migrations back as the `ladder` says, after a protected
//! snapshot; or exactly those of one `migrate up`.

use std::time::Duration;

use common::cli::Run;
use common::exec::Sibling;
use common::journal::{self, Undo};
use common::ledger::State;
use common::report::{Outcome, Problem};
use common::site::Site;

use crate::ladder::Rung;

const DATA_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Takes the schema back in a standstill, the way of `rung`; what goes is in a protected snapshot.
///
/// # Errors
/// When the snapshot or the way back failed: nothing is half undone.
pub(crate) fn take_back(
    run: &mut Run,
    site: &Site,
    id: &str,
    rung: &Rung,
    release: &str,
) -> Result<(), Problem> {
    let version;
    let (name, mut words) = match rung {
        Rung::Code => return Ok(()),
        Rung::Down { to, .. } | Rung::InPlace { to, .. } => {
            version = to.to_string();
            ("migrate", vec!["down", "--to", version.as_str(), "--list"])
        }
        Rung::Salvage { backup } => {
            let undo = Undo::PutBackDatabase { release: release.to_owned() };
            let words = ["restore", backup.as_str(), "--salvage", "--deployment", id];
            // The damaged files themselves are the snapshot: they are set aside.
            return journal::record(site, id, &undo, || tool(run, site, "backup", &words, DATA_LIMIT));
        }
        Rung::Discard { backup } => ("backup", vec!["restore", backup.as_str(), "--discard-writes"]),
    };
    match rung {
        Rung::Down { backup: Some(backup), .. } => words.extend(["--backup", backup]),
        Rung::InPlace { backup, .. } => words.extend(["--backup", backup, "--in-place"]),
        _ => {}
    }
    protect(run, site, id)?;
    let undo = Undo::RedoMigrations { release: release.to_owned() };
    journal::record(site, id, &undo, || tool(run, site, name, &words, DATA_LIMIT))
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
