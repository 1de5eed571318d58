//! A command that takes backups away, such as rclone or restic: it gets a finished directory, and
//! the secrets of the environment. Which ones it has taken is noted here, for this command line.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use common::backups::{self, Backup};
use common::durable;
use common::exec::Program;
use common::lock::Lock;
use common::report::{OrProblem, Problem};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Key, Sending, key};
use crate::site::Site;
use crate::verification;

const LIMIT: Duration = Duration::from_secs(3600);
/// Lines of its output that a warning shows.
const SHOWN: usize = 5;

/// What has been taken, by which command line.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Taken {
    /// Hex SHA-256: a line may hold what nobody should read.
    line: String,
    backups: BTreeSet<Key>,
}

/// Backups that this command has taken.
///
/// # Errors
/// `state-unreadable`.
pub(super) fn sent(site: &Site<'_>, line: &str) -> Result<BTreeSet<Key>, Problem> {
    let file = note(site);
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        text => text.or_problem("state-unreadable", || format!("cannot read {}", file.display()))?,
    };
    // One that cannot be understood, or another line's, means that all are taken once more.
    let taken: Taken = serde_json::from_str(&text).unwrap_or_default();
    Ok(if taken.line == hash(line) { taken.backups } else { BTreeSet::new() })
}

/// Has each backup taken that is still here.
///
/// # Errors
/// `second-place`, `backup-damaged`.
pub(super) fn bring(site: &Site<'_>, line: &str, lock: &Lock, sending: &mut Sending) -> Result<(), Problem> {
    "a command".clone_into(&mut sending.place);
    let mut taken = sent(site, line)?;
    let due = super::due(site, &[], &taken)?;
    let here = backups::list(&site.place)?.backups;
    taken.retain(|taken| here.iter().any(|backup| &key(backup) == taken));
    super::each(&due, sending, &mut |backup| {
        verification::check_files(backup)?;
        take(site, line, lock, backup)?;
        taken.insert(key(backup));
        let text =
            serde_json::to_vec(&Taken { line: hash(line), backups: taken.clone() }).unwrap_or_default();
        let file = note(site);
        durable::write(&file, &text)
            .or_problem("state-unwritable", || format!("cannot write {}", file.display()))
    })
}

fn take(site: &Site<'_>, line: &str, lock: &Lock, backup: &Backup) -> Result<(), Problem> {
    let failed = |why: &str| {
        Problem::new("second-place", format!("the command of backups.second {why}"))
            .hint(format!("backup {} send", site.name()))
            .retryable()
    };
    let Some(secrets) = &site.secrets else {
        return Err(failed("is not run: the secrets that its output must not show cannot be read"));
    };
    let program =
        secrets.pairs().fold(Program::shell(line), |program, (name, value)| program.env(name, value));
    let program = program
        .dir(site.config.root())
        .env("BACKUP_DIRECTORY", &backup.directory)
        .env("BACKUP_ID", &backup.manifest.id)
        .env("ENVIRONMENT", site.name())
        .env("APP", site.place.app())
        .guard(lock)
        .limit(LIMIT);
    let ended = program.run().map_err(|problem| match problem.kind.as_str() {
        "time-limit" => failed(&format!("did not end within {} s", LIMIT.as_secs())),
        "interrupted" => problem,
        _ => failed("could not be run"),
    })?;
    if ended.status.success() {
        return Ok(());
    }
    let lines: Vec<&str> = ended.tail.lines().collect();
    let last = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
    Err(failed(&format!("ended with {}", ended.ending())).detail(secrets.hide(&last)))
}

fn note(site: &Site<'_>) -> PathBuf {
    site.place.backups().join(".second")
}

fn hash(line: &str) -> String {
    common::hex(&Sha256::digest(line.as_bytes()))
}
