//! The past as far as it is known without the ledger: which deployments there were, which one
//! serves, and how each stands then. Writes all that into an empty ledger.
//!
//! What serves is what the gateway sends requests to. Verified is what the event log says was; what
//! left only a directory is history and no target.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use serde_json::json;

use super::deployment::{Deployment, Kind, State};
use super::witness::{Found, Witness, unknown};
use super::{event_log, schema};
use crate::config::Config;
use crate::gateway::Traffic;
use crate::git::Repository;
use crate::layout::Place;
use crate::report::now;

const ADOPTED: &str = "adopted";

/// The past as far as it is known.
pub(super) struct Past {
    witness: Witness,
    rows: Vec<Deployment>,
    /// Environment and deployment.
    serving: Vec<(String, Option<String>)>,
    /// Rows that the event log does not know so.
    news: BTreeSet<String>,
}

impl Past {
    pub(super) fn reconstruct(config: &Config) -> Self {
        let mut witness = Witness::gather(config);
        let logged = std::mem::take(&mut witness.log.rows);
        let repository = Repository::open(config.root()).ok();
        let mut past = Self { witness, rows: Vec::new(), serving: Vec::new(), news: BTreeSet::new() };
        past.add_unlogged(&logged, repository.as_ref());
        past.rows.extend(logged);
        let names: Vec<String> = past.witness.environments.keys().cloned().collect();
        for name in names {
            let serving = past.find_serving(&name, config, repository.as_ref());
            past.settle(&name, serving.as_deref());
            past.serving.push((name, serving));
        }
        past
    }

    /// What left a release or a backup and no line is older than the log: history, and no target.
    fn add_unlogged(&mut self, logged: &[Deployment], repository: Option<&Repository>) {
        for (name, found) in &self.witness.environments {
            for id in found.ids.iter().filter(|id| !logged.iter().any(|row| row.id == **id)) {
                let kind = match id {
                    id if id.contains("-migrate-") => Kind::Migrate,
                    id if id.contains("-restore") => Kind::Restore,
                    _ => Kind::Deploy,
                };
                self.rows
                    .push(Deployment { revision: revision_of(id, repository), ..unknown(id, name, kind) });
            }
        }
        self.news.extend(self.rows.iter().map(|row| row.id.clone()));
        // An id counts whole seconds; of those that began in one, the newest is what serves.
        self.rows.sort_by_cached_key(|row| (row.started_ms, self.witness.sends_to(row), row.id.clone()));
    }

    /// The deployment that traffic goes to; where no gateway ever ran, the last that the log knows.
    fn find_serving(
        &mut self,
        name: &str,
        config: &Config,
        repository: Option<&Repository>,
    ) -> Option<String> {
        let found = &self.witness.environments[name];
        let target = match &found.traffic {
            Traffic::To(target) => target.clone(),
            Traffic::Nowhere => return None,
            Traffic::Untold if self.witness.log.is_foreign => return None,
            Traffic::Untold => return self.last_serving(name),
        };
        let id = &target.deployment;
        let place = Place::new(config, name);
        let instance = found.instance_of(&target);
        let release = instance.map(|instance| instance.release.clone());
        let release = release.or_else(|| place.release(id).is_dir().then(|| id.clone()));
        let database = config.environments.get(name).and_then(|settings| place.database(settings));
        if !self.rows.iter().any(|row| row.id == *id) {
            self.rows.push(Deployment {
                revision: revision_of(id, repository),
                ..unknown(id, name, Kind::Deploy)
            });
            self.news.insert(id.clone());
        }
        let row = self.rows.iter_mut().find(|row| row.id == *id && row.environment == name)?;
        let is_proved = !self.witness.log.is_foreign && !self.news.contains(id);
        if !is_proved {
            row.revision =
                instance.map_or_else(|| revision_of(id, repository), |instance| instance.revision.clone());
        }
        row.slot = Some(target.slot);
        row.release = release.or(row.release.take());
        row.tree = row.tree.take().or_else(|| repository?.tree(&row.revision));
        row.database = row.database.take().or(database);
        Some(row.id.clone())
    }

    fn last_serving(&self, name: &str) -> Option<String> {
        let serves = |row: &&Deployment| {
            row.environment == name && matches!(row.state, State::Serving | State::Verified)
        };
        let is_release = |row: &&Deployment| !is_operation(row.kind);
        self.rows.iter().rev().filter(is_release).find(serves).map(|row| row.id.clone())
    }

    /// Lets the states say what serves; runs whose journal is lost are over.
    fn settle(&mut self, name: &str, serving: Option<&str>) {
        let at = now().as_millisecond();
        for row in self.rows.iter_mut().filter(|row| row.environment == name) {
            let before = (row.state, row.ended_ms);
            let serves = Some(row.id.as_str()) == serving;
            row.state = match row.state {
                State::Broken => State::Broken,
                State::Failed | State::RolledBack if serves => State::Serving,
                _ if serves && row.verified_ms.is_some() => State::Verified,
                _ if serves => State::Serving,
                State::Running => State::Failed,
                State::Serving | State::Verified if !is_operation(row.kind) => State::Superseded,
                state => state,
            };
            if serves {
                row.serving_ms.get_or_insert(at);
            }
            if serves && row.awaits_confirmation() && row.replaced.is_some() && row.ended_ms.is_none() {
                // It goes back by itself as it would have, by the one undo that users would notice.
                continue;
            }
            if row.ended_ms.is_none() {
                row.ended_ms = Some(at);
                let outcome = if serves { "unverified" } else { "failed" };
                row.outcome.get_or_insert_with(|| outcome.to_owned());
            }
            if before != (row.state, row.ended_ms) {
                self.news.insert(row.id.clone());
            }
        }
    }

    pub(super) fn fill(&self, db: &Connection, why: &str) -> rusqlite::Result<()> {
        schema::prepare(db)?;
        let transaction = db.unchecked_transaction()?;
        for row in &self.rows {
            insert(&transaction, row)?;
        }
        for row in self.rows.iter().filter(|row| row.ended_ms.is_none()) {
            let undo = json!({"undo": "point_gateway", "deployment": row.replaced});
            transaction.execute(
                "INSERT INTO journal(deployment, number, step, undo, state) VALUES (?1, 1, 'undo.cutover', ?2, 'done')",
                params![row.id, undo.to_string()],
            )?;
        }
        for found in &self.witness.log.verifications {
            transaction.execute(
                "INSERT INTO verifications(number, environment, deployment, revision, tree, passed, at_ms, duration_ms, host)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    found.number, found.environment, found.deployment, found.revision, found.tree,
                    found.passed, found.at_ms, found.duration_ms, found.host,
                ],
            )?;
        }
        for (name, serving) in &self.serving {
            let note = self.note(name, serving.as_deref(), why);
            transaction.execute(
                "INSERT INTO environments(name, serving, note) VALUES (?1, ?2, ?3)",
                params![name, serving, note],
            )?;
        }
        for id in &self.news {
            event_log::queue(&transaction, ADOPTED, id)?;
        }
        transaction.commit()
    }

    /// What the next command of an environment says.
    fn note(&self, name: &str, serving: Option<&str>, why: &str) -> Option<String> {
        let log = &self.witness.log;
        let rows = self.rows.iter().filter(|row| row.environment == name).count();
        if rows == 0 && self.witness.environments.get(name).is_some_and(Found::is_untouched) {
            return None;
        }
        let senseless = match log.senseless {
            0 => String::new(),
            count => format!(" ({count} more made no sense)"),
        };
        let foreign = if log.is_foreign { "; others may write that file, so it proves nothing" } else { "" };
        let row = serving.and_then(|id| self.rows.iter().find(|row| row.id == id));
        let serves = match row {
            None => "nothing serves".to_owned(),
            Some(row) if row.verified_ms.is_some() => format!("{} serves", row.id),
            Some(row) => format!("{} serves, and needs `verify {name}`", row.id),
        };
        let lines = log.lines;
        Some(format!(
            "the ledger {why}; it was made again from {lines} lines of the event log{senseless}{foreign} and from what runs: {rows} deployments of '{name}' are known, {serves}"
        ))
    }
}

fn is_operation(kind: Kind) -> bool {
    matches!(kind, Kind::Migrate | Kind::Restore)
}

fn insert(db: &Connection, row: &Deployment) -> rusqlite::Result<()> {
    db.execute(
        "INSERT OR IGNORE INTO deployments(id, environment, kind, state, revision, branch, tree, release, slot, replaced, restores,
             who, started_ms, serving_ms, verified_ms, ended_ms, outcome, log_file, forced_reason, confirm_by_ms, confirmed_ms, database)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)",
        params![
            row.id, row.environment, row.kind.word(), row.state.word(), row.revision, row.branch, row.tree, row.release,
            row.slot.map(crate::layout::Slot::name), row.replaced, row.restores, row.who, row.started_ms, row.serving_ms,
            row.verified_ms, row.ended_ms, row.outcome, row.log_file, row.forced_reason, row.confirm_by_ms, row.confirmed_ms,
            row.database.as_ref().map(|path| path.display().to_string()),
        ],
    )
    .map(drop)
}

/// An id ends in its short revision; git may know the whole of it.
fn revision_of(id: &str, repository: Option<&Repository>) -> String {
    let short = id.split('-').nth(1).unwrap_or_default();
    if short.is_empty() || !short.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return String::new();
    }
    repository.and_then(|repository| repository.commit(short)).unwrap_or_else(|| short.to_owned())
}
