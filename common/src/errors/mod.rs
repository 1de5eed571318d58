//! The errors of an environment: what its instances wrote into their logs, grouped by what they have in
//! common, for each release. `events` finds and names them; the ledger keeps what the watch has read.
//!
//! Whoever only looks reads what came since from the logs, and writes nothing.

mod events;
mod masking;

use std::collections::{BTreeMap, BTreeSet};

pub use events::{Event, tells_error};

use crate::instance::Instance;
use crate::layout::{Place, Slot};
use crate::ledger::{ErrorGroup, ErrorGroups, Ledger};
use crate::report::Problem;
use crate::secrets::Secrets;
use crate::supervisor::{Chunk, Log, Position, Supervisor};

/// More verified releases than errors are kept of.
const MANY: u32 = 1000;
/// Pieces read of one log at once.
const MOST_CHUNKS: usize = 8;

/// The errors of each release, by its id.
#[derive(Debug, Default, Clone)]
pub struct Survey {
    pub releases: BTreeMap<String, ErrorGroups>,
    /// Releases that were found good.
    verified: BTreeSet<String>,
}

/// What was found in the log of one instance.
struct Found {
    release: String,
    groups: ErrorGroups,
    position: Option<Position>,
}

impl Survey {
    /// What is kept, and what stands in the logs since then. Titles and excerpts may hold secrets.
    ///
    /// # Errors
    /// `ledger-unreadable`.
    pub fn of(ledger: Option<&Ledger>, place: &Place, supervisor: &Supervisor) -> Result<Self, Problem> {
        let mut releases =
            ledger.map(|ledger| ledger.errors(place.environment())).transpose()?.unwrap_or_default();
        for found in read_logs(ledger, place, supervisor, &Slot::BOTH)? {
            let groups: &mut ErrorGroups = releases.entry(found.release).or_default();
            found.groups.into_values().for_each(|group| join(groups, group));
        }
        let verified = ledger.map(|ledger| ledger.verified(place.environment(), MANY)).transpose()?;
        let verified = verified.into_iter().flatten().filter_map(|row| row.release).collect();
        Ok(Self { releases, verified })
    }

    /// The errors of a release that no other release has had which was verified: one that came back
    /// unmended must not pass for known.
    pub fn new_in(&self, release: &str) -> Vec<&ErrorGroup> {
        let others = self.releases.iter().filter(|(id, _)| *id != release && self.verified.contains(*id));
        let known: BTreeSet<&String> = others.flat_map(|(_, groups)| groups.keys()).collect();
        let own = self.releases.get(release).into_iter().flat_map(BTreeMap::values);
        own.filter(|group| !known.contains(&group.fingerprint)).collect()
    }
}

/// Reads on in all logs of an environment and keeps what is found, without secrets; nothing more comes
/// in the log of a slot that has `ended`.
///
/// # Errors
/// `ledger-unreadable`, `state-unwritable`; of an environment with errors to keep also `env-file`,
/// `env-command`.
pub fn keep(
    ledger: &Ledger,
    place: &Place,
    supervisor: &Supervisor,
    ended: Option<Slot>,
    secrets: impl Fn() -> Result<Secrets, Problem>,
) -> Result<(), Problem> {
    for mut found in read_logs(Some(ledger), place, supervisor, ended.as_slice())? {
        let Some(position) = found.position else { continue };
        if !found.groups.is_empty() {
            let secrets = secrets()?;
            for group in found.groups.values_mut() {
                group.title = secrets.hide(&group.title);
                group.excerpt = secrets.hide(&group.excerpt);
            }
        }
        let position = serde_json::to_string(&position).unwrap_or_default();
        ledger.record_errors(place.environment(), &found.release, &found.groups, &position)?;
    }
    Ok(())
}

/// In the logs of `to_the_end` also what may not be whole yet.
fn read_logs(
    ledger: Option<&Ledger>,
    place: &Place,
    supervisor: &Supervisor,
    to_the_end: &[Slot],
) -> Result<Vec<Found>, Problem> {
    let mut all = Vec::new();
    for slot in Slot::BOTH {
        let Some(instance) = Instance::read(place, slot) else { continue };
        let known = ledger.map(|ledger| ledger.log_position(place.environment(), &instance.release));
        let known = known.transpose()?.flatten().and_then(|text| serde_json::from_str(&text).ok());
        let (groups, position) = read_log(&supervisor.log(place, slot), known, to_the_end.contains(&slot));
        all.push(Found { release: instance.release, groups, position });
    }
    Ok(all)
}

/// What is new in a log, and how far it was read when it was.
fn read_log(log: &Log, known: Option<Position>, to_the_end: bool) -> (ErrorGroups, Option<Position>) {
    let (mut groups, mut position) = (ErrorGroups::new(), known);
    let before = position.clone();
    for _ in 0..MOST_CHUNKS {
        let Some(chunk) = log.chunk(position.as_ref()) else { break };
        let (events, read) = of_chunk(&chunk, to_the_end);
        for event in events {
            join(&mut groups, group(event, chunk.at_ms));
        }
        let behind = chunk.position_behind(read);
        if position.replace(behind.clone()) == Some(behind) {
            break;
        }
    }
    let moved = position.filter(|position| before.as_ref() != Some(position));
    (groups, moved)
}

/// The whole events of a chunk, and how many of its bytes are done with.
fn of_chunk(chunk: &Chunk, to_the_end: bool) -> (Vec<Event>, usize) {
    let (mut events, open) = events::read(&chunk.bytes);
    match open.filter(|_| !chunk.is_still && !to_the_end) {
        Some(from) => {
            events.pop();
            (events, from)
        }
        None => (events, chunk.bytes.len()),
    }
}

fn group(event: Event, at_ms: i64) -> ErrorGroup {
    let Event { fingerprint, title, excerpt } = event;
    ErrorGroup { fingerprint, title, excerpt, count: 1, first_ms: at_ms, last_ms: at_ms }
}

fn join(groups: &mut ErrorGroups, group: ErrorGroup) {
    match groups.get_mut(&group.fingerprint) {
        Some(known) => {
            known.count += group.count;
            known.first_ms = known.first_ms.min(group.first_ms);
            known.last_ms = known.last_ms.max(group.last_ms);
        }
        None => drop(groups.insert(group.fingerprint.clone(), group)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn survey(releases: &[(&str, &[&str])]) -> Survey {
        let group = |text: &&str| {
            let event = events::read(text.as_bytes()).0.remove(0);
            (event.fingerprint.clone(), group(event, 0))
        };
        let all = releases.iter().map(|(id, texts)| ((*id).to_owned(), texts.iter().map(group).collect()));
        Survey { releases: all.collect(), verified: ["a".to_owned(), "b".to_owned()].into() }
    }

    #[test]
    fn an_error_is_new_when_no_other_release_had_it() {
        let found =
            survey(&[("a", &["ERROR one 1"]), ("b", &["ERROR one 2", "ERROR two"]), ("bad", &["ERROR two"])]);
        let titles =
            |release| found.new_in(release).iter().map(|group| group.title.as_str()).collect::<Vec<_>>();
        assert_eq!((titles("b"), titles("a").len(), titles("nothing").len()), (vec!["ERROR two"], 0, 0));
    }

    #[test]
    fn a_log_is_counted_once_and_an_error_that_may_go_on_is_left_for_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        let log = Log::File(path.clone());
        let counts = |groups: &ErrorGroups| groups.values().map(|group| group.count).collect::<Vec<_>>();
        fs::write(&path, "ERROR a 1\nfine\nERROR a 2\n").unwrap();
        let (all, _) = read_log(&log, None, true);
        assert_eq!(counts(&all), [2]);
        let (whole, at) = read_log(&log, None, false);
        assert_eq!(counts(&whole), [1]);
        fs::write(&path, "ERROR a 1\nfine\nERROR a 2\nfine\n").unwrap();
        let (rest, at) = read_log(&log, at, false);
        assert_eq!(counts(&rest), [1]);
        assert_eq!(read_log(&log, at, false), (ErrorGroups::new(), None));
    }
}
