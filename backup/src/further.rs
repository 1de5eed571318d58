//! The further files of a restore, around that of the database: what is missing comes before it,
//! so that no restored row names a file that is not there; what differs comes after it. A mark on
//! disk tells the next command when a run was cut off in between.

use std::fs;
use std::path::PathBuf;

use common::backups::Backup;
use common::cli::Run;
use common::durable;
use common::interrupt;
use common::report::{OrProblem, Problem, now};
use serde_json::json;

use crate::files::{self, Index, Placing, Way};
use crate::site::Site;
use crate::space;

/// Files named in the report.
const NAMED: usize = 20;

/// The files of one restore.
pub(crate) struct Further {
    placing: Placing,
    /// Files here that the backup does not know: they stay.
    newer: usize,
    id: String,
    /// A directory on each disk that files go to.
    disks: Vec<PathBuf>,
}

impl Further {
    /// Compares, and puts back what is missing.
    ///
    /// # Errors
    /// `files-outside`, `files-unreadable`, `no-space`: nothing is changed. `files-unplaced`.
    pub(crate) fn begin(run: &mut Run, site: &Site<'_>, backup: &Backup) -> Result<Self, Problem> {
        let stamp = now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let id = backup.manifest.id.clone();
        if backup.manifest.further.is_none() {
            let placing = Placing::plan(site, backup, &stamp)?;
            return Ok(Self { placing, newer: 0, id, disks: Vec::new() });
        }
        let placing = run.step("backup.compare_files", || Placing::plan(site, backup, &stamp))?;
        let index = Index::of(backup)?;
        let found = files::survey(site)?.found;
        let newer = found.keys().filter(|path| !index.holds(path)).count();
        let disks = placing.room();
        for (disk, bytes) in &disks {
            space::require_bytes(*bytes, disk)?;
        }
        let disks = disks.into_iter().map(|(disk, _)| disk).collect();
        let mut further = Self { placing, newer, id, disks };
        if further.placing.needs(Way::Missing) {
            let placed = run.step("backup.missing_files", || further.placing.place(Way::Missing));
            further.tell(run);
            placed.map_err(|problem| further.explain(problem))?;
        }
        if further.placing.needs(Way::Differing) {
            interrupt::check()?;
            let mark = mark(site);
            durable::write(&mark, further.id.as_bytes())
                .or_problem("state-unwritable", || format!("cannot write {}", mark.display()))?;
        }
        Ok(further)
    }

    /// Puts back what differs, once the database is restored; `database` says whether it is.
    ///
    /// # Errors
    /// That of the database; `files-unplaced`: the mark stays.
    pub(crate) fn finish(
        &mut self,
        run: &mut Run,
        site: &Site<'_>,
        database: Result<(), Problem>,
    ) -> Result<(), Problem> {
        if database.is_ok() && self.placing.needs(Way::Differing) {
            let placed = run.step("backup.differing_files", || self.placing.place(Way::Differing));
            self.tell(run);
            placed.map_err(|problem| self.explain(problem))?;
        }
        self.tell(run);
        let mark = mark(site);
        if mark.exists() {
            let title = || format!("cannot remove {}", mark.display());
            durable::remove(&mark).or_problem("state-unwritable", title)?;
        }
        database
    }

    fn explain(&self, problem: Problem) -> Problem {
        self.disks.iter().fold(problem, |problem, disk| match problem.kind.as_str() {
            "no-space" => problem,
            _ => space::explain(problem, disk),
        })
    }

    fn tell(&self, run: &mut Run) {
        run.report.changed |= self.placing.placed > 0;
        if self.placing.placed + self.placing.aside.len() + self.newer == 0 {
            return;
        }
        let named: Vec<&String> = self.placing.aside.iter().take(NAMED).collect();
        let facts = json!({
            "placed": self.placing.placed,
            "set_aside": self.placing.aside.len(),
            "aside": named,
            "left": self.newer,
        });
        run.detail("further", facts);
    }
}

/// Says that a restore was cut off before all files were in their place.
pub(crate) fn cut_off(site: &Site<'_>) -> Option<String> {
    let id = fs::read_to_string(mark(site)).ok()?;
    let environment = site.name();
    Some(format!(
        "the restore of {id} was cut off before all its files were in their place: backup {environment} restore {id}"
    ))
}

fn mark(site: &Site<'_>) -> PathBuf {
    site.place.backups().join(".unfinished")
}
