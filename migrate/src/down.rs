//! `migrate ENV down`: undoes applied migrations by the down text stored with each, newest first,
//! all in one transaction.

use std::path::Path;
use std::time::Instant;

use common::cli::Run;
use common::database::snapshot;
use common::migrations::{Applied, Source};
use common::report::Problem;
use common::scratch::Scratch;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::books::Books;
use crate::engine::{Room, Terms, millis};
use crate::in_place::{self, Origin};
use crate::operation;
use crate::outcome::{report_done, report_failure};
use crate::python::Python;
use crate::recorded::{Choice, Recorded, choose_jobs};
use crate::scene::Scene;
use crate::up::tell_source;

/// How they are undone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner<'a> {
    /// A backup from right before them.
    pub(crate) backup: Option<&'a str>,
    /// Where the way back was tried from that backup: what was unpacked is there still.
    pub(crate) prepared: Option<&'a Path>,
    /// By that backup, and not by the stored texts.
    pub(crate) in_place: bool,
    /// Say which values the older schema has no room for.
    pub(crate) listed: bool,
}

/// Undoes what `choice` names; nothing there to undo is a success.
///
/// # Errors
/// `migration-irreversible`, `migration-covered`, `migration-refused`, `migration-failed`,
/// `foreign-keys-broken`, usage for an unknown version; in place those of [`Origin`]; nothing is
/// changed then.
pub(crate) fn undo(
    run: &mut Run,
    scene: &Scene,
    choice: &Choice,
    manner: Manner<'_>,
    id: &str,
) -> Result<(), Problem> {
    let (Some(database), Some(db)) = (&scene.database, scene.enter()?) else {
        run.detail("undone", Vec::<Value>::new());
        return Ok(());
    };
    run.detail("database", database);
    // The texts in the records are enough for the one way, the other needs the files.
    let source = match manner.backup {
        Some(_) => scene.source(None, Some(&db))?,
        None => scene.source_of_records(&db)?,
    };
    tell_source(run, &source);
    let recorded = Recorded::read(&db, &source, scene.environment())?;
    let undone = recorded.chosen(choice, scene.environment())?;
    if undone.is_empty() {
        run.detail("undone", Vec::<Value>::new());
        return Ok(());
    }
    operation::record(run, scene, id, |run| {
        let site =
            Site { scene, source: &source, database, choice, prepared: manner.prepared, recorded, undone };
        match manner.backup.filter(|_| manner.in_place) {
            Some(backup) => {
                drop(db);
                site.in_place(run, backup, id)
            }
            None if manner.listed => site.by_text_listed(run, db, manner.backup, id),
            None => site.by_text(run, db),
        }
    })
}

/// Where migrations are undone, and which.
struct Site<'a> {
    scene: &'a Scene,
    source: &'a Source,
    database: &'a Path,
    choice: &'a Choice,
    prepared: Option<&'a Path>,
    /// As it was before.
    recorded: Recorded,
    /// What it names, last applied first.
    undone: Vec<Applied>,
}

impl Site<'_> {
    fn by_text(&self, run: &mut Run, db: Connection) -> Result<(), Problem> {
        let environment = self.scene.environment();
        let room = Room::around(db, Python::new(&self.source.root, environment))?;
        let books = Books::of(self.source, environment);
        let terms = Terms::of(environment, books.as_ref());
        let ended = room.run(terms, |db| {
            if self.recorded.is_still_true(db)? {
                return self.recorded.jobs(self.choice, self.source, environment);
            }
            choose_jobs(self.scene, self.choice, self.source, db)
        });
        drop(room);
        match ended {
            Ok(Some(done)) => report_done(run, "migrate.undo", "undone", &done),
            Ok(None) => run.detail("undone", Vec::<Value>::new()),
            Err(failure) => {
                let hint = format!("migrate {environment} status");
                return Err(report_failure(run, ("migrate.undo", "undone"), &failure, hint));
            }
        }
        Ok(())
    }

    /// The same, and what had no room is found in a copy from right before it.
    fn by_text_listed(
        &self,
        run: &mut Run,
        db: Connection,
        backup: Option<&str>,
        id: &str,
    ) -> Result<(), Problem> {
        let scratch = Scratch::make(&self.scene.place.root())?;
        let now = scratch.file("now.db");
        snapshot(self.database, &now, &mut |_, _| {})?;
        let origin = backup.map(|backup| self.origin(&scratch, backup)).transpose()?;
        self.by_text(run, db)?;
        let lost = match origin {
            Some(origin) => origin.go_back(&now, |_| Ok(()))?.lost,
            None => in_place::unlisted(&now, self.database, self.source)?,
        };
        in_place::publish(run, self.scene, id, &lost)
    }

    fn in_place(&self, run: &mut Run, backup: &str, id: &str) -> Result<(), Problem> {
        let scratch = Scratch::make(&self.scene.place.root())?;
        let origin = run.step("migrate.prepare", || self.origin(&scratch, backup))?;
        let begun = Instant::now();
        let done = origin.go_back(self.database, |salvaged| {
            run.report.changed = true;
            in_place::publish(run, self.scene, id, &salvaged.lost)
        });
        run.end_step("migrate.in-place", None, begun.elapsed(), done.as_ref().err());
        let salvaged = done?;
        let entry = |row: &Applied| json!({ "version": row.version, "name": row.name });
        run.detail("undone", origin.undone.iter().map(entry).collect::<Vec<_>>());
        run.detail("rebuilt", salvaged.tables);
        run.detail("write_lock_ms", millis(begun.elapsed()));
        Ok(())
    }

    fn origin(&self, scratch: &Scratch, backup: &str) -> Result<Origin, Problem> {
        let dir = self.prepared.unwrap_or(scratch.path());
        Origin::prepare(self.scene, self.source, dir, backup, self.undone.clone())
    }
}
