//! What is known of past deployments without the ledger: the event log, the release directories,
//! the manifests of the backups, and what each environment's gateway and slots say. Reads only;
//! what follows from it is decided in `rebuild`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::deployment::{Deployment, Kind, State};
use super::event_log::VERIFICATION;
use super::verification::Verification;
use crate::backups;
use crate::config::Config;
use crate::gateway::{self, Target, Traffic};
use crate::instance::Instance;
use crate::layout::{Place, Slot, environments_on_disk, is_plain_name};

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Witness {
    pub(super) log: Account,
    pub(super) environments: BTreeMap<String, Found>,
}

/// What the event log tells.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// As their last lines say, in the order of their first ones.
    pub(super) rows: Vec<Deployment>,
    pub(super) verifications: Vec<Verification>,
    pub(super) lines: usize,
    /// Lines that make no sense: cut off, or somebody else's.
    pub(super) senseless: usize,
    /// Somebody else could have written the file: it is history, and proves nothing.
    pub(super) is_foreign: bool,
}

/// What one environment's directories tell.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) traffic: Traffic,
    pub(super) instances: Vec<Instance>,
    /// Ids of deployments that left a release or a backup.
    pub(super) ids: BTreeSet<String>,
}

impl Witness {
    pub(super) fn gather(config: &Config) -> Self {
        let names = config.environments.keys().cloned().chain(environments_on_disk(config));
        let environments = names.map(|name| {
            let found = Found::look(config, &name);
            (name, found)
        });
        Self { log: Account::read(config), environments: environments.collect() }
    }

    /// Nothing was ever deployed.
    pub(super) fn is_empty(&self) -> bool {
        let log = &self.log;
        log.rows.is_empty()
            && log.verifications.is_empty()
            && self.environments.values().all(Found::is_untouched)
    }

    /// The gateway sends requests to this deployment.
    pub(super) fn sends_to(&self, row: &Deployment) -> bool {
        let traffic = self.environments.get(&row.environment).map(|found| &found.traffic);
        matches!(traffic, Some(Traffic::To(target)) if target.deployment == row.id)
    }
}

impl Found {
    fn look(config: &Config, name: &str) -> Self {
        let place = Place::new(config, name);
        let kept = backups::list(&place).unwrap_or_default();
        let backed_up = kept.backups.into_iter().filter_map(|backup| backup.manifest.deployment);
        let releases = fs::read_dir(place.releases()).into_iter().flatten().flatten();
        let built = releases.map(|entry| entry.file_name().to_string_lossy().into_owned());
        Self {
            traffic: gateway::traffic(&place, config.environments.get(name)),
            instances: Slot::BOTH.into_iter().filter_map(|slot| Instance::read(&place, slot)).collect(),
            ids: built.chain(backed_up).filter(|id| began_ms(id).is_some()).collect(),
        }
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.ids.is_empty() && self.instances.is_empty() && !matches!(self.traffic, Traffic::To(_))
    }

    pub(super) fn instance_of(&self, target: &Target) -> Option<&Instance> {
        let is_its =
            |instance: &&Instance| instance.slot == target.slot && instance.deployment == target.deployment;
        self.instances.iter().find(is_its)
    }
}

impl Account {
    fn read(config: &Config) -> Self {
        let path = config.event_log_file();
        let mut account = Self::default();
        let Ok(bytes) = fs::read(&path) else { return account };
        account.is_foreign = fs::metadata(&path).map_or(true, |meta| {
            meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o022 != 0
        });
        let mut places = HashMap::new();
        for line in String::from_utf8_lossy(&bytes).lines().filter(|line| !line.trim().is_empty()) {
            let value: Value = serde_json::from_str(line).unwrap_or_default();
            if value.get("app").is_some_and(|app| *app != config.app.name) {
                continue;
            }
            match Told::of(value) {
                Some(Told::Deployment(row)) => account.note(&mut places, *row),
                Some(Told::Verification(found)) => {
                    account.verifications.retain(|known| known.number != found.number);
                    account.verifications.push(found);
                }
                None => account.senseless += 1,
            }
            account.lines += 1;
        }
        account.lines -= account.senseless;
        if account.is_foreign {
            account.verifications.clear();
            account.rows.iter_mut().for_each(keep_history);
        }
        account
    }

    fn note(&mut self, places: &mut HashMap<String, usize>, row: Deployment) {
        if let Some(place) = places.get(&row.id) {
            self.rows[*place] = row;
        } else {
            places.insert(row.id.clone(), self.rows.len());
            self.rows.push(row);
        }
    }
}

/// Leaves what people read; nothing that decides what runs, what is undone or what is evidence.
fn keep_history(row: &mut Deployment) {
    *row = Deployment {
        state: match row.state {
            State::Running => State::Failed,
            State::Serving | State::Verified => State::Superseded,
            state => state,
        },
        revision: std::mem::take(&mut row.revision),
        branch: row.branch.take(),
        who: std::mem::take(&mut row.who),
        started_ms: row.started_ms,
        ended_ms: row.ended_ms.or(Some(row.started_ms)),
        outcome: row.outcome.take(),
        forced_reason: row.forced_reason.take(),
        ..unknown(&row.id, &row.environment, row.kind)
    };
}

/// Its names become paths.
fn is_plain(row: &Deployment) -> bool {
    is_plain_name(&row.id) && row.release.as_deref().is_none_or(is_plain_name)
}

enum Told {
    Deployment(Box<Deployment>),
    Verification(Verification),
}

impl Told {
    fn of(line: Value) -> Option<Self> {
        if line["event"] == VERIFICATION {
            return serde_json::from_value(line).ok().map(Self::Verification);
        }
        let earlier = of_earlier_version(&line);
        let row = serde_json::from_value(line).ok().or(earlier).filter(is_plain)?;
        Some(Self::Deployment(Box::new(row)))
    }
}

/// The first version wrote one line for each ended deployment, and times for people only.
fn of_earlier_version(line: &Value) -> Option<Deployment> {
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let started_ms = line["started_at"].as_str()?.parse::<Timestamp>().ok()?.as_millisecond();
    let ended_ms = started_ms.saturating_add(line["duration_ms"].as_i64().unwrap_or_default());
    let kind = serde_json::from_value(line["kind"].clone()).ok()?;
    let state: State = serde_json::from_value(line["state"].clone()).ok()?;
    let is_verified = matches!(state, State::Verified | State::Superseded);
    let id = text("id")?;
    Some(Deployment {
        environment: text("environment")?,
        state,
        revision: text("revision")?,
        branch: text("branch"),
        tree: text("tree"),
        release: (kind == Kind::Deploy && is_verified).then(|| id.clone()),
        who: text("who")?,
        started_ms,
        verified_ms: is_verified.then_some(ended_ms),
        ended_ms: Some(ended_ms),
        outcome: text("outcome"),
        ..unknown(&id, "", kind)
    })
}

/// A row of which nothing is known but its id.
pub(super) fn unknown(id: &str, environment: &str, kind: Kind) -> Deployment {
    Deployment {
        number: 0,
        id: id.to_owned(),
        environment: environment.to_owned(),
        kind,
        state: State::Superseded,
        revision: String::new(),
        branch: None,
        tree: None,
        release: None,
        slot: None,
        replaced: None,
        restores: None,
        who: "unknown".to_owned(),
        started_ms: began_ms(id).unwrap_or_default(),
        serving_ms: None,
        verified_ms: None,
        ended_ms: began_ms(id),
        outcome: None,
        log_file: None,
        forced_reason: None,
        confirm_by_ms: None,
        confirmed_ms: None,
        database: None,
    }
}

/// The time that an id of ours begins with, in milliseconds.
pub(super) fn began_ms(id: &str) -> Option<i64> {
    let (stamp, _) = id.split_once('-')?;
    let at = DateTime::strptime("%Y%m%dT%H%M%SZ", stamp).ok()?;
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_first_version_is_read() {
        let line = r#"{"id":"20261123T093012Z-3f2a9c1","environment":"dev","kind":"deploy","revision":"3f2a9c1","branch":"dev",
            "tree":"t","state":"verified","outcome":"succeeded","who":"a@b","started_at":"2026-11-23T09:30:12Z","duration_ms":5,
            "problem":null,"steps":[]}"#;
        let Some(Told::Deployment(row)) = Told::of(serde_json::from_str(line).unwrap()) else {
            panic!("no row")
        };
        assert_eq!((row.state, row.release.as_deref()), (State::Verified, Some("20261123T093012Z-3f2a9c1")));
        assert_eq!(row.verified_ms, Some(row.started_ms + 5));
        assert_eq!(began_ms(&row.id), Some(row.started_ms));
    }

    fn told(line: &Value) -> Option<Deployment> {
        match Told::of(line.clone()) {
            Some(Told::Deployment(row)) => Some(*row),
            _ => None,
        }
    }

    #[test]
    fn a_line_whose_names_are_paths_makes_no_sense() {
        let mut line = serde_json::to_value(unknown("a", "dev", Kind::Deploy)).unwrap();
        line["release"] = "a".into();
        assert!(told(&line).is_some());
        for member in ["id", "release"] {
            for name in ["/tmp/evil", "../evil", "a/b", ".", "..", "", "a\0"] {
                let mut line = line.clone();
                line[member] = name.into();
                assert!(told(&line).is_none(), "{member} {name:?}");
            }
        }
    }

    #[test]
    fn of_a_foreign_row_only_history_is_kept() {
        for state in [State::Running, State::Serving, State::Verified] {
            let mut row = Deployment {
                state,
                revision: "r".into(),
                tree: Some("t".into()),
                release: Some("x".into()),
                slot: Some(Slot::Blue),
                replaced: Some("b".into()),
                restores: Some("b".into()),
                verified_ms: Some(1),
                ended_ms: None,
                confirm_by_ms: Some(i64::MAX),
                confirmed_ms: Some(1),
                database: Some("/x".into()),
                log_file: Some("/x".into()),
                ..unknown("a", "dev", Kind::Deploy)
            };
            keep_history(&mut row);
            assert!(matches!(row.state, State::Failed | State::Superseded));
            assert!(row.ended_ms.is_some() && row.revision == "r");
            let cleared = [row.tree, row.release, row.replaced, row.restores, row.log_file];
            assert!(cleared.iter().all(Option::is_none), "{cleared:?}");
            assert!(row.slot.is_none() && row.database.is_none() && row.verified_ms.is_none());
            assert!(row.confirm_by_ms.is_none() && row.confirmed_ms.is_none());
        }
    }

    #[test]
    fn other_lines_make_no_sense() {
        for line in [
            "null",
            "1",
            "{}",
            r#"{"event":"verification"}"#,
            r#"{"id":"x"}"#,
            r#"{"event":"ended","id":"x","state":"odd"}"#,
        ] {
            assert!(Told::of(serde_json::from_str(line).unwrap()).is_none(), "{line}");
        }
    }
}
