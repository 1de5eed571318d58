//! Makes a backup: a snapshot at one point in time, proved on the copy, compressed, read back,
//! exported, and only then named. The live database is read once and never written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use common::backups::{self, Backup, FORMAT, FileFacts, Manifest, Verified};
use common::cli::{Meter, Run, warn};
use common::database;
use common::durable;
use common::migrations::read_applied;
use common::relocation;
use common::report::{OrProblem, Problem, Status, now};
use serde_json::{Map, Value};

use crate::content::Content;
use crate::draft::Draft;
use crate::files::{self, Stock};
use crate::site::Site;
use crate::{archive, content, export, provenance, space};

/// The snapshot before compression, and the database that the export is loaded into.
const RAW: &str = "raw.db";
const LOADED: &str = "loaded.db";
/// A kept snapshot, before it takes the place of an equal one.
const LINK: &str = "kept.db.zst";

/// What kind of backup is asked for.
pub(crate) struct Request<'a> {
    pub(crate) reason: &'a str,
    pub(crate) protect: bool,
    pub(crate) deployment: Option<String>,
    /// Taken in a hurry, before the database is overwritten: kept even when it is damaged, and
    /// without the readable export, since writers wait.
    pub(crate) rescue: bool,
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
    relocation::check(site.config, &site.place, site.serving()?.as_ref())?;
    let Some(live) = site.database() else {
        run.skip("backup.database", "no database is configured");
        return Ok(None);
    };
    if !live.exists() {
        run.skip("backup.database", "there is no database yet");
        return Ok(None);
    }
    let root = site.place.backups();
    run.step("backup.space", || space::require(&live, further_bytes(site, request)?, &root))?;
    let draft = Draft::begin(&site.place)?;
    let manifest =
        fill(run, site, request, &live, &draft).map_err(|problem| space::explain(problem, &root))?;
    let backup = run
        .step("backup.publish", || draft.publish(manifest))
        .map_err(|problem| space::explain(problem, &root))?;
    if let Ok(Some(serving)) = site.serving() {
        provenance::tag(site, &backup.manifest.id, &serving);
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
    live: &Path,
    draft: &Draft,
) -> Result<Manifest, Problem> {
    let raw = draft.path(RAW);
    run.step("backup.snapshot", || {
        let mut meter = Meter::new("snapshot");
        database::snapshot(live, &raw, &mut |done, total| meter.update(done, total))
    })?;
    let mut manifest = blank(site, request, draft, backups::next_number(&site.place)?);
    let content = prove(run, request, &raw, &mut manifest)?;
    run.step("backup.compress", || compress(&raw, draft, &mut manifest))?;
    share_snapshot(site, draft, &manifest)?;
    if request.rescue {
        run.skip("backup.export", "writers wait");
    } else {
        export_readable(run, &raw, draft, &content, &mut manifest)?;
        collect_further(run, site, draft, &mut manifest)?;
    }
    run.step("backup.settings", || write_provenance(site, draft, &mut manifest))?;
    manifest.tables = content.tables;
    manifest.schema_hash = content.schema_hash;
    manifest.user_version = content.user_version;
    manifest.application_id = content.application_id;
    Ok(manifest)
}

fn blank(site: &Site<'_>, request: &Request<'_>, draft: &Draft, number: u64) -> Manifest {
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
        verified: Verified::default(),
    }
}

/// Checks the copy and reads its content.
fn prove(
    run: &mut Run,
    request: &Request<'_>,
    raw: &Path,
    manifest: &mut Manifest,
) -> Result<Content, Problem> {
    let header = content::Header::read(raw)?;
    manifest.page_size = header.page_size;
    header.journal_mode().clone_into(&mut manifest.journal_mode);
    let copy = content::open_private(raw)?;
    manifest.applied = read_applied(&copy).ok().map(|rows| rows.iter().map(|row| row.version).collect());
    run.step("backup.check", || {
        match content::check(&copy) {
            Ok(foreign_keys_hold) => {
                manifest.verified.integrity_check = true;
                manifest.verified.foreign_key_check = foreign_keys_hold;
            }
            Err(problem) if request.rescue => warn(&problem.to_string()),
            Err(problem) => return Err(problem.hint(format!("backup {} list", manifest.environment))),
        }
        match content::read(&copy) {
            Err(_) if request.rescue => Ok(Content::default()),
            content => content,
        }
    })
}

fn compress(raw: &Path, draft: &Draft, manifest: &mut Manifest) -> Result<(), Problem> {
    let target = draft.path(backups::DATABASE);
    let title = || format!("cannot write {}", target.display());
    let total = raw.metadata().map_or(0, |meta| meta.len());
    let mut meter = Meter::new("compress");
    let written = archive::compress(raw, &target, &mut |done| meter.update(done, total))
        .or_problem("snapshot-failed", title)?;
    let read = archive::decompress(&target, std::io::sink()).or_problem("snapshot-failed", title)?;
    if read != written {
        return Err(Problem::new("snapshot-failed", "the compressed snapshot does not read back the same")
            .hint("dmesg | tail"));
    }
    manifest.verified.read_back = true;
    manifest.files.insert(backups::DATABASE.to_owned(), written.file);
    manifest.raw_bytes = written.raw.size;
    manifest.raw_sha256 = written.raw.sha256;
    Ok(())
}

/// Keeps one copy of a snapshot that the newest backup has as well: commands that are repeated in a
/// loop must not fill the disk. That one is read first.
fn share_snapshot(site: &Site<'_>, draft: &Draft, manifest: &Manifest) -> Result<(), Problem> {
    let listing = backups::list(&site.place)?;
    let facts = &manifest.files[backups::DATABASE];
    let newest =
        listing.backups.first().filter(|backup| backup.manifest.files.get(backups::DATABASE) == Some(facts));
    let Some(kept) = newest.map(|backup| backup.directory.join(backups::DATABASE)) else { return Ok(()) };
    let (own, link) = (draft.path(backups::DATABASE), draft.path(LINK));
    let is_sound = archive::measure(&kept).is_ok_and(|held| &held == facts);
    if !is_sound || fs::hard_link(&kept, &link).is_err() {
        return Ok(());
    }
    durable::rename(&link, &own).or_problem("state-unwritable", || format!("cannot write {}", own.display()))
}

/// Writes the readable export. A restore never needs it, so a database that only the app itself
/// can load (collations or functions of its own) is still backed up, and said not to be exported.
fn export_readable(
    run: &mut Run,
    raw: &Path,
    draft: &Draft,
    content: &Content,
    manifest: &mut Manifest,
) -> Result<(), Problem> {
    let (target, loaded) = (draft.path(backups::EXPORT), draft.path(LOADED));
    let begun = Instant::now();
    let written: Result<FileFacts, Problem> = export::write(raw, &target).and_then(|facts| {
        export::prove(&target, &loaded, content)?;
        Ok(facts)
    });
    match written {
        Ok(facts) => {
            run.end_step("backup.export", None, begun.elapsed(), None);
            manifest.verified.export = true;
            manifest.files.insert(backups::EXPORT.to_owned(), facts);
            Ok(())
        }
        Err(problem) if common::space::is_full(&draft.directory) => Err(problem),
        Err(problem) => {
            run.skip("backup.export", &problem.to_string());
            Ok(())
        }
    }
}

/// Files that an earlier backup keeps take no room; of an equal size they most likely are the same.
fn further_bytes(site: &Site<'_>, request: &Request<'_>) -> Result<u64, Problem> {
    if request.rescue || site.settings.backups.files.is_empty() {
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

fn write_provenance(site: &Site<'_>, draft: &Draft, manifest: &mut Manifest) -> Result<(), Problem> {
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
