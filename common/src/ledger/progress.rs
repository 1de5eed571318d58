//! How a deployment proceeds: each change of its row is one transaction.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Statement, named_params, params};

use super::deployment::{Kind, State};
use super::{Ledger, event_log, unreadable, unwritable};
use crate::layout::Slot;
use crate::report::{Problem, Report, Step, now};

/// The event that tells a state.
const STATE: &str = "state";
const PUT_STEP: &str =
    "INSERT INTO steps SELECT :id, 1 + ifnull(max(number), 0), :tool, :name, :status, :ms, :target, :problem
    FROM steps WHERE deployment = :id";

/// What is known when a deployment begins.
pub struct Beginning<'a> {
    pub id: &'a str,
    pub environment: &'a str,
    pub kind: Kind,
    pub revision: &'a str,
    pub branch: Option<&'a str>,
    pub tree: Option<&'a str>,
    pub replaced: Option<&'a str>,
    pub restores: Option<&'a str>,
    pub log_file: Option<&'a str>,
}

impl Ledger {
    /// Records that a deployment is running.
    pub fn begin(&self, beginning: &Beginning<'_>) -> Result<(), Problem> {
        let who = crate::lock::who();
        self.durably_told("began", beginning.id, |db| {
            db.execute(
                "INSERT INTO deployments(id, environment, kind, state, revision, branch, tree, replaced, restores, who, started_ms, log_file)
                 VALUES (:id, :environment, :kind, 'running', :revision, :branch, :tree, :replaced, :restores, :who, :started, :log)",
                named_params! {
                    ":id": beginning.id, ":environment": beginning.environment, ":kind": beginning.kind.word(),
                    ":revision": beginning.revision, ":branch": beginning.branch, ":tree": beginning.tree,
                    ":replaced": beginning.replaced, ":restores": beginning.restores, ":who": who,
                    ":started": now().as_millisecond(), ":log": beginning.log_file,
                },
            )?;
            self.queue_of(db, beginning.id, None)
        })
    }

    /// Records what a deployment uses: release directory, slot, database file.
    pub fn place(&self, id: &str, release: &str, slot: Slot, database: Option<&Path>) -> Result<(), Problem> {
        let database = database.map(|path| path.display().to_string());
        self.durably(|db| {
            db.execute(
                "UPDATE deployments SET release = ?2, slot = ?3, database = ?4 WHERE id = ?1",
                params![id, release, slot.name(), database],
            )
            .map(drop)
        })
    }

    /// Records that traffic goes to this deployment now.
    pub fn set_serving(&self, environment: &str, id: &str) -> Result<(), Problem> {
        self.durably_told("serving", id, |db| {
            db.execute(
                "UPDATE deployments SET state = 'serving', serving_ms = ?2 WHERE id = ?1",
                params![id, now().as_millisecond()],
            )?;
            point(db, environment, Some(id))
        })
    }

    /// Records, before traffic moves, that users may reach this deployment from now on.
    pub fn set_reached(&self, id: &str) -> Result<(), Problem> {
        self.durably(|db| {
            db.execute(
                "UPDATE deployments SET serving_ms = ?2 WHERE id = ?1",
                params![id, now().as_millisecond()],
            )
            .map(drop)
        })
    }

    /// Records that traffic goes from `failed` back to `id` (or nowhere), in the state that it had.
    pub fn restore_serving(&self, environment: &str, failed: &str, id: Option<&str>) -> Result<(), Problem> {
        self.durably_told("withdrawn", failed, |db| {
            db.execute("UPDATE deployments SET verified_ms = NULL WHERE id = ?1", [failed])?;
            db.execute(
                "UPDATE deployments SET state = 'verified' WHERE id = ?1 AND state = 'superseded' AND verified_ms IS NOT NULL",
                [id],
            )?;
            point(db, environment, id)
        })
    }

    /// Records that a serving deployment is proved; older verified ones become superseded, and what
    /// a broken one left to undo is past.
    pub fn set_verified(&self, environment: &str, id: &str) -> Result<(), Problem> {
        self.durably_told("verified", id, |db| {
            db.execute(
                "UPDATE deployments SET state = 'superseded' WHERE environment = ?1 AND state IN ('verified', 'serving') AND id <> ?2",
                params![environment, id],
            )?;
            db.execute(
                "UPDATE journal SET state = 'past' WHERE state <> 'undone' AND deployment IN
                 (SELECT id FROM deployments WHERE environment = ?1 AND state = 'broken')",
                [environment],
            )?;
            db.execute(
                "UPDATE deployments SET state = 'verified', verified_ms = coalesce(verified_ms, ?2) WHERE id = ?1",
                params![id, now().as_millisecond()],
            )
            .map(drop)
        })
    }

    /// Records a state.
    pub fn set_state(&self, id: &str, state: State) -> Result<(), Problem> {
        self.durably_told(STATE, id, |db| put_state(db, id, state))
    }

    /// Records why a deployment goes on without evidence.
    pub fn set_forced(&self, id: &str, reason: &str) -> Result<(), Problem> {
        self.durably(|db| {
            db.execute("UPDATE deployments SET forced_reason = ?2 WHERE id = ?1", [id, reason]).map(drop)
        })
    }

    /// Takes a deployment out of the rollback targets: a check found it bad.
    pub fn withdraw(&self, id: &str) -> Result<(), Problem> {
        self.durably_told("withdrawn", id, |db| {
            db.execute("UPDATE deployments SET verified_ms = NULL WHERE id = ?1", [id]).map(drop)
        })
    }

    /// Ends a deployment with its report, in the ledger and in the event log.
    ///
    /// The text returned is a warning: the event log could not be written, and gets its lines with
    /// the next event.
    pub fn end(&self, id: &str, report: &Report) -> Result<Option<String>, Problem> {
        self.end_after(id, report, |_| Ok(()))
    }

    /// The same for an operation, with its steps and its last state, all in one transaction.
    pub fn conclude(
        &self,
        id: &str,
        mut steps: impl Iterator<Item = Step>,
        state: State,
        report: &Report,
    ) -> Result<Option<String>, Problem> {
        self.end_after(id, report, |db| {
            let mut put = db.prepare(PUT_STEP)?;
            steps.try_for_each(|step| put_step(&mut put, id, &step))?;
            put_state(db, id, state)?;
            event_log::queue(db, STATE, id)
        })
    }

    fn end_after(
        &self,
        id: &str,
        report: &Report,
        before: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<Option<String>, Problem> {
        let text = serde_json::to_string(report).unwrap_or_default();
        self.durably(|db| {
            before(db)?;
            self.queue_of(db, id, Some(report))?;
            db.execute(
                "UPDATE deployments SET ended_ms = ?2, outcome = ?3, report = ?4 WHERE id = ?1",
                params![id, now().as_millisecond(), report.outcome.word(), text],
            )?;
            event_log::queue(db, event_log::ENDED, id)
        })?;
        Ok(self.tell().err().map(|problem| problem.to_string()))
    }

    /// What there is to say about the ledger itself; said once.
    pub fn take_note(&self, environment: &str) -> Result<Option<String>, Problem> {
        let note: Option<String> = self
            .db
            .query_row("SELECT note FROM environments WHERE name = ?1", [environment], |row| row.get(0))
            .optional()
            .map_err(|error| unreadable(&error))?
            .flatten();
        if note.is_some() {
            self.db
                .execute("UPDATE environments SET note = NULL WHERE name = ?1", [environment])
                .map_err(|error| unwritable(&error))?;
        }
        Ok(note)
    }

    /// Appends a step; cheap, since losing the last ones in a power cut harms nothing.
    pub fn record_step(&self, id: &str, step: &Step) -> Result<(), Problem> {
        let put = self.db.prepare(PUT_STEP).and_then(|mut put| put_step(&mut put, id, step));
        put.map_err(|error| unwritable(&error))
    }
}

fn put_step(put: &mut Statement<'_>, id: &str, step: &Step) -> rusqlite::Result<()> {
    let problem = step.problem.as_ref().and_then(|problem| serde_json::to_string(problem).ok());
    let status = serde_json::to_value(step.status).ok().and_then(|value| value.as_str().map(str::to_owned));
    put.execute(named_params! {
        ":id": id, ":tool": step.tool, ":name": step.name, ":status": status,
        ":ms": i64::try_from(step.duration_ms).unwrap_or(i64::MAX), ":target": step.target, ":problem": problem,
    })
    .map(drop)
}

fn put_state(db: &Connection, id: &str, state: State) -> rusqlite::Result<()> {
    db.execute("UPDATE deployments SET state = ?2 WHERE id = ?1", params![id, state.word()]).map(drop)
}

fn point(db: &Connection, environment: &str, id: Option<&str>) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO environments(name, serving) VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET serving = ?2",
        params![environment, id],
    )
    .map(drop)
}
