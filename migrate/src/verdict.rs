//! What a rehearsal found, as the report shows it.

use std::collections::BTreeMap;

use common::database::{Change, Schema};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::content::Content;
use crate::engine::{Done, Finished, Seen, millis};
use crate::lint;
use crate::rows::{self, Counts};

#[derive(Debug, Default, Serialize)]
pub(crate) struct Verdict {
    /// `same`, `grew` or `changed`; absent when the migrations did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
    /// Why old code may not live with the new schema.
    reasons: Vec<String>,
    /// Whether the downs bring back the schema, and the rows where old code could not live on.
    pub(crate) reversible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reversal_problem: Option<String>,
    /// Files whose phase has come: nothing older than what serves may run any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contracts: Vec<String>,
    /// How long other writers would have to wait.
    write_lock_ms: u64,
    /// Tables whose row counts differ: `[before, after]`.
    rows: Map<String, Value>,
    /// Each table: `rows` and `hash` before and after, and the hash after the way back.
    #[serde(skip_serializing_if = "Map::is_empty")]
    contents: Map<String, Value>,
}

impl Verdict {
    /// Nothing is pending.
    pub(crate) fn unchanged() -> Self {
        Self { change: Some("same"), reversible: true, ..Self::default() }
    }

    pub(crate) fn is_change(&self) -> bool {
        self.change == Some("changed") || !self.contracts.is_empty()
    }

    /// What is due changes nothing for the release that serves; the rest is judged without it.
    pub(crate) fn judge(&mut self, done: Option<&Done>, initial: &Seen, due: &[i64]) {
        let Some(done) = done else {
            self.change = Some("same");
            return;
        };
        let (mut same, mut reasons) = (true, Vec::new());
        if due.is_empty() {
            let last = done.finished.last().and_then(|step| step.seen.as_ref()).unwrap_or(initial);
            weigh(initial.schema.compare(&last.schema), &mut same, &mut reasons);
        } else {
            for (before, step) in pairs(initial, &done.finished) {
                match &step.seen {
                    Some(seen) if !due.contains(&step.job.version) => {
                        weigh(before.compare(&seen.schema), &mut same, &mut reasons);
                    }
                    _ => self.contracts.push(step.job.file.clone()),
                }
            }
        }
        let grew = if same { "same" } else { "grew" };
        self.change = Some(if reasons.is_empty() { grew } else { "changed" });
        self.reasons = reasons;
        self.write_lock_ms = millis(done.write_lock);
        self.rows = rows::differences(&done.rows[0], &done.rows[1]);
    }

    pub(crate) fn tell_contents(
        &mut self,
        before: &BTreeMap<String, Content>,
        after: &BTreeMap<String, Content>,
    ) {
        let mut tables: Vec<&String> = before.keys().chain(after.keys()).collect();
        tables.sort();
        tables.dedup();
        for table in tables {
            self.contents
                .insert(table.clone(), json!({ "before": before.get(table), "after": after.get(table) }));
        }
    }

    pub(crate) fn tell_way_back(
        &mut self,
        before: &BTreeMap<String, Content>,
        back: &BTreeMap<String, Content>,
    ) {
        for (table, told) in &mut self.contents {
            told["restored"] = json!(before.get(table) == back.get(table));
        }
    }
}

fn weigh(change: Change, same: &mut bool, reasons: &mut Vec<String>) {
    match change {
        Change::Same => {}
        Change::Grew => *same = false,
        Change::Changed(found) => reasons.extend(found),
    }
}

/// Each migration with the schema before it.
fn pairs<'a>(initial: &'a Seen, finished: &'a [Finished]) -> Vec<(&'a Schema, &'a Finished)> {
    let mut schema = &initial.schema;
    let mut all = Vec::with_capacity(finished.len());
    for step in finished {
        all.push((schema, step));
        schema = step.seen.as_ref().map_or(schema, |seen| &seen.schema);
    }
    all
}

/// One entry per migration for `plan`: what it touches, takes away and breaks, and how long it takes.
pub(crate) fn entries(initial: &Seen, done: &Done) -> Vec<Value> {
    let mut rows = &initial.rows;
    let mut all = Vec::with_capacity(done.finished.len());
    for (before, step) in pairs(initial, &done.finished) {
        let Some(seen) = &step.seen else { continue };
        let reasons = match before.compare(&seen.schema) {
            Change::Changed(reasons) => reasons,
            _ => Vec::new(),
        };
        let (job, destructive) = (&step.job, lint::destructive(&step.sql()));
        all.push(json!({
            "version": job.number,
            "name": job.name,
            "file": job.file,
            "language": job.kind.word(),
            "phase": if job.directives.after { "after" } else { "before" },
            "transaction": !job.is_outside(),
            "tables": touched(step, rows, &seen.rows),
            "destructive": destructive,
            "approved": job.directives.approves_loss,
            "compatible": reasons.is_empty(),
            "reasons": reasons,
            "estimated_ms": millis(step.took),
        }));
        rows = &seen.rows;
    }
    all
}

/// Each table that a migration touches, and how many of its rows.
fn touched(step: &Finished, before: &Counts, after: &Counts) -> BTreeMap<String, u64> {
    let mut tables: BTreeMap<String, u64> = BTreeMap::new();
    for statement in &step.statements {
        for table in &statement.tables {
            *tables.entry(table.clone()).or_default() += statement.rows;
        }
    }
    for (table, rows) in &mut tables {
        let difference = before.get(table).unwrap_or(&0).abs_diff(*after.get(table).unwrap_or(&0));
        *rows = (*rows).max(difference);
    }
    tables
}
