//! Stage 2: build the release, move the schema, start the instance in the idle slot.

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::database::{self, Schema};
use common::handover;
use common::instance::Instance;
use common::journal::Undo;
use common::readiness;
use common::report::Problem;
use common::site::Site;
use common::{git, release};

use crate::attempt::Attempt;
use crate::contract;
use crate::test_gate::{self, Findings};

/// Longer than this, and the app's own connections begin to give up.
const LONGEST_WRITE_LOCK: Duration = Duration::from_secs(1);

pub(crate) fn run(attempt: &mut Attempt<'_>) -> Result<(), Problem> {
    build(attempt)?;
    if attempt.site.settings().database.is_some() {
        move_schema(attempt)?;
    } else {
        attempt.skip("migrate", "the environment has no database");
    }
    start(attempt)
}

fn build(attempt: &mut Attempt<'_>) -> Result<(), Problem> {
    let (id, revision) = (attempt.id.clone(), attempt.source.revision.clone());
    let repository = attempt.source.repository.clone();
    let undo = Undo::RemoveRelease { release: id.clone() };
    let dir = attempt.change("release.checkout", &undo, |site| {
        release::checkout(&repository, &site.place, &id, &revision)
    })?;
    let app = attempt.site.config.app.clone();
    if let Some(line) = &app.build {
        attempt.step("release.build", |site, _| release::run_build(line, &dir, &site.log, &site.lock))?;
    }
    if let Some(line) = &app.test {
        run_tests(attempt, &dir, line)?;
    }
    attempt.step("release.shared", |site, _| {
        release::link_shared(&site.place, &dir, &app.shared)?;
        release::seal(&dir)
    })
}

fn run_tests(attempt: &mut Attempt<'_>, dir: &Path, line: &str) -> Result<(), Problem> {
    let mut found = Findings::default();
    let passed =
        attempt.step("release.tests", |site, source| test_gate::run(site, source, dir, line, &mut found));
    if let Some(results) = &found.results {
        attempt.run.detail("tests", results);
    }
    if let Some(coverage) = &found.coverage {
        attempt.run.detail("coverage", coverage);
    }
    if found.removed > 0 {
        attempt.run.detail("removed_after_tests", found.removed);
    }
    passed
}

/// Rehearse on a copy, back up, then migrate beside the serving release.
fn move_schema(attempt: &mut Attempt<'_>) -> Result<(), Problem> {
    let id = attempt.id.clone();
    let database = database_file(&attempt.site).filter(|path| path.exists());
    let rehearsed = attempt.sibling("migrate", &["rehearse", "--release", &id])?;
    if database.is_none() && attempt.previous.is_none() {
        // Whoever makes the file, migrations or the app: a first deployment that fails takes it away.
        attempt.change("database.create", &Undo::RemoveDatabase, |_| Ok(()))?;
    }
    let facts = rehearsed.details.get("migrate").cloned().unwrap_or_default();
    let pending = listed(&facts["pending"]) > 0;
    if pending {
        attempt.step("migrate.compatible", |site, _| check_compatible(site, &facts["rehearsal"]))?;
    }
    if database.is_some() && (pending || attempt.site.settings().promote_from.is_some()) {
        attempt.sibling("backup", &["create", "--reason", "deploy", "--deployment", &id])?;
    }
    let contracts = listed(&facts["rehearsal"]["contracts"]);
    if listed(&facts["pending"]) == 0 {
        attempt.skip("migrate.up", "no migration is pending");
        return Ok(());
    }
    let held = hold(attempt, &facts["rehearsal"])?;
    let moved = migrate(attempt, &facts, contracts);
    if held {
        attempt.step("gateway.release", |site, _| site.gateway.release())?;
    }
    moved
}

fn listed(list: &serde_json::Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

/// First what the serving release has deferred, then what the new one brings.
fn migrate(attempt: &mut Attempt<'_>, facts: &serde_json::Value, contracts: usize) -> Result<(), Problem> {
    if contracts > 0 {
        contract::settle(attempt)?;
    }
    if listed(&facts["pending"]) == contracts {
        attempt.skip("migrate.up", "only deferred migrations were pending");
        return Ok(());
    }
    let id = attempt.id.clone();
    let grew = facts["rehearsal"]["change"] != "changed";
    attempt.change("migrate.begin", &Undo::UndoMigrations { grew }, |_| Ok(()))?;
    attempt.sibling("migrate", &["up", "--release", &id, "--deployment", &id]).map(drop)
}

/// A migration that locks writers out for longer than they wait keeps requests waiting instead.
fn hold(attempt: &mut Attempt<'_>, rehearsal: &serde_json::Value) -> Result<bool, Problem> {
    let lock = Duration::from_millis(rehearsal["write_lock_ms"].as_u64().unwrap_or(0));
    if lock <= LONGEST_WRITE_LOCK || attempt.previous.is_none() {
        return Ok(false);
    }
    let limit = attempt.site.settings().hold_limit.0;
    attempt.step("gateway.hold", |site, _| {
        if lock * 2 > limit {
            let (took, may) = (lock.as_secs_f32(), limit.as_secs_f32());
            return Err(Problem::new(
                "migration-too-long",
                format!("the rehearsal locked writers out for {took:.1} s"),
            )
            .detail(format!(
                "requests may be held for {may:.0} s (hold_limit), and the real run can take twice as long"
            ))
            .hint(format!("migrate {} plan", site.environment)));
        }
        site.gateway.hold(limit)
    })?;
    Ok(true)
}

/// The old release must live with the new schema, since both run at once.
fn check_compatible(site: &Site, rehearsal: &serde_json::Value) -> Result<(), Problem> {
    let serves = site.ledger.serving(&site.environment)?.is_some();
    if rehearsal["change"] != "changed" || !serves {
        return Ok(());
    }
    let reasons: Vec<&str> =
        rehearsal["reasons"].as_array().into_iter().flatten().filter_map(|r| r.as_str()).collect();
    Err(Problem::new("schema-incompatible", "the serving release could not live with the migrated schema")
        .detail(format!("{}\nsplit it: add first, remove in a later deployment", reasons.join("\n")))
        .hint(format!("migrate {} plan", site.environment)))
}

fn start(attempt: &mut Attempt<'_>) -> Result<(), Problem> {
    let slot = handover::idle_slot(&attempt.site)?;
    let retired = attempt.step("slot.retire", |site, _| handover::retire(site, slot))?;
    if !retired.is_clean() {
        attempt.run.detail("retired", &retired);
    }
    let before = schema(&attempt.site)?;
    let instance = Instance::new(slot, &attempt.id, &attempt.id, &attempt.source.revision)?;
    let id = attempt.id.clone();
    attempt.change("instance.start", &Undo::StopInstance { slot }, |site| {
        site.ledger.place(&id, &id, slot, site.place.database(site.settings()).as_deref())?;
        handover::start(site, &instance)
    })?;
    attempt.step("instance.ready", |site, _| readiness::await_ready(site, &instance))?;
    attempt.run.detail("slot", slot);
    attempt.run.detail("address", instance.address.to_string());
    let after = schema(&attempt.site)?;
    if before != after && !attempt.site.config.app.schema_at_start {
        return Err(Problem::new("schema-at-start", "the app changed the database's schema when it started")
            .detail("schema changes belong into migrations, or need schema_at_start = true")
            .hint(format!("git show --stat {}", git::short(&attempt.source.revision))));
    }
    Ok(())
}

fn schema(site: &Site) -> Result<Option<Schema>, Problem> {
    match database_file(site).filter(|path| path.exists()) {
        Some(path) => Schema::read(&database::open_read_only(&path)?).map(Some),
        None => Ok(None),
    }
}

fn database_file(site: &Site) -> Option<PathBuf> {
    site.place.database(site.settings())
}
