//! Row counts per table, and what happened to them.

use std::collections::{BTreeMap, HashSet};

use common::database::quote;
use common::migrations::Kind;
use rusqlite::{Connection, Result};
use serde_json::{Map, Value, json};

use crate::job::Job;
use crate::tokens::names;

/// Table name to number of rows.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Which tables are worth counting: whoever counts the others reads a whole database while its
/// writers wait.
#[derive(Debug)]
pub(crate) enum Scope {
    All,
    /// Only these, in lower case.
    Named(HashSet<String>),
}

impl Scope {
    /// The tables that `jobs` can touch: those that their texts name, and those that any trigger
    /// does; what a script sends is not known before it runs, nor what foreign keys do that a file
    /// without a transaction may switch on.
    pub(crate) fn of(jobs: &[Job], db: &Connection) -> Result<Self> {
        let is_open = |job: &Job| job.is_outside() || (job.kind == Kind::Python && !job.text.is_empty());
        if jobs.iter().any(is_open) {
            return Ok(Self::All);
        }
        let mut list = db.prepare("SELECT sql FROM main.sqlite_master WHERE type = 'trigger'")?;
        let triggers: Vec<String> = list.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
        let texts = jobs.iter().map(|job| &*job.text).chain(triggers.iter().map(String::as_str));
        Ok(Self::Named(texts.flat_map(names).collect()))
    }

    fn has(&self, table: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(&table.to_ascii_lowercase()),
        }
    }
}

/// Counts the rows of the app's tables in `scope`; one that cannot be counted (its module is not
/// linked here) is left out.
pub(crate) fn count(db: &Connection, scope: &Scope) -> Result<Counts> {
    let mut list = db.prepare(
        "SELECT name FROM main.sqlite_master
         WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> 'migrations'",
    )?;
    let names: Vec<String> = list.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
    let counted = names.into_iter().filter(|name| scope.has(name)).filter_map(|name| {
        let query = format!("SELECT count(*) FROM main.{}", quote(&name));
        let rows: i64 = db.query_row(&query, [], |row| row.get(0)).ok()?;
        Some((name, u64::try_from(rows).unwrap_or(0)))
    });
    Ok(counted.collect())
}

/// Tables whose counts differ, each with `[before, after]`; null where there is no such table.
pub(crate) fn differences(before: &Counts, after: &Counts) -> Map<String, Value> {
    let tables: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    tables
        .into_iter()
        .filter(|table| before.get(*table) != after.get(*table))
        .map(|table| (table.clone(), json!([before.get(table), after.get(table)])))
        .collect()
}

#[cfg(test)]
mod tests {
    use common::migrations::{Migration, Text};

    use super::*;

    fn job(kind: Kind, up: &str) -> Job {
        let up = Text { file: "1_n.up.sql".into(), text: up.into() };
        Job::apply(&Migration::of_files(1, "n", kind, up, None).unwrap(), None)
    }

    #[test]
    fn what_a_text_or_a_trigger_names_is_counted_and_nothing_else() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE Named(a); CREATE TABLE \"q\"\"d\"(a); CREATE TABLE other(a); CREATE TABLE log(a);
             CREATE TABLE 'it''s'(a);
             CREATE TRIGGER r AFTER INSERT ON Named BEGIN INSERT INTO LOG VALUES (1); END;",
        )
        .unwrap();
        let counted = |text: &str| {
            let scope = Scope::of(&[job(Kind::Sql, text)], &db).unwrap();
            count(&db, &scope).unwrap().into_keys().collect::<Vec<_>>()
        };
        assert_eq!(counted("SELECT 1"), ["Named", "log"]);
        assert_eq!(counted("DELETE FROM main.\"q\"\"d\""), ["Named", "log", "q\"d"]);
        assert_eq!(counted("DROP TABLE 'it''s'; -- other"), ["Named", "it's", "log"]);
        let script = job(Kind::Python, "def up(db):\n    pass\n");
        assert_eq!(count(&db, &Scope::of(&[script], &db).unwrap()).unwrap().len(), 5);
    }
}
