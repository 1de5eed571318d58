//! The errors of an environment: what its instances wrote into their logs, grouped by what they have in
//! common, for each release. `events` finds and names them; the ledger keeps what the watch has read.
//!
//! Whoever only looks reads what came since from the logs, and writes nothing.

mod events;
mod levels;
mod lines;
mod masking;

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use events::{Event, tells_error};

use crate::instance::Instance;
use crate::interrupt;
use crate::layout::{Place, Slot};
use crate::ledger::{ErrorGroup, ErrorGroups, Ledger};
use crate::report::Problem;
use crate::secrets::Secrets;
use crate::supervisor::{Chunk, Log, Position, Supervisor};

/// More verified releases than errors are kept of.
const MANY: u32 = 1000;
/// Pieces read of one log at once, and of one that has ended: requests may wait then.
const MOST_CHUNKS: u64 = 8;
const LAST_CHUNKS: u64 = 2;
/// Longer than an error that is being written takes to be whole.
const SETTLING: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// The errors of each release, by its id.
#[derive(Debug, Default, Clone)]
pub struct Survey {
    pub releases: BTreeMap<String, ErrorGroups>,
    /// Releases that were found good.
    verified: BTreeSet<String>,
    /// What a log ended with a moment ago, by release: its fingerprint may be another one when it is whole.
    unfinished: BTreeMap<String, String>,
}

/// What was found in the log of one instance.
struct Found {
    release: String,
    read: Read,
    /// The position that it was read from, as the ledger has it.
    from: Option<String>,
}

/// What is new in a log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    groups: ErrorGroups,
    /// How far it was read, when it was.
    position: Option<Position>,
    unfinished: Option<String>,
}

/// How a log is read.
#[derive(Debug, Clone, Copy)]
struct Manner {
    /// Also what may not be whole yet.
    to_the_end: bool,
    chunks: u64,
}

impl Survey {
    /// What is kept, and what stands in the logs since then. Titles and excerpts may hold secrets.
    ///
    /// # Errors
    /// `ledger-unreadable`.
    pub fn of(ledger: Option<&Ledger>, place: &Place, supervisor: &Supervisor) -> Result<Self, Problem> {
        let mut releases =
            ledger.map(|ledger| ledger.errors(place.environment())).transpose()?.unwrap_or_default();
        let mut unfinished = BTreeMap::new();
        let manner = Manner { to_the_end: true, chunks: MOST_CHUNKS };
        for Found { release, read, .. } in read_logs(ledger, place, supervisor, &Slot::BOTH, manner)? {
            unfinished.extend(read.unfinished.map(|fingerprint| (release.clone(), fingerprint)));
            let groups: &mut ErrorGroups = releases.entry(release).or_default();
            read.groups.into_values().for_each(|group| join(groups, group));
        }
        let verified = ledger.map(|ledger| ledger.verified(place.environment(), MANY)).transpose()?;
        let verified = verified.into_iter().flatten().filter_map(|row| row.release).collect();
        Ok(Self { releases, verified, unfinished })
    }

    /// The same, as soon as the log of `release` does not end within an error: after a few seconds at most.
    ///
    /// # Errors
    /// As [`Survey::of`], `interrupted`.
    pub fn settled(
        ledger: Option<&Ledger>,
        place: &Place,
        supervisor: &Supervisor,
        release: &str,
    ) -> Result<Self, Problem> {
        let begun = Instant::now();
        loop {
            let survey = Self::of(ledger, place, supervisor)?;
            if !survey.unfinished.contains_key(release) || begun.elapsed() > SETTLING {
                return Ok(survey);
            }
            interrupt::check()?;
            sleep(PAUSE);
        }
    }

    /// The errors of a release that no other release has had which was verified: one that came back
    /// unmended must not pass for known. One that is being written is none yet.
    pub fn new_in(&self, release: &str) -> Vec<&ErrorGroup> {
        let others = self.releases.iter().filter(|(id, _)| *id != release && self.verified.contains(*id));
        let known: BTreeSet<&String> = others.flat_map(|(_, groups)| groups.keys()).collect();
        let own = self.releases.get(release).into_iter().flat_map(BTreeMap::values);
        let is_whole =
            |group: &ErrorGroup| group.count > 1 || self.unfinished.get(release) != Some(&group.fingerprint);
        own.filter(|group| is_whole(group) && !known.contains(&group.fingerprint)).collect()
    }
}

/// Reads on in all logs of an environment and keeps what is found, without secrets; with `ended` only in
/// the log of this slot, in which nothing more comes.
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
    let manner = match ended {
        Some(_) => Manner { to_the_end: true, chunks: LAST_CHUNKS },
        None => Manner { to_the_end: false, chunks: MOST_CHUNKS },
    };
    let slots = ended.map_or_else(|| Slot::BOTH.to_vec(), |slot| vec![slot]);
    let mut known = None;
    for mut found in read_logs(Some(ledger), place, supervisor, &slots, manner)? {
        let Some(position) = found.read.position else { continue };
        for group in found.read.groups.values_mut() {
            let secrets = if let Some(known) = &known { known } else { known.insert(secrets()?) };
            group.title = secrets.hide(&group.title);
            group.excerpt = secrets.hide(&group.excerpt);
        }
        let to = serde_json::to_string(&position).unwrap_or_default();
        let from = found.from.as_deref();
        ledger.record_errors(place.environment(), &found.release, &found.read.groups, from, &to)?;
    }
    Ok(())
}

fn read_logs(
    ledger: Option<&Ledger>,
    place: &Place,
    supervisor: &Supervisor,
    slots: &[Slot],
    manner: Manner,
) -> Result<Vec<Found>, Problem> {
    let mut all = Vec::new();
    let writes = |slot: &Slot| slots.iter().any(|own| supervisor.writing_slot(place, *own) == Some(*slot));
    for slot in Slot::BOTH.into_iter().filter(writes) {
        let Some(instance) = Instance::read(place, slot) else { continue };
        let from = ledger.map(|ledger| ledger.log_position(place.environment(), &instance.release));
        let from = from.transpose()?.flatten();
        let known = from.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let read = read_log(&supervisor.log(place, slot), known, manner);
        // Another release may have been started in the slot meanwhile.
        if Instance::read(place, slot).is_some_and(|now| now.release == instance.release) {
            all.push(Found { release: instance.release, read, from });
        }
    }
    Ok(all)
}

fn read_log(log: &Log, known: Option<Position>, manner: Manner) -> Read {
    let mut read = Read::default();
    let mut position = known.clone();
    for _ in 0..manner.chunks {
        let Some(chunk) = log.chunk(position.as_ref(), manner.chunks, manner.to_the_end) else { break };
        let (events, bytes, unfinished) = of_chunk(&chunk, manner.to_the_end);
        for event in events {
            join(&mut read.groups, group(event, chunk.at_ms));
        }
        read.unfinished = unfinished;
        let behind = chunk.position_behind(bytes);
        if behind == position {
            break;
        }
        position = behind;
    }
    read.position = position.filter(|position| known.as_ref() != Some(position));
    read
}

/// The events of a chunk, how many of its bytes are done with, and which of them may not be whole.
fn of_chunk(chunk: &Chunk, to_the_end: bool) -> (Vec<Event>, usize, Option<String>) {
    let (mut events, rest) = events::read(&chunk.bytes);
    // What fills a piece will not fit better into the next one.
    let is_final = |from: usize| chunk.is_still || (chunk.is_full && from == 0);
    let rest = rest.filter(|rest| !is_final(rest.from));
    let unfinished = rest.and_then(|_| events.last().map(|event| event.fingerprint.clone()));
    match rest {
        Some(rest) if !to_the_end && chunk.is_of_file() => {
            events.pop();
            (events, rest.from, None)
        }
        // It is read again from where it begins; that of an app that always complains must come on.
        Some(rest) if !to_the_end && rest.is_cut => (Vec::new(), 0, None),
        _ => (events, chunk.bytes.len(), unfinished),
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
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const WATCHING: Manner = Manner { to_the_end: false, chunks: 8 };

    fn survey(releases: &[(&str, &[&str])]) -> Survey {
        let group = |text: &&str| {
            let event = events::read(text.as_bytes()).0.remove(0);
            (event.fingerprint.clone(), group(event, 0))
        };
        let all = releases.iter().map(|(id, texts)| ((*id).to_owned(), texts.iter().map(group).collect()));
        let verified = ["a".to_owned(), "b".to_owned()].into();
        Survey { releases: all.collect(), verified, unfinished: BTreeMap::new() }
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
    fn what_may_not_be_whole_yet_is_not_new() {
        let mut found = survey(&[("b", &["ERROR one"])]);
        let fingerprint = found.new_in("b")[0].fingerprint.clone();
        found.unfinished = [("b".to_owned(), fingerprint.clone())].into();
        assert!(found.new_in("b").is_empty());
        found.releases.get_mut("b").unwrap().get_mut(&fingerprint).unwrap().count = 2;
        assert_eq!(found.new_in("b").len(), 1, "it was there before");
    }

    #[test]
    fn a_log_is_counted_once_and_an_error_that_may_go_on_is_left_for_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        let log = Log::File(path.clone());
        let counts = |groups: &ErrorGroups| groups.values().map(|group| group.count).collect::<Vec<_>>();
        fs::write(&path, "ERROR a 1\nfine\nERROR a 2\n").unwrap();
        let all = read_log(&log, None, Manner { to_the_end: true, chunks: 8 });
        assert_eq!((counts(&all.groups), all.unfinished.is_some()), (vec![2], true));
        let whole = read_log(&log, None, WATCHING);
        assert_eq!((counts(&whole.groups), &whole.unfinished), (vec![1], &None));
        fs::write(&path, "ERROR a 1\nfine\nERROR a 2\nfine\n").unwrap();
        let rest = read_log(&log, whole.position, WATCHING);
        assert_eq!(counts(&rest.groups), [1]);
        assert_eq!(read_log(&log, rest.position, WATCHING), Read::default());
    }

    #[test]
    fn an_error_that_fills_a_piece_does_not_stop_the_reading() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        let huge = format!("ERROR {}\nfine\nERROR after\nfine\n", "x".repeat(9 << 20));
        fs::write(&path, huge).unwrap();
        let inode = path.metadata().unwrap().ino();
        let read = read_log(&Log::File(path.clone()), Some(Position::File { inode, offset: 0 }), WATCHING);
        assert!(read.groups.values().any(|group| group.title == "ERROR after"), "{read:?}");
        let offset = path.metadata().unwrap().len();
        assert_eq!(read.position, Some(Position::File { inode, offset }));
    }
}
