//! A second place for backups: a directory on another disk, or a command that takes them away.
//!
//! What is missing there is told by what there is, not by a list of duties: whatever went wrong, the
//! next command tries again. It is a warning at most, since the backup here is good.

mod command;
mod directory;

use std::collections::BTreeSet;
use std::time::Instant;

use common::backups::{self, Backup};
use common::cli::Run;
use common::config::Second;
use common::lock::Lock;
use common::report::{Problem, quoted};
use serde::Serialize;

use crate::retention;
use crate::site::Site;

/// What a run did about it.
#[derive(Debug, Default, Serialize)]
struct Sending {
    place: String,
    sent: Vec<String>,
    /// Gone there, by the retention of the place.
    removed: Vec<String>,
    /// Still missing there.
    pending: Vec<String>,
}

/// A backup's id and its number: an id alone may come again after the clock was set back.
type Key = (String, u64);

fn key(backup: &Backup) -> Key {
    (backup.manifest.id.clone(), backup.manifest.number)
}

/// What lies there.
#[derive(Default)]
pub(crate) struct Held {
    keys: BTreeSet<Key>,
    backups: Vec<Backup>,
    pub(crate) unreadable: Vec<(String, Problem)>,
    pub(crate) warnings: Vec<String>,
}

impl Held {
    pub(crate) fn has(&self, backup: &Backup) -> bool {
        self.keys.contains(&key(backup))
    }

    /// Backups that are not `here`.
    pub(crate) fn only_there(&self, here: &BTreeSet<String>) -> impl Iterator<Item = Backup> {
        self.backups.iter().filter(|backup| !here.contains(&backup.manifest.id)).cloned()
    }
}

/// Brings over what is missing; what fails is a warning. Whoever passed the lock on to us waits.
pub(crate) fn follow(run: &mut Run, site: &Site<'_>, lock: &Lock) {
    if site.settings.backups.second().is_none() {
        return;
    }
    if !lock.is_own() {
        return postpone(run, site);
    }
    let begun = Instant::now();
    match bring(run, site, lock) {
        Ok(()) => run.end_step("backup.second", None, begun.elapsed(), None),
        Err(problem) => {
            run.skip("backup.second", &problem.title);
            let detail = problem.detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
            let again = format!("backup {} send", site.name());
            run.warn_all(&[format!(
                "{}{detail}; tried again by the next command, or: {again}",
                problem.title
            )]);
        }
    }
}

/// `backup ENV send`.
///
/// # Errors
/// `second-place`, `backup-damaged`; a configuration problem when there is no second place.
pub(crate) fn send(run: &mut Run, site: &Site<'_>, lock: &Lock) -> Result<(), Problem> {
    if site.settings.backups.second().is_none() {
        return Err(Problem::configuration(format!("'{}' has no second place for backups", site.name()))
            .detail("backups = { second = \"/mnt/second\" } names one")
            .hint(format!("grep -n backups {}", quoted(site.config.file.display()))));
    }
    let begun = Instant::now();
    let sent = bring(run, site, lock);
    run.end_step("backup.second", None, begun.elapsed(), sent.as_ref().err());
    sent
}

/// While a deployment waits, requests may wait too: it is done once the deployment is verified.
pub(crate) fn postpone(run: &mut Run, site: &Site<'_>) {
    if site.settings.backups.second().is_some() {
        run.skip("backup.second", "a deployment waits; sent once it is verified, or by the next command");
    }
}

/// The backup of that id: the one here, or else, or when `in_second`, the copy there.
///
/// # Errors
/// As [`backups::find`].
pub(crate) fn locate(site: &Site<'_>, id: &str, in_second: bool) -> Result<Backup, Problem> {
    let is_here = backups::is_id(id) && site.place.backups().join(id).is_dir();
    match site.settings.backups.second() {
        Some(Second::Directory(path)) if in_second || !is_here => directory::find(site, path, id),
        _ if in_second => {
            Err(Problem::usage(format!("'{}' has no second directory of backups", site.name()))
                .hint(format!("backup {} list", site.name())))
        }
        _ => backups::find(&site.place, id),
    }
}

/// What the second place has.
///
/// # Errors
/// `state-unreadable`: what is known of it here cannot be read.
pub(crate) fn held(site: &Site<'_>) -> Result<Held, Problem> {
    match site.settings.backups.second() {
        None => Ok(Held::default()),
        Some(Second::Directory(path)) => Ok(directory::held(site, path)),
        Some(Second::Command(line)) => Ok(Held { keys: command::sent(site, line)?, ..Held::default() }),
    }
}

fn bring(run: &mut Run, site: &Site<'_>, lock: &Lock) -> Result<(), Problem> {
    let mut sending = Sending::default();
    let done = match site.settings.backups.second() {
        None => return Ok(()),
        Some(Second::Directory(path)) => directory::bring(site, path, &mut sending),
        Some(Second::Command(line)) => command::bring(site, line, lock, &mut sending),
    };
    run.detail("second", &sending);
    done
}

/// Of the complete backups here those that are missing among the `held` ones and would be kept there, oldest
/// first: a run that is cut off leaves no gap.
fn due(site: &Site<'_>, held: &[Backup], known: &BTreeSet<Key>) -> Result<Vec<Backup>, Problem> {
    let here = backups::list(&site.place)?.backups;
    let is_due = |backup: &Backup| !known.contains(&key(backup)) && !backup.manifest.is_provisional();
    let missing: Vec<Backup> = here.into_iter().filter(is_due).collect();
    let all: Vec<Backup> = held.iter().chain(&missing).cloned().collect();
    let doomed = retention::doomed(site, &all, site.settings.kept_in_second())?;
    Ok(missing.into_iter().rev().filter(|backup| !doomed.contains(&backup.manifest.id)).collect())
}

/// Brings one after the other; a damaged one does not keep back the rest.
fn each(
    due: &[Backup],
    sending: &mut Sending,
    act: &mut dyn FnMut(&Backup) -> Result<(), Problem>,
) -> Result<(), Problem> {
    sending.pending = due.iter().map(|backup| backup.manifest.id.clone()).collect();
    let mut damaged = Ok(());
    for backup in due {
        common::interrupt::check()?;
        let id = &backup.manifest.id;
        match act(backup) {
            Ok(()) => {
                sending.pending.retain(|pending| pending != id);
                sending.sent.push(id.clone());
            }
            Err(problem) if problem.kind == "backup-damaged" => damaged = Err(problem),
            Err(problem) => return Err(problem),
        }
    }
    damaged
}
