//! Makes a backup: a snapshot at one point in time, proved on the copy while it is compressed and
//! read back, and only then named. The live database is read once and never written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use common::backups::{self, Backup, FORMAT, Manifest, Verified};
use common::cli::Run;
use common::durable;
use common::report::{OrProblem, Problem, Status, now};
use serde_json::{Map, Value};

use crate::arguments::MANUAL;
use crate::draft::Draft;
use crate::files::{self, Stock};
use crate::proof::{self, Damage};
use crate::readable::{self, RAW};
use crate::site::Site;
use crate::{archive, provenance, space};

/// A kept snapshot, before it takes the place of an equal one.
const LINK: &str = "kept.db.zst";

/// What kind of backup is asked for.
pub(crate) struct Request<'a> {
    pub(crate) reason: &'a str,
    pub(crate) protect: bool,
    pub(crate) deployment: Option<String>,
}

impl Request<'_> {
    /// Once nobody waits for the copy: checks and compression keep the cores busy, and the app comes
    /// first, the more so where no deployment waits. Programs that are started from now on do the same.
    fn give_way(&self) {
        let inferior = if self.reason == MANUAL { 10 } else { 5 };
        let _ = rustix::process::nice(inferior);
    }
}

/// Makes one backup under the lock; `None` when there is no database yet.
///
/// # Errors
/// `no-space`, `snapshot-failed`, `database-unreadable`, `database-damaged`, `state-unwritable`.
/// Nothing is left behind.
pub(crate) fn create(
    run: &mut Run,
    site: &Site<'_>,
    request: &Request<'_>,
) -> Result<Option<Backup>, Problem> {
    site.refuse_relocated()?;
    let Some(live) = site.database() else {
        run.skip("backup.database", "no database is configured");
        return Ok(None);
    };
    if !live.exists() {
        run.skip("backup.database", "there is no database yet");
        return Ok(None);
    }
    let root = site.place.backups();
    run.step("backup.space", || space::require(&live, further_bytes(site)?, &root))?;
    let (draft, scratch) = (Draft::begin(&site.place)?, site.scratch()?);
    let raw = scratch.path().join(RAW);
    let manifest =
        fill(run, site, request, (&live, &raw), &draft).map_err(|problem| space::explain(problem, &root))?;
    let mut backup = run
        .step("backup.publish", || draft.publish(manifest))
        .map_err(|problem| space::explain(problem, &root))?;
    provenance::tag(site, &backup.manifest.id);
    if request.reason == MANUAL {
        readable::follow_creation(run, site, &mut backup, scratch.path());
    } else {
        run.skip("backup.export", "a deployment waits; added once it is verified");
    }
    Ok(Some(backup))
}

/// Puts a new backup into the report.
pub(crate) fn describe(run: &mut Run, backup: &Backup) {
    let manifest = &backup.manifest;
    let parts: Map<String, Value> = run
        .report
        .steps
        .iter()
        .filter(|step| step.tool == "backup" && step.status == Status::Passed)
        .filter_map(|step| Some((step.name.strip_prefix("backup.")?.to_owned(), step.duration_ms.into())))
        .collect();
    run.detail("id", &manifest.id);
    run.detail("directory", backup.directory.display().to_string());
    run.detail("bytes", backup.bytes());
    run.detail("raw_bytes", manifest.raw_bytes);
    run.detail("tables", manifest.tables.len());
    run.detail("rows", manifest.tables.values().map(|table| table.rows).sum::<u64>());
    run.detail("duration_parts_ms", parts);
}

fn fill(
    run: &mut Run,
    site: &Site<'_>,
    request: &Request<'_>,
    (live, raw): (&Path, &Path),
    draft: &Draft,
) -> Result<Manifest, Problem> {
    let copied = run.step("backup.snapshot", || archive::snapshot(live, raw))?;
    request.give_way();
    let mut manifest = blank(site, request, draft, backups::next_number(&site.place)?);
    proof::describe(raw, copied, &mut manifest)?;
    let begun = Instant::now();
    proof::prove_and_compress(raw, &draft.path(backups::DATABASE), &mut manifest, Damage::Refused)
        .inspect_err(|problem| run.end_step("backup.check", None, begun.elapsed(), Some(problem)))?
        .tell(run);
    share_snapshot(site, &draft.directory, &manifest)?;
    collect_further(run, site, draft, &mut manifest)?;
    run.step("backup.settings", || write_provenance(site, draft, &mut manifest))?;
    Ok(manifest)
}

/// A manifest without what the copy itself tells.
pub(crate) fn blank(site: &Site<'_>, request: &Request<'_>, draft: &Draft, number: u64) -> Manifest {
    Manifest {
        format: FORMAT,
        id: draft.id.clone(),
        environment: site.name().to_owned(),
        deployment: request.deployment.clone(),
        reason: request.reason.to_owned(),
        number,
        protected: request.protect,
        created_at: now(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        sqlite_version: rusqlite::version().to_owned(),
        page_size: 0,
        journal_mode: String::new(),
        user_version: 0,
        application_id: 0,
        applied: None,
        files: BTreeMap::new(),
        raw_bytes: 0,
        raw_sha256: String::new(),
        tables: BTreeMap::new(),
        schema_hash: String::new(),
        further: None,
        unexportable: None,
        verified: Verified::default(),
    }
}

/// Keeps one copy of a snapshot that the newest backup has as well: commands that are repeated in a
/// loop must not fill the disk. That one is read first.
///
/// # Errors
/// `state-unreadable`, `state-unwritable`.
pub(crate) fn share_snapshot(site: &Site<'_>, directory: &Path, manifest: &Manifest) -> Result<(), Problem> {
    let listing = backups::list(&site.place)?;
    let facts = &manifest.files[backups::DATABASE];
    let others = listing.backups.iter().filter(|backup| backup.manifest.id != manifest.id);
    let newest = others.take(1).find(|backup| backup.manifest.files.get(backups::DATABASE) == Some(facts));
    let Some(kept) = newest.map(|backup| backup.directory.join(backups::DATABASE)) else { return Ok(()) };
    let (own, link) = (directory.join(backups::DATABASE), directory.join(LINK));
    let is_sound = archive::measure(&kept).is_ok_and(|held| &held == facts);
    if !is_sound || fs::hard_link(&kept, &link).is_err() {
        return Ok(());
    }
    durable::rename(&link, &own).or_problem("state-unwritable", || format!("cannot write {}", own.display()))
}

/// Files that an earlier backup keeps take no room; of an equal size they most likely are the same.
fn further_bytes(site: &Site<'_>) -> Result<u64, Problem> {
    if site.settings.backups.files.is_empty() {
        return Ok(0);
    }
    let stock = Stock::of(&backups::list(&site.place)?.backups);
    Ok(files::survey(site)?.bytes_beyond(&stock))
}

/// After the snapshot: a file that one of its rows names was there before the row.
fn collect_further(
    run: &mut Run,
    site: &Site<'_>,
    draft: &Draft,
    manifest: &mut Manifest,
) -> Result<(), Problem> {
    if site.settings.backups.files.is_empty() {
        return Ok(());
    }
    let collected = run.step("backup.collect", || {
        let stock = Stock::of(&backups::list(&site.place)?.backups);
        files::collect(&site.place.shared(), files::survey(site)?, stock, &draft.directory)
    })?;
    manifest.further = Some(collected.facts());
    manifest.files.insert(backups::FILES_INDEX.to_owned(), collected.index.clone());
    run.warn_all(&collected.warnings);
    run.detail("further", &collected);
    Ok(())
}

/// Writes from where the backup comes.
///
/// # Errors
/// `state-unwritable`.
pub(crate) fn write_provenance(
    site: &Site<'_>,
    draft: &Draft,
    manifest: &mut Manifest,
) -> Result<(), Problem> {
    let serving = site.serving()?;
    let texts = [
        (backups::GIT_TAG, provenance::git_tag(site, &draft.id, serving.as_ref())),
        (backups::SETTINGS, provenance::settings(site)?),
    ];
    for (name, text) in texts {
        let facts = archive::write_small(&draft.path(name), &text)
            .or_problem("state-unwritable", || format!("cannot write {}", draft.path(name).display()))?;
        manifest.files.insert(name.to_owned(), facts);
    }
    Ok(())
}
