//! What is known of environments: one value each, gathered for all of them at once.
//!
//! `record` is what the ledger says, `sight` what a look at gateway, processes, files and disk shows,
//! `commits` what git says, `database` how migrations stand; `judgement` says what is wrong.

mod commits;
mod database;
mod judgement;
mod past;
mod record;
mod sight;
mod unconfigured;

use std::thread;

use common::config::Config;
use common::gateway::GatewayStatus;
use common::ledger::Ledger;
use common::notify::Overdue;
use common::report::Problem;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use commits::Commits;
pub(crate) use database::Migrations;
pub(crate) use judgement::troubles;
pub(crate) use past::{Shown, TimedStep, event, show};
pub(crate) use record::Record;
use sight::Sight;
pub(crate) use sight::verdict;
pub(crate) use unconfigured::unconfigured;

use crate::uptime::Figures;

/// The state of one environment.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Facts {
    pub(crate) environment: String,
    pub(crate) revision: Option<String>,
    pub(crate) deployment: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) author: Option<String>,
    /// When its author wrote the revision.
    pub(crate) written_at: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) serving_since: Option<String>,
    pub(crate) verified_at: Option<String>,
    /// Who let the serving release in without evidence, when and why.
    pub(crate) forced: Option<Value>,
    /// How the serving revision stands to its branch's head.
    pub(crate) git: Option<String>,
    /// The status that the health path answers, or why it does not.
    pub(crate) health: Option<Value>,
    pub(crate) identity: Option<String>,
    pub(crate) instance: Option<Value>,
    /// What each slot holds, by its name.
    pub(crate) slots: Value,
    pub(crate) warm: Option<String>,
    pub(crate) gateway: Option<GatewayStatus>,
    /// The gateway runs, and nobody would start it again.
    pub(crate) gateway_orphaned: bool,
    /// Why all this had to be found out without the ledger.
    pub(crate) ledger_lost: Option<String>,
    pub(crate) database: Option<Value>,
    pub(crate) last_verification: Option<Value>,
    pub(crate) last_backup: Option<Value>,
    pub(crate) lock: Option<Value>,
    pub(crate) unfinished: Vec<String>,
    /// Until when somebody has to confirm what serves.
    pub(crate) confirm_by: Option<String>,
    /// Tags and pushes of verified deployments that failed and are still to be done.
    pub(crate) chores: Vec<Value>,
    /// As `status watch` has seen it in the last 24 hours.
    pub(crate) uptime: Option<Figures>,
    /// What did not reach its receiver.
    pub(crate) notifications: Vec<Overdue>,
    /// Room on the disk of the state directory.
    pub(crate) free_bytes: Option<u64>,
    pub(crate) last: Vec<Value>,
    #[serde(skip)]
    pub(crate) migrations: Migrations,
}

/// All that is known of the environments `names`, in this order. What takes time is looked at side
/// by side.
///
/// # Errors
/// Those of the ledger; exit 2 for an environment that is not configured.
pub(crate) fn gather(
    config: &Config,
    ledger: Option<&Ledger>,
    names: &[String],
) -> Result<Vec<Facts>, Problem> {
    Ok(look(config, records(config, ledger, names)?))
}

/// What the ledger knows of them.
///
/// # Errors
/// As [`gather`].
pub(crate) fn records<'a>(
    config: &'a Config,
    ledger: Option<&Ledger>,
    names: &[String],
) -> Result<Vec<Record<'a>>, Problem> {
    let undelivered = ledger.map(Ledger::undelivered).transpose()?.unwrap_or_default();
    let overdue = Overdue::of(&undelivered);
    names.iter().map(|name| Record::read(config, ledger, name, &overdue)).collect()
}

/// The rest, without the ledger.
pub(crate) fn look(config: &Config, records: Vec<Record<'_>>) -> Vec<Facts> {
    let (sights, commits) = thread::scope(|scope| {
        let commits = scope.spawn(|| Commits::read(config, &records));
        let lookers: Vec<_> =
            records.iter().map(|record| scope.spawn(move || Sight::of(config, record))).collect();
        let verdicts = sight::verdicts(&records);
        let sights: Vec<Sight> = lookers.into_iter().map(|one| one.join().unwrap_or_default()).collect();
        let sights = sights.into_iter().zip(verdicts).map(|(sight, identity)| Sight { identity, ..sight });
        (sights.collect::<Vec<_>>(), commits.join().unwrap_or_default())
    });
    records.into_iter().zip(sights).map(|(record, sight)| Facts::of(record, sight, &commits)).collect()
}

impl Facts {
    fn of(record: Record, sight: Sight, commits: &Commits) -> Self {
        let serving = record.serving.as_ref();
        let words = serving.and_then(|row| commits.words(&row.revision));
        Self {
            revision: serving.map(|row| row.revision.clone()),
            deployment: serving.map(|row| row.id.clone()),
            branch: serving.and_then(|row| row.branch.clone()),
            subject: words.map(|words| words.subject.clone()),
            author: words.map(|words| words.author.clone()),
            written_at: words.map(|words| words.written_at.clone()),
            state: serving.map(|row| row.state.word().to_owned()),
            serving_since: serving.and_then(|row| time(row.serving_ms?)),
            verified_at: serving.and_then(|row| time(row.verified_ms?)),
            git: serving.and_then(|row| commits.distance(row)),
            forced: record.forced,
            health: sight.health,
            identity: sight.identity,
            instance: sight.instance,
            slots: sight.slots,
            warm: sight.warm,
            gateway: sight.gateway,
            gateway_orphaned: sight.gateway_orphaned,
            ledger_lost: record.lost,
            database: sight.database,
            migrations: sight.migrations,
            last_verification: record.last_verification,
            last_backup: sight.last_backup,
            lock: sight.lock,
            unfinished: record.unfinished,
            confirm_by: record.confirm_by,
            chores: record.chores,
            uptime: record.uptime,
            notifications: record.notifications,
            free_bytes: sight.free_bytes,
            last: record.last,
            environment: record.place.environment().to_owned(),
        }
    }
}

/// A moment as reports write it.
pub(crate) fn time(milliseconds: i64) -> Option<String> {
    Timestamp::from_millisecond(milliseconds).ok().map(|at| at.to_string())
}
