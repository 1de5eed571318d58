//! Stage 2: build the release, move the schema (`schema`), start the instance in the idle slot;
//! in a `standstill` when it cannot run beside the one that serves.

use std::path::{Path, PathBuf};

use common::database::{self, Schema};
use common::handover;
use common::journal::Undo;
use common::readiness;
use common::report::Problem;
use common::site::Site;
use common::{git, release};

use crate::arguments::DeployOptions;
use crate::attempt::Attempt;
use crate::test_gate::{self, Findings};
use crate::{schema, standstill};

pub(crate) fn run(attempt: &mut Attempt<'_>, options: &DeployOptions) -> Result<(), Problem> {
    build(attempt)?;
    let rehearsed = schema::rehearse(attempt)?;
    if let Some(reason) = standstill::reason(attempt.site.settings(), options, &rehearsed) {
        standstill::begin(attempt, &reason)?;
    }
    schema::migrate(attempt, &rehearsed)?;
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

fn start(attempt: &mut Attempt<'_>) -> Result<(), Problem> {
    let slot = handover::idle_slot(&attempt.site)?;
    let retired = attempt.step("slot.retire", |site, _| handover::retire(site, slot))?;
    if !retired.is_clean() {
        attempt.run.detail("retired", &retired);
    }
    let before = schema_of(&attempt.site)?;
    let instance = attempt.site.instance(slot, &attempt.id, &attempt.id, &attempt.source.revision)?;
    let id = attempt.id.clone();
    attempt.change("instance.start", &Undo::StopInstance { slot }, |site| {
        site.ledger.place(&id, &id, slot, site.place.database(site.settings()).as_deref())?;
        handover::start(site, &instance)
    })?;
    attempt.step("instance.ready", |site, _| readiness::await_ready(site, &instance))?;
    attempt.run.detail("slot", slot);
    attempt.run.detail("address", instance.address.to_string());
    let after = schema_of(&attempt.site)?;
    if before != after && !attempt.site.config.app.schema_at_start {
        return Err(Problem::new("schema-at-start", "the app changed the database's schema when it started")
            .detail("schema changes belong into migrations, or need schema_at_start = true")
            .hint(format!("git show --stat {}", git::short(&attempt.source.revision))));
    }
    Ok(())
}

fn schema_of(site: &Site) -> Result<Option<Schema>, Problem> {
    match database_file(site).filter(|path| path.exists()) {
        Some(path) => Schema::read(&database::open_read_only(&path)?).map(Some),
        None => Ok(None),
    }
}

pub(crate) fn database_file(site: &Site) -> Option<PathBuf> {
    site.place.database(site.settings())
}
