//! Row counts per table, and what happened to them.

use std::collections::BTreeMap;

use common::database::quote;
use rusqlite::{Connection, Result};
use serde_json::{Map, Value, json};

/// Table name to number of rows.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Counts the rows of all tables of the app; one that cannot be counted (its module is not linked
/// here) is left out.
pub(crate) fn count(db: &Connection) -> Result<Counts> {
    let mut list = db.prepare(
        "SELECT name FROM main.sqlite_master
         WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> 'migrations'",
    )?;
    let names: Vec<String> = list.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
    let counted = names.into_iter().filter_map(|name| {
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
