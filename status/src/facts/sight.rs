//! What a look at one environment shows: its gateway, its instances, its health, its database, its
//! backups, its lock and the room on its disk. Nothing is changed.

use std::time::Duration;

use common::address::Address;
use common::backups;
use common::config::Config;
use common::gateway::{Gateway, GatewayStatus};
use common::http;
use common::identity;
use common::instance::Instance;
use common::layout::{Place, Slot};
use common::lock;
use common::report::now;
use common::space;
use common::supervisor::{Condition, Supervisor};
use serde_json::{Value, json};

use super::database::{self, Migrations};
use super::record::Record;

const PROBE: Duration = Duration::from_secs(2);

/// What was seen of one environment.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub(super) health: Option<Value>,
    pub(super) identity: Option<String>,
    pub(super) instance: Option<Value>,
    pub(super) slots: Value,
    pub(super) warm: Option<String>,
    pub(super) gateway: Option<GatewayStatus>,
    pub(super) gateway_orphaned: bool,
    pub(super) database: Option<Value>,
    pub(super) migrations: Migrations,
    pub(super) last_backup: Option<Value>,
    pub(super) lock: Option<Value>,
    pub(super) free_bytes: Option<u64>,
}

impl Sight {
    /// All but the identity, for which one look at all processes serves every environment.
    pub(super) fn of(config: &Config, record: &Record<'_>) -> Self {
        let place = &record.place;
        let lock = lock::holder(place).map(|holder| json!(holder));
        let free_bytes = space::free_bytes(&config.state_dir()).ok();
        if !record.is_known {
            return Self { lock, free_bytes, ..Self::default() };
        }
        let gateway = Gateway::of(place, record.settings);
        let supervisor = Supervisor::of(record.settings);
        let serving = record.serving.as_ref();
        let slots = Slot::BOTH.map(|slot| (slot, supervisor.condition(place, slot)));
        let found = |slot: Slot| slots.iter().find(|(other, _)| *other == slot).map(|(_, found)| found);
        let instance = record.instance.as_ref();
        let (database, migrations) = database::look(place, config, place.environment(), serving);
        Self {
            health: serving.map(|_| health(config, record)),
            identity: None,
            instance: instance
                .and_then(|instance| Some(told(&instance.address, instance.slot, found(instance.slot)?))),
            warm: serving.and_then(|row| {
                let other = row.slot?.other();
                warm(place, other, found(other)?)
            }),
            slots: slots
                .iter()
                .map(|(slot, found)| (slot.name().to_owned(), of_slot(place, *slot, found)))
                .collect(),
            gateway: gateway.status(),
            gateway_orphaned: gateway.is_orphaned(),
            database,
            migrations,
            last_backup: last_backup(place),
            lock,
            free_bytes,
        }
    }
}

/// Whose processes answer, for each environment in order.
pub(super) fn verdicts(records: &[Record<'_>]) -> Vec<Option<String>> {
    let serving: Vec<(&Place, &Instance)> =
        records.iter().filter_map(|record| Some((&record.place, record.instance.as_ref()?))).collect();
    let mut words = words_of(&serving).into_iter();
    records.iter().map(|record| record.instance.as_ref().and_then(|_| words.next())).collect()
}

/// Whose processes answer for one instance.
pub(crate) fn verdict(place: &Place, instance: &Instance) -> String {
    words_of(&[(place, instance)]).remove(0)
}

/// A word for each.
fn words_of(serving: &[(&Place, &Instance)]) -> Vec<String> {
    let addresses: Vec<Address> = serving.iter().map(|(_, instance)| instance.address.clone()).collect();
    let mut owners = identity::owners_of_each(&addresses).ok().map(Vec::into_iter);
    let judge = |(place, instance): &(&Place, &Instance)| {
        let found = owners.as_mut().and_then(Iterator::next);
        let release = place.release(&instance.release);
        let verdict = found.map(|owners| identity::judge(&owners, &instance.release, &release).verdict);
        verdict.map_or("unknown", identity::Verdict::word).to_owned()
    };
    serving.iter().map(judge).collect()
}

fn health(config: &Config, record: &Record<'_>) -> Value {
    let address = record.settings.listen.reachable().into();
    match http::get(&address, &config.app.health, PROBE) {
        Ok(answer) => json!(answer.status),
        Err(error) => json!(error),
    }
}

fn told(address: &Address, slot: Slot, condition: &Condition) -> Value {
    let (slot, address) = (slot.name(), address.to_string());
    match condition {
        Condition::Running { pid, starts, since_ms } => json!({
            "slot": slot, "address": address, "condition": "running", "pid": pid, "restarts": starts.saturating_sub(1),
            "uptime_ms": now().as_millisecond().saturating_sub(*since_ms).max(0),
        }),
        Condition::Exited { ending } => {
            json!({"slot": slot, "address": address, "condition": "exited", "ending": ending})
        }
        Condition::Orphaned { pid } => {
            json!({"slot": slot, "address": address, "condition": "orphaned", "pid": pid})
        }
        Condition::Stopped => json!({"slot": slot, "address": address, "condition": "stopped"}),
    }
}

fn of_slot(place: &Place, slot: Slot, condition: &Condition) -> Value {
    let instance = Instance::read(place, slot);
    let word = match condition {
        Condition::Running { .. } => "running",
        Condition::Exited { .. } => "exited",
        Condition::Orphaned { .. } => "orphaned",
        Condition::Stopped => "stopped",
    };
    json!({
        "condition": word,
        "release": instance.as_ref().map(|instance| &instance.release),
        "deployment": instance.as_ref().map(|instance| &instance.deployment),
    })
}

/// The release that a rollback could cut over to at once.
fn warm(place: &Place, slot: Slot, condition: &Condition) -> Option<String> {
    let running = matches!(condition, Condition::Running { .. });
    Instance::read(place, slot).filter(|_| running).map(|instance| instance.release)
}

fn last_backup(place: &Place) -> Option<Value> {
    let backup = backups::list(place).ok()?.backups.into_iter().next()?;
    let manifest = &backup.manifest;
    Some(json!({
        "id": manifest.id,
        "at": manifest.created_at.to_string(),
        "reason": manifest.reason,
        "verified": manifest.verified.holds(),
        "bytes": backup.bytes(),
    }))
}
