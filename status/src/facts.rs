//! What is known of one environment: from the ledger, the gateway, the supervisor and git.

use std::time::Duration;

use common::config::Config;
use common::gateway::{self, Gateway, GatewayStatus};
use common::git::{Repository, Sync};
use common::http;
use common::identity;
use common::instance::Instance;
use common::layout::{Place, Slot, environments_on_disk};
use common::ledger::{ChoreRow, Deployment, Ledger};
use common::lock;
use common::notify::Overdue;
use common::report::{Problem, now, quoted};
use common::supervisor::{Condition, Supervisor};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::schema;
use crate::uptime::{self, Figures};

const PROBE: Duration = Duration::from_secs(2);
const SHOWN: u32 = 5;

/// The state of one environment.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Facts {
    environment: String,
    pub(crate) revision: Option<String>,
    pub(crate) deployment: Option<String>,
    branch: Option<String>,
    pub(crate) subject: Option<String>,
    author: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) serving_since: Option<String>,
    verified_at: Option<String>,
    /// Who let the serving release in without evidence, when and why.
    pub(crate) forced: Option<Value>,
    /// How the serving revision stands to its branch's head.
    pub(crate) git: Option<String>,
    health: Option<Value>,
    pub(crate) identity: Option<String>,
    pub(crate) instance: Option<Value>,
    pub(crate) warm: Option<String>,
    gateway: Option<GatewayStatus>,
    /// The gateway runs, and nobody would start it again.
    gateway_orphaned: bool,
    /// Why all this had to be found out without the ledger.
    ledger_lost: Option<String>,
    database: Option<Value>,
    last_verification: Option<Value>,
    pub(crate) lock: Option<Value>,
    unfinished: Vec<String>,
    /// Until when somebody has to confirm what serves.
    pub(crate) confirm_by: Option<String>,
    /// Tags and pushes of verified deployments that failed and are still to be done.
    pub(crate) chores: Vec<Value>,
    /// As `status watch` has seen it in the last 24 hours.
    pub(crate) uptime: Option<Figures>,
    /// What did not reach its receiver.
    pub(crate) notifications: Vec<Overdue>,
    last: Vec<Value>,
}

pub(crate) fn gather(config: &Config, ledger: Option<&Ledger>, name: &str) -> Result<Facts, Problem> {
    let settings = config.environment(name)?;
    let place = Place::new(config, name);
    let lock = lock::holder(&place).map(|holder| json!(holder));
    let environment = name.to_owned();
    let Some(ledger) = ledger else { return Ok(Facts { environment, lock, ..Facts::default() }) };
    let serving = ledger.serving(name)?;
    let repository = Repository::open(config.root()).ok();
    let (gateway, supervisor) = (Gateway::of(&place, settings), Supervisor::of(settings));
    let instance = serving.as_ref().and_then(|row| Instance::read(&place, row.slot?));
    let health = serving.as_ref().map(|_| {
        match http::get(&settings.listen.reachable().into(), &config.app.health, PROBE) {
            Ok(answer) => json!(answer.status),
            Err(error) => json!(error),
        }
    });
    let identity = instance.as_ref().map(|instance| verdict(&place, instance));
    Ok(Facts {
        environment,
        revision: serving.as_ref().map(|row| row.revision.clone()),
        deployment: serving.as_ref().map(|row| row.id.clone()),
        branch: serving.as_ref().and_then(|row| row.branch.clone()),
        subject: about(repository.as_ref(), serving.as_ref(), Repository::subject),
        author: about(repository.as_ref(), serving.as_ref(), Repository::author),
        state: serving.as_ref().map(|row| row.state.word().to_owned()),
        serving_since: serving.as_ref().and_then(|row| time(row.serving_ms?)),
        verified_at: serving.as_ref().and_then(|row| time(row.verified_ms?)),
        forced: serving.clone().map(|row| forced(ledger, row)).transpose()?.flatten(),
        git: serving.as_ref().and_then(|row| distance(repository.as_ref()?, row)),
        health,
        identity,
        instance: instance.as_ref().map(|instance| condition(&supervisor, &place, instance)),
        warm: serving.as_ref().and_then(|row| warm(&supervisor, &place, row.slot?.other())),
        gateway: gateway.status(),
        gateway_orphaned: gateway.is_orphaned(),
        ledger_lost: ledger.lost().map(str::to_owned),
        database: schema::database_facts(&place, config, name, serving.as_ref()),
        last_verification: ledger.last_verification(name)?.map(|found| {
            json!({"at": time(found.at_ms), "passed": found.passed, "deployment": found.deployment, "duration_ms": found.duration_ms})
        }),
        lock,
        confirm_by: ledger
            .awaiting(name)?
            .filter(Deployment::is_confirmable)
            .and_then(|row| time(row.confirm_by_ms?)),
        unfinished: ledger.unfinished(name)?.into_iter().map(|row| row.id).collect(),
        chores: ledger.postponed_chores(name)?.iter().map(chore).collect(),
        uptime: uptime::figures(ledger, name, uptime::DAY)?,
        notifications: overdue(ledger, name)?,
        last: ledger.history(name, SHOWN)?.iter().map(event).collect(),
    })
}

impl Facts {
    /// Whether anything was ever deployed here.
    pub(crate) fn is_untouched(&self) -> bool {
        self.deployment.is_none() && self.last.is_empty()
    }

    /// What is wrong, as the end of a sentence about the environment.
    pub(crate) fn trouble(&self) -> Option<String> {
        let Some(deployment) = &self.deployment else {
            return Some("serves nothing yet".into());
        };
        let Some(gateway) = &self.gateway else { return Some("has no running gateway".into()) };
        if gateway.active.as_ref().is_none_or(|target| &target.deployment != deployment) {
            return Some(format!("should serve {deployment}, and its gateway sends requests elsewhere"));
        }
        match (&self.health, self.identity.as_deref()) {
            (Some(Value::Number(status)), _) if status.as_u64().is_some_and(|status| status >= 400) => {
                Some(format!("answers its health path with {status}"))
            }
            (Some(Value::String(error)), _) => Some(format!("does not answer: {error}")),
            (_, Some(verdict @ ("old" | "mixed"))) => Some(format!("is served by {verdict} processes")),
            _ if self.gateway_orphaned => {
                Some("is served by a gateway whose keeper is gone: nobody would start it again".into())
            }
            _ if self.ledger_lost.is_some() => {
                Some(format!("serves, but the ledger {}", self.ledger_lost.as_deref().unwrap_or_default()))
            }
            _ if self.unfinished.is_empty() || self.lock.is_some() || self.confirm_by.is_some() => None,
            _ => Some(format!("has unfinished work: {}", self.unfinished.join(", "))),
        }
    }

    /// The command that helps.
    pub(crate) fn advice(&self) -> String {
        let place = &self.environment;
        match self.deployment {
            Some(_) if self.ledger_lost.is_some() => {
                format!("verify {place}   # any command that changes something makes the ledger again")
            }
            None => format!("deploy {place}"),
            Some(_) => {
                format!("verify {place}   # any deploy or rollback of '{place}' recovers what a crash left")
            }
        }
    }
}

fn overdue(ledger: &Ledger, name: &str) -> Result<Vec<Overdue>, Problem> {
    let all = Overdue::of(&ledger.undelivered()?).into_iter();
    Ok(all.filter(|found| found.environment == name).collect())
}

fn chore(row: &ChoreRow) -> Value {
    json!({
        "deployment": row.deployment, "chore": row.chore, "problem": row.problem, "since": time(row.since_ms),
    })
}

/// An environment that the state directory knows and the configuration does not.
#[derive(Debug, Serialize)]
pub(crate) struct Unconfigured {
    environment: String,
    /// When it still runs.
    gateway: Option<GatewayStatus>,
}

pub(crate) fn unconfigured(config: &Config) -> Vec<Unconfigured> {
    let names = environments_on_disk(config).into_iter();
    names
        .filter(|name| !config.environments.contains_key(name))
        .map(|name| Unconfigured { gateway: gateway::running(&Place::new(config, &name)), environment: name })
        .collect()
}

impl Unconfigured {
    pub(crate) fn words(&self) -> String {
        let does = match &self.gateway {
            Some(gateway) => format!("still serves at {}", gateway.listen),
            None => "does not run".to_owned(),
        };
        format!("{}: not in the configuration; it {does}", self.environment)
    }

    /// What nobody would look after any more.
    pub(crate) fn trouble(&self, config: &Config) -> Option<Problem> {
        let gateway = self.gateway.as_ref()?;
        let title = format!(
            "'{}' still serves at {}, and the configuration does not know it",
            self.environment, gateway.listen
        );
        Some(
            Problem::new("unhealthy", title)
                .hint(format!("grep -n environments {}", quoted(config.file.display()))),
        )
    }
}

/// One row of the history.
pub(crate) fn event(row: &Deployment) -> Value {
    json!({
        "environment": row.environment,
        "id": row.id,
        "kind": row.kind,
        "state": row.state,
        "outcome": row.outcome,
        "revision": row.revision,
        "branch": row.branch,
        "who": row.who,
        "forced_reason": row.forced_reason,
        "started_at": time(row.started_ms),
        "duration_ms": row.duration_ms(),
        "log_file": row.log_file,
    })
}

/// A rollback to a forced release serves it again.
fn forced(ledger: &Ledger, serving: Deployment) -> Result<Option<Value>, Problem> {
    let origin = ledger.origin(serving)?.filter(|row| row.forced_reason.is_some());
    Ok(origin.map(|row| {
        json!({"reason": row.forced_reason, "deployment": row.id, "who": row.who, "at": time(row.started_ms)})
    }))
}

fn about(
    repository: Option<&Repository>,
    serving: Option<&Deployment>,
    ask: fn(&Repository, &str) -> Option<String>,
) -> Option<String> {
    ask(repository?, &serving?.revision)
}

/// `same as dev`, `3 commits behind dev`.
fn distance(repository: &Repository, row: &Deployment) -> Option<String> {
    let branch = row.branch.as_deref()?;
    let head = repository.commit(&format!("refs/heads/{branch}"))?;
    Some(match repository.compare(&row.revision, &head).ok()? {
        Sync::Same => format!("same as {branch}"),
        Sync::Apart { ahead: 0, behind } => format!("{behind} commits behind {branch}"),
        Sync::Apart { ahead, behind: 0 } => format!("{ahead} commits ahead of {branch}"),
        Sync::Apart { ahead, behind } => format!("{ahead} commits ahead of {branch}, {behind} behind"),
    })
}

/// Who answers at the address of an instance, in one word.
pub(crate) fn verdict(place: &Place, instance: &Instance) -> String {
    let release = place.release(&instance.release);
    match identity::owners(&instance.address) {
        Ok(owners) => identity::judge(&owners, &instance.release, &release).verdict.word().to_owned(),
        Err(_) => String::from("unknown"),
    }
}

fn condition(supervisor: &Supervisor, place: &Place, instance: &Instance) -> Value {
    let (slot, address) = (instance.slot.name(), instance.address.to_string());
    match supervisor.condition(place, instance.slot) {
        Condition::Running { pid, starts, since_ms } => json!({
            "slot": slot, "address": address, "condition": "running", "pid": pid, "restarts": starts.saturating_sub(1),
            "uptime_ms": now().as_millisecond().saturating_sub(since_ms).max(0),
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

/// The release that a rollback could cut over to at once.
fn warm(supervisor: &Supervisor, place: &Place, slot: Slot) -> Option<String> {
    let running = matches!(supervisor.condition(place, slot), Condition::Running { .. });
    Instance::read(place, slot).filter(|_| running).map(|instance| instance.release)
}

fn time(milliseconds: i64) -> Option<String> {
    Timestamp::from_millisecond(milliseconds).ok().map(|at| at.to_string())
}
