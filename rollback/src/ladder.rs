//! The ladder of a way back: the first rung that is right for the schema. Code alone where it lives
//! with the schema as it is; the text that undoes a migration; the older schema in place, from the
//! backup before it; a backup with every row that a damaged database still gives; and the backup
//! itself, when a person gives up what was written since.

use std::path::Path;
use std::time::Duration;

use common::backups::{self, Backup};
use common::cli::Run;
use common::database;
use common::exec::Sibling;
use common::interrupt;
use common::journal;
use common::ledger::Kind;
use common::migrations::{self, Applied, Source};
use common::report::{Problem, Report};
use common::scratch::Scratch;
use common::site::Site;
use serde_json::json;

use crate::salvage;

/// How long trying out a way may take.
const TRIAL: Duration = Duration::from_secs(30 * 60);

/// How long damage is looked for.
const GLANCE: Duration = Duration::from_secs(1);
/// The same where a way back has failed on a copy, which damage may be the reason of.
const SEARCH: Duration = Duration::from_secs(30);

/// How the schema becomes one that the target can live with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rung {
    /// Not at all: the target lives with it as it is.
    Code,
    /// Everything newer than `to` is undone by its own text; the backup tells what users wrote.
    Down { to: i64, backup: Option<String> },
    /// The schema becomes that of the backup, and what was written since stays.
    InPlace { to: i64, backup: String },
    /// The damaged database becomes the backup, and has every row that can still be read.
    Salvage { backup: String },
    /// The database becomes the backup.
    Discard { backup: String },
}

/// A rung, and why it is the first that is right.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) rung: Rung,
    reason: String,
    /// What trying it out has shown.
    facts: serde_json::Value,
    /// What it was tried from, so that requests wait for no more than they must.
    prepared: Option<Scratch>,
}

impl Choice {
    fn code(reason: &str) -> Self {
        Self::new(Rung::Code, reason.to_owned())
    }

    fn new(rung: Rung, reason: String) -> Self {
        Self { rung, reason, facts: json!({}), prepared: None }
    }

    /// The directory in which the backup is unpacked.
    pub(crate) fn prepared(&self) -> Option<&Path> {
        self.prepared.as_ref().map(Scratch::path)
    }

    /// Whether the target could not run beside what serves now.
    pub(crate) fn needs_standstill(&self) -> bool {
        self.rung != Rung::Code
    }

    /// Puts the choice into the report.
    pub(crate) fn tell(&self, run: &mut Run) {
        let (number, name) = match self.rung {
            Rung::Code => (1, "code alone"),
            Rung::Down { .. } => (2, "down migration"),
            Rung::InPlace { .. } => (3, "undo in place"),
            Rung::Salvage { .. } => (4, "restore and salvage"),
            Rung::Discard { .. } => (5, "restore, writes discarded"),
        };
        run.detail("rung", json!({ "number": number, "name": name, "reason": self.reason }));
        match &self.rung {
            Rung::Down { to, .. } => run.detail("migrations_back_to", to),
            Rung::InPlace { to, backup } => {
                run.detail("migrations_back_to", to);
                run.detail("backup", backup);
            }
            Rung::Salvage { backup } | Rung::Discard { backup } => run.detail("backup", backup),
            Rung::Code => {}
        }
        for name in ["not_kept_total", "not_kept"] {
            if let Some(fact) = self.facts.get(name) {
                run.detail(name, fact);
            }
        }
    }
}

/// Compares the database with the migrations of a release that is to serve again.
///
/// # Errors
/// `schema-behind`: the release needs migrations that were taken back; `migration-irreversible`: no
/// way back keeps what was written; `database-damaged`, and no backup suits the release. Nothing is
/// changed.
pub(crate) fn choose(run: &mut Run, site: &Site, release: &str, discard: bool) -> Result<Choice, Problem> {
    let Some(path) = site.place.database(site.settings()).filter(|path| path.exists()) else {
        return Ok(Choice::code("there is no database"));
    };
    if let Some(choice) = salvage(site, release, &path, GLANCE)? {
        return Ok(choice);
    }
    let (applied, fit) = compare(site, release, &path)?;
    let chosen = match fit {
        Fit::Behind { file } => return Err(behind(site, &file)),
        Fit::Lives => return Ok(Choice::code("the schema is the same, or has only grown")),
        Fit::Changed(row) => climb(run, site, &applied, &row, discard),
        Fit::Doubtful(row) => ask_schema(run, site, &applied, &row, discard),
    };
    chosen.or_else(|problem| {
        interrupt::check()?;
        let found = if discard { None } else { salvage(site, release, &path, SEARCH)? };
        found.ok_or(problem)
    })
}

/// The rung of a damaged database; none where no damage is found in time.
fn salvage(site: &Site, release: &str, path: &Path, limit: Duration) -> Result<Option<Choice>, Problem> {
    let Some(damage) = database::find_damage(path, limit) else { return Ok(None) };
    let backup = salvage::find_backup(site, release, &damage)?;
    Ok(Some(Choice::new(Rung::Salvage { backup }, format!("the database is damaged: {damage}"))))
}

/// Whether a release can live with the schema of a database.
#[derive(Debug)]
pub(crate) enum Fit {
    /// It needs this migration.
    Behind {
        file: String,
    },
    /// Not with what this one did.
    Changed(Applied),
    /// Nothing tells what this one did.
    Doubtful(Applied),
    Lives,
}

/// Compares what the database at `path` has with the migrations of `release`; what is applied, and
/// the verdict.
///
/// # Errors
/// Those of [`Source::read`] and [`Source::applied`].
pub(crate) fn compare(site: &Site, release: &str, path: &Path) -> Result<(Vec<Applied>, Fit), Problem> {
    let db = database::open_read_only(path)?;
    let source = Source::read(&site.place.release(release), Some(&db))?;
    let applied = source.applied(&db)?;
    let standing = migrations::compare(&source.migrations, &applied);
    if let Some(first) = standing.pending.iter().chain(&standing.out_of_order).next() {
        return Ok((applied, Fit::Behind { file: first.file.clone() }));
    }
    let mut fit = Fit::Lives;
    for row in standing.missing_file.iter().chain(&standing.ahead) {
        match changed(site, row)? {
            Some(true) => return Ok((applied, Fit::Changed(row.clone()))),
            None if matches!(fit, Fit::Lives) => fit = Fit::Doubtful(row.clone()),
            Some(false) | None => {}
        }
    }
    Ok((applied, fit))
}

/// Whether old code cannot live with what a migration did; unknown for one that no deployment ran,
/// or whose journal is lost.
fn changed(site: &Site, row: &Applied) -> Result<Option<bool>, Problem> {
    if row.after {
        return Ok(Some(true));
    }
    match &row.deployment {
        Some(id) => Ok(journal::grew(&site.ledger, id)?.map(|grew| !grew)),
        None => Ok(None),
    }
}

/// Where the journal is silent, a copy that goes back says what the newer schema does to older code.
fn ask_schema(
    run: &mut Run,
    site: &Site,
    applied: &[Applied],
    row: &Applied,
    discard: bool,
) -> Result<Choice, Problem> {
    let tried = attempt(run, site, applied, row, None);
    match tried {
        Ok((_, report)) if fact(&report, "change") != Some("changed") => {
            Ok(Choice::code("the schema has only grown, as a copy that went back shows"))
        }
        Ok(_) => climb(run, site, applied, row, discard),
        Err(problem) if problem.kind == "migration-irreversible" && !discard => {
            run.warn(&format!(
                "nothing tells whether the release can live with migration {}_{}: {problem}",
                row.version, row.name
            ));
            Ok(Choice::code("unproved: nothing says whether the release can live with the schema"))
        }
        Err(problem) => Err(problem),
    }
}

/// The schema has to go back to what it was before `oldest`.
fn climb(
    run: &mut Run,
    site: &Site,
    applied: &[Applied],
    oldest: &Applied,
    discard: bool,
) -> Result<Choice, Problem> {
    let why = format!("the release cannot live with migration {}_{}", oldest.version, oldest.name);
    let backup = backup_before(site, applied, oldest)?.map(|backup| backup.manifest.id);
    if discard {
        let backup = backup.ok_or_else(|| no_backup(site, oldest))?;
        return Ok(Choice::new(Rung::Discard { backup }, format!("{why}; --discard-writes")));
    }
    let scratch = Scratch::make(&site.place.root())?;
    let (to, report) = attempt(run, site, applied, oldest, Some(scratch.path()))?;
    let facts = report.details.get("migrate").cloned().unwrap_or_default();
    let (rung, reason) = match (fact(&report, "way"), backup) {
        (Some("in_place"), Some(backup)) => {
            let because = facts["reason"].as_str().unwrap_or_default();
            (Rung::InPlace { to, backup }, format!("{why}; {because}"))
        }
        (_, backup) => (Rung::Down { to, backup: backup.filter(|_| facts["exact"] == true) }, why),
    };
    Ok(Choice { rung, reason, facts, prepared: Some(scratch) })
}

/// Tries the ways back on a copy; the backup is unpacked in `prepared`.
fn attempt(
    run: &mut Run,
    site: &Site,
    applied: &[Applied],
    oldest: &Applied,
    prepared: Option<&Path>,
) -> Result<(i64, Report), Problem> {
    let before = applied.iter().map(|row| row.version).filter(|version| *version < oldest.version).max();
    let (to, backup) = (before.unwrap_or(0), backup_before(site, applied, oldest)?);
    let version = to.to_string();
    let prepared = prepared.map(|dir| dir.display().to_string());
    let mut words = vec!["rehearse", "--back-to", &version];
    if let Some(backup) = &backup {
        words.extend(["--backup", &backup.manifest.id]);
        words.extend(prepared.iter().flat_map(|dir| ["--prepared", dir]));
    }
    let report = site.run_sibling(&Sibling::find("migrate")?, &words, TRIAL)?;
    for step in &report.steps {
        run.push(step.clone());
    }
    report.verdict()?;
    Ok((to, report))
}

fn fact<'a>(report: &'a Report, name: &str) -> Option<&'a str> {
    report.details.get("migrate")?[name].as_str()
}

/// The backup that a deployment made right before `oldest` ran. What was deferred has the name of
/// the deployment that brought it, and ran in a later one. A backup of an earlier version of this
/// tool does not say what it records.
fn backup_before(site: &Site, applied: &[Applied], oldest: &Applied) -> Result<Option<Backup>, Problem> {
    let Some(id) = &oldest.deployment else { return Ok(None) };
    let by_deployment = site.ledger.deployment(id)?.is_some_and(|row| row.kind == Kind::Deploy);
    let mut versions: Vec<i64> =
        applied.iter().map(|row| row.version).filter(|version| *version < oldest.version).collect();
    versions.sort_unstable();
    let named = (!oldest.after || !by_deployment).then_some(id.as_str());
    match backups::before_migrations(&site.place, &versions, named)? {
        None => backups::taken_for(&site.place, id, Some("deploy")),
        found => Ok(found),
    }
}

fn no_backup(site: &Site, row: &Applied) -> Problem {
    Problem::new(
        "no-backup",
        format!("there is no backup from right before migration {}_{}", row.version, row.name),
    )
    .hint(format!("backup {} list", site.environment))
}

fn behind(site: &Site, file: &str) -> Problem {
    let environment = &site.environment;
    Problem::new("schema-behind", format!("the release needs the migration {file}, which was taken back"))
        .hint(format!("deploy {environment} --revision REVISION   # runs it again"))
}
