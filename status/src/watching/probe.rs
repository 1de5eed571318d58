//! One look at an environment: does it answer at its public address, is it the right release that
//! answers, can its database be read, is there room on its disks.

use std::path::Path;
use std::time::{Duration, Instant};

use common::config::Config;
use common::database;
use common::gateway::{Gateway, GatewayStatus};
use common::http;
use common::instance::Instance;
use common::layout::Place;
use common::ledger::{Counted, Deployment, Health, Ledger};
use common::lock;
use common::report::Problem;
use common::space::free_bytes;

use super::damping::Finding;
use crate::facts::{troubles, verdict};

const LIMIT: Duration = Duration::from_secs(5);
/// A disk with less than this is told, in MiB.
const LOW_MIB: u64 = 256;

/// What one look saw.
pub(crate) struct Look {
    pub(crate) finding: Finding,
    /// How long the health path took to answer.
    pub(crate) latency: Option<Duration>,
    pub(crate) counted: Option<Counted>,
}

/// Looks at an environment; `None` where nothing has ever served.
///
/// # Errors
/// `ledger-unreadable`, usage.
pub(crate) fn look(config: &Config, ledger: &Ledger, name: &str) -> Result<Option<Look>, Problem> {
    let settings = config.environment(name)?;
    let Some(serving) = ledger.serving(name)? else { return Ok(None) };
    let place = Place::new(config, name);
    let begun = Instant::now();
    let answer = http::get(&settings.listen.reachable().into(), &config.app.health, LIMIT);
    let latency = answer.is_ok().then(|| begun.elapsed());
    let gateway = Gateway::of(&place, settings);
    let status = gateway.status();
    let counted = status.as_ref().and_then(counters);
    let down = match answer {
        Ok(answer) if answer.status >= 400 => Some(troubles::failing(answer.status)),
        Ok(_) => None,
        Err(error) => Some(troubles::silent(&error)),
    };
    let finding = match down {
        Some(reason) => Finding { health: Health::Down, reason: Some(reason) },
        None => match flaw(config, &place, &gateway, status.as_ref(), &serving) {
            Some(reason) => Finding { health: Health::Degraded, reason: Some(reason) },
            None => Finding { health: Health::Up, reason: None },
        },
    };
    Ok(Some(Look { finding, latency, counted }))
}

/// What is wrong although it answers; without paths, since others are told.
fn flaw(
    config: &Config,
    place: &Place,
    gateway: &Gateway,
    status: Option<&GatewayStatus>,
    serving: &Deployment,
) -> Option<String> {
    let Some(status) = status else { return Some("has no gateway that obeys".into()) };
    if gateway.is_orphaned() {
        return Some(troubles::ORPHANED.into());
    }
    // A command that works on it may be moving traffic at this moment.
    if lock::holder(place).is_none() {
        if status.active.as_ref().is_none_or(|target| target.deployment != serving.id) {
            return Some(troubles::elsewhere(&serving.id));
        }
        let instance = serving.slot.and_then(|slot| Instance::read(place, slot));
        let strangers = instance.and_then(|instance| troubles::strangers(&verdict(place, &instance)));
        if strangers.is_some() {
            return strangers;
        }
    }
    flaw_of_database(config, place).or_else(|| flaw_of_disks(config, place))
}

fn flaw_of_database(config: &Config, place: &Place) -> Option<String> {
    let path = place.database(config.environments.get(place.environment())?).filter(|path| path.exists())?;
    let read = database::open_read_only(&path).and_then(|db| database::Schema::read(&db));
    read.err().map(|problem| format!("has a database that cannot be read ({})", problem.kind))
}

fn flaw_of_disks(config: &Config, place: &Place) -> Option<String> {
    let directories = [("state", place.root()), ("logs", config.log_directory())];
    let is_low = |dir: &Path| free_bytes(dir).is_ok_and(|free| free >> 20 < LOW_MIB);
    let (name, _) = directories.iter().find(|(_, dir)| is_low(dir))?;
    Some(format!("has less than {LOW_MIB} MiB left on the disk of the {name}"))
}

/// What it has counted, where it counts.
fn counters(status: &GatewayStatus) -> Option<Counted> {
    let errors = status.failed.unwrap_or(0) + status.server_errors.unwrap_or(0);
    Some(Counted { pid: status.pid, requests: status.requests?, errors })
}
