//! Undoing migrations by a backup from before them, where their own text does not: the schema of
//! the backup, with everything that was written since. Owns what a `salvage` needs: the backup
//! unpacked, and the same with the migrations run again on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::cli::Run;
use common::database::{RECORDS, Schema, open_read_only};
use common::durable;
use common::exec::Sibling;
use common::migrations::{Applied, Kind, Source};
use common::report::{OrProblem, Problem};
use serde_json::json;

use crate::engine::{Room, Terms};
use crate::job::Job;
use crate::python::Python;
use crate::salvage::{self, Lost, Renames, Salvaged, Sources};
use crate::scene::Scene;

/// How long unpacking may take.
const UNPACKING: Duration = Duration::from_secs(600);
/// How much of the list stands in the report itself.
const SHOWN: usize = 100;

/// A backup from before some migrations, ready to go back to.
pub(crate) struct Origin {
    id: String,
    before: PathBuf,
    migrated: PathBuf,
    renames: Renames,
    records: Vec<String>,
    /// Newest first.
    pub(crate) undone: Vec<Applied>,
}

impl Origin {
    /// Unpacks backup `id` and runs again on it what was applied since; private files in `dir`. Those
    /// that are there already, because the way back was tried from it, are taken as they are.
    ///
    /// # Errors
    /// Usage for an unknown backup; `backup-damaged`; `backup-unsuited`: it is not from right before
    /// what is to be undone, or the migrations do something else on it.
    pub(crate) fn prepare(
        scene: &Scene,
        source: &Source,
        dir: &Path,
        id: &str,
        undone: Vec<Applied>,
    ) -> Result<Self, Problem> {
        let (before, migrated) = (dir.join("before.db"), dir.join("migrated.db"));
        if !before.exists() {
            let target = before.display().to_string();
            let words = [scene.environment(), "extract", id, &target];
            let lock = scene.lock.as_ref();
            Sibling::find("backup")?.run(&scene.config.file, &words, lock, UNPACKING)?.verdict()?;
        }
        let (renames, records) = (renames(source, &undone), records(source));
        let origin = Self { id: id.to_owned(), before, migrated, renames, records, undone };
        origin.check_records(scene, source)?;
        if !origin.migrated.exists() {
            origin.migrate(scene, source, &dir.join("migrating.db"))?;
        }
        origin.check_schema(scene)?;
        Ok(origin)
    }

    /// Takes `live` back to the backup's schema.
    ///
    /// # Errors
    /// `salvage-failed`, `database-busy`, those of `publish`: `live` is as it was.
    pub(crate) fn go_back(
        &self,
        live: &Path,
        publish: impl FnOnce(&Salvaged) -> Result<(), Problem>,
    ) -> Result<Salvaged, Problem> {
        let Self { before, migrated, renames, records, .. } = self;
        salvage::undo(&Sources { before, migrated, live, renames, records }, publish)
    }

    /// Everything that is applied now was applied then, but for what is to be undone.
    fn check_records(&self, scene: &Scene, source: &Source) -> Result<(), Problem> {
        let Some(live) = &scene.database else { return Ok(()) };
        let versions = |path: &Path| -> Result<Vec<i64>, Problem> {
            let mut found: Vec<i64> =
                source.applied(&open_read_only(path)?)?.iter().map(|row| row.version).collect();
            found.sort_unstable();
            Ok(found)
        };
        let (then, mut now) = (versions(&self.before)?, versions(live)?);
        now.retain(|version| self.undone.iter().all(|row| row.version != *version));
        if then == now {
            return Ok(());
        }
        Err(self.unsuited(scene, "other migrations were applied when it was made".into()))
    }

    /// Runs the migrations on a copy `draft`, which has the final name only when they have run.
    fn migrate(&self, scene: &Scene, source: &Source, draft: &Path) -> Result<(), Problem> {
        let title = || format!("cannot write {}", draft.display());
        fs::copy(&self.before, draft).or_problem("state-unwritable", title)?;
        let mut order: Vec<&Applied> = self.undone.iter().collect();
        order.sort_by_key(|row| (row.sequence, row.version));
        let jobs = order
            .into_iter()
            .map(|row| {
                let file = source.migrations.iter().find(|file| file.version == row.version);
                file.map(|file| Job::apply(file, None)).ok_or_else(|| {
                    self.unsuited(
                        scene,
                        format!("the file of migration {}_{} is gone", row.version, row.name),
                    )
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let room = Room::open(draft, Python::new(&source.root, scene.environment()))?;
        room.run(Terms { environment: scene.environment(), ..Terms::default() }, |_| Ok(jobs))
            .map_err(|failure| self.unsuited(scene, failure.problem.to_string()))?;
        drop(room);
        durable::rename_for_now(draft, &self.migrated).or_problem("state-unwritable", title)
    }

    fn check_schema(&self, scene: &Scene) -> Result<(), Problem> {
        let Some(live) = &scene.database else { return Ok(()) };
        if Schema::read(&open_read_only(&self.migrated)?)? == Schema::read(&open_read_only(live)?)? {
            return Ok(());
        }
        let why = "the migrations, run again on it, give another schema than the one that is there";
        Err(self.unsuited(scene, why.into()))
    }

    fn unsuited(&self, scene: &Scene, why: String) -> Problem {
        Problem::new("backup-unsuited", format!("backup {} does not lead back", self.id))
            .detail(why)
            .hint(format!("backup {} list", scene.environment()))
    }
}

/// What the migrations say about names, those in SQL.
fn renames(source: &Source, undone: &[Applied]) -> Renames {
    let mut order: Vec<&Applied> = undone.iter().filter(|row| row.kind == Kind::Sql).collect();
    order.sort_by_key(|row| (row.sequence, row.version));
    let file = |row: &Applied| source.migrations.iter().find(|file| file.version == row.version);
    Renames::of(order.into_iter().filter_map(file).map(|file| &*file.up))
}

/// Tables that say what was applied.
pub(crate) fn records(source: &Source) -> Vec<String> {
    [RECORDS.to_owned()].into_iter().chain(source.table.clone()).collect()
}

/// Values of the database `now` that `older` has no room for, a migration's own among them.
///
/// # Errors
/// `database-unreadable`.
pub(crate) fn unlisted(now: &Path, older: &Path, source: &Source) -> Result<Vec<Lost>, Problem> {
    let db = open_read_only(now)?;
    salvage::without_room(&db, older, &records(source))
        .or_problem("database-unreadable", || format!("cannot read {}", now.display()))
}

/// Says what cannot live in the older schema.
pub(crate) fn tell(run: &mut Run, lost: &[Lost]) {
    run.detail("not_kept_total", lost.len());
    if !lost.is_empty() {
        run.detail("not_kept", lost.iter().take(SHOWN).collect::<Vec<_>>());
    }
}

/// The same, with the whole list in a file of the environment that is named in the report.
///
/// # Errors
/// `state-unwritable`.
pub(crate) fn publish(run: &mut Run, scene: &Scene, id: &str, lost: &[Lost]) -> Result<(), Problem> {
    tell(run, lost);
    if lost.is_empty() {
        return Ok(());
    }
    let dir = scene.place.root().join("not-kept");
    let file = dir.join(format!("{id}.jsonl"));
    let mut lines: Vec<String> = lost.iter().map(|lost| json!(lost).to_string()).collect();
    lines.push(String::new());
    fs::create_dir_all(&dir)
        .and_then(|()| durable::write(&file, lines.join("\n").as_bytes()))
        .or_problem("state-unwritable", || format!("cannot write {}", file.display()))?;
    run.detail("not_kept_file", file.display().to_string());
    Ok(())
}
