//! Moving the schema: rehearse on a copy, decide whether the serving release can stay meanwhile,
//! back up, migrate.

use std::time::Duration;

use common::journal::Undo;
use common::report::{Problem, Report};
use common::site::Site;
use serde::Deserialize;

use crate::attempt::Attempt;
use crate::contract;
use crate::deployment::database_file;

/// Longer than this, and the app's own connections begin to give up.
const LONGEST_WRITE_LOCK: Duration = Duration::from_secs(1);

/// What `migrate rehearse` found, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Rehearsed {
    #[serde(default)]
    pending: Vec<serde_json::Value>,
    #[serde(default)]
    rehearsal: Verdict,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Verdict {
    change: Option<String>,
    reasons: Vec<String>,
    write_lock_ms: u64,
    /// What the serving release has deferred, among what is pending.
    contracts: Vec<serde_json::Value>,
}

impl Rehearsed {
    /// What a report of `migrate rehearse` says.
    pub(crate) fn of(report: &Report) -> Result<Self, Problem> {
        let facts = report.details.get("migrate").cloned().unwrap_or_default();
        serde_json::from_value(facts).map_err(|error| {
            Problem::new("sibling-failed", "the report of migrate makes no sense")
                .detail(error.to_string())
                .hint("migrate --version --json")
        })
    }

    fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Why the serving release could not live with the migrated schema; empty when it could.
    pub(crate) fn objections(&self) -> &[String] {
        if self.grew() { &[] } else { &self.rehearsal.reasons }
    }

    /// Whether more is pending than what the serving release has deferred.
    fn brings_own(&self) -> bool {
        self.pending.len() > self.rehearsal.contracts.len()
    }

    fn grew(&self) -> bool {
        self.rehearsal.change.as_deref() != Some("changed")
    }
}

/// Rehearses the pending migrations on a copy of the database.
pub(crate) fn rehearse(attempt: &mut Attempt<'_>) -> Result<Rehearsed, Problem> {
    if attempt.site.settings().database.is_none() {
        attempt.skip("migrate", "the environment has no database");
        return Ok(Rehearsed::default());
    }
    let id = attempt.id.clone();
    Rehearsed::of(&attempt.sibling("migrate", &["rehearse", "--release", &id])?)
}

/// Backs up, then migrates: beside the serving release, or in a standstill.
pub(crate) fn migrate(attempt: &mut Attempt<'_>, rehearsed: &Rehearsed) -> Result<(), Problem> {
    let settings = attempt.site.settings();
    if settings.database.is_none() {
        return Ok(());
    }
    let is_production = settings.promote_from.is_some();
    let exists = database_file(&attempt.site).is_some_and(|path| path.exists());
    if !exists && attempt.previous.is_none() {
        // Whoever makes the file, migrations or the app: a first deployment that fails takes it away.
        attempt.change("database.create", &Undo::RemoveDatabase, |_| Ok(()))?;
    }
    let id = attempt.id.clone();
    if exists && (rehearsed.is_pending() || is_production) {
        attempt.sibling("backup", &["create", "--reason", "deploy", "--deployment", &id])?;
    }
    if !rehearsed.is_pending() {
        attempt.skip("migrate.up", "no migration is pending");
        return Ok(());
    }
    let held = hold(attempt, rehearsed)?;
    let moved = up(attempt, rehearsed);
    if held {
        attempt.step("gateway.release", |site, _| site.gateway.release())?;
    }
    moved
}

/// First what the serving release has deferred, then what the new one brings.
fn up(attempt: &mut Attempt<'_>, rehearsed: &Rehearsed) -> Result<(), Problem> {
    let settles = !rehearsed.rehearsal.contracts.is_empty();
    if settles {
        contract::settle(attempt)?;
    }
    if !rehearsed.brings_own() {
        attempt.skip("migrate.up", "only deferred migrations were pending");
        return Ok(());
    }
    let id = attempt.id.clone();
    if settles {
        // The one before leads back behind what was settled.
        attempt.sibling("backup", &["create", "--reason", "deploy", "--deployment", &id])?;
    }
    attempt.change("migrate.begin", &Undo::UndoMigrations { grew: rehearsed.grew() }, |_| Ok(()))?;
    attempt.sibling("migrate", &["up", "--release", &id, "--deployment", &id]).map(drop)
}

/// A migration that locks writers out for longer than they wait keeps requests waiting instead.
fn hold(attempt: &mut Attempt<'_>, rehearsed: &Rehearsed) -> Result<bool, Problem> {
    let lock = Duration::from_millis(rehearsed.rehearsal.write_lock_ms);
    if lock <= LONGEST_WRITE_LOCK || attempt.previous.is_none() || attempt.standstill.is_some() {
        return Ok(false);
    }
    let limit = attempt.site.settings().hold_limit.0;
    attempt.step("gateway.hold", |site, _| {
        check_length(site, lock, limit)?;
        site.gateway.hold(limit)
    })?;
    Ok(true)
}

fn check_length(site: &Site, lock: Duration, limit: Duration) -> Result<(), Problem> {
    if !site.gateway.can_hold() {
        return Err(too_long(site, lock).detail(
            "nginx cannot keep requests waiting, and the app's own writers give up; --hold shows a page meanwhile",
        ));
    }
    if lock * 2 <= limit {
        return Ok(());
    }
    let may = limit.as_secs_f32();
    Err(too_long(site, lock).detail(format!(
        "requests may be held for {may:.0} s (hold_limit), and the real run can take twice as long"
    )))
}

fn too_long(site: &Site, lock: Duration) -> Problem {
    let took = lock.as_secs_f32();
    Problem::new("migration-too-long", format!("the rehearsal locked writers out for {took:.1} s"))
        .hint(format!("migrate {} plan", site.environment))
}
