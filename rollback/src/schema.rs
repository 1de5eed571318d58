//! The schema on the way back: taking migrations back as the `ladder` says, after a protected
//! snapshot; or exactly those of one `migrate up`.

use std::time::Duration;

use common::cli::Run;
use common::exec::Sibling;
use common::journal::{self, Undo};
use common::ledger::State;
use common::report::{Outcome, Problem};
use common::site::Site;

use crate::ladder::{Choice, Rung};

const DATA_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Takes the schema back in a standstill, the way of `choice`; what goes is in a protected snapshot.
///
/// # Errors
/// When the snapshot or the way back failed: nothing is half undone.
pub(crate) fn take_back(
    run: &mut Run,
    site: &Site,
    id: &str,
    choice: &Choice,
    release: &str,
) -> Result<(), Problem> {
    let Some((name, words)) = command(choice, id) else { return Ok(()) };
    let release = release.to_owned();
    let undo = if matches!(choice.rung, Rung::Salvage { .. }) {
        // The damaged files themselves are the snapshot: they are set aside.
        Undo::PutBackDatabase { release }
    } else {
        protect(run, site, id)?;
        Undo::RedoMigrations { release }
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    journal::record(site, id, &undo, || tool(run, site, name, &words, DATA_LIMIT))
}

/// The tool that does it, with its words; none where the schema stays.
fn command(choice: &Choice, id: &str) -> Option<(&'static str, Vec<String>)> {
    let down = |to: &i64, rest: &[&str]| {
        let mut words = spell(&["down", "--to", &to.to_string(), "--list"]);
        words.extend(spell(rest));
        if let Some(dir) = choice.prepared().filter(|_| !rest.is_empty()) {
            words.extend(spell(&["--prepared", &dir.display().to_string()]));
        }
        Some(("migrate", words))
    };
    match &choice.rung {
        Rung::Code => None,
        Rung::Down { to, backup: None } => down(to, &[]),
        Rung::Down { to, backup: Some(backup) } => down(to, &["--backup", backup]),
        Rung::InPlace { to, backup } => down(to, &["--backup", backup, "--in-place"]),
        Rung::Salvage { backup } => {
            Some(("backup", spell(&["restore", backup, "--salvage", "--deployment", id])))
        }
        Rung::Discard { backup } => Some(("backup", spell(&["restore", backup, "--discard-writes"]))),
    }
}

fn spell(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
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
