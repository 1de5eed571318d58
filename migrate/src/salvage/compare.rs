//! What one database has and another one, with an older schema, has not: rows by their keys, and
//! values that have no column or table any more.

use std::path::Path;

use rusqlite::{Connection, Result};

use super::lost::Lost;
use super::pairing::described_key;
use super::table::{Column, Table, quote, tables, text};

/// Tables of `result` that lack rows of the database `kept`, and how many. Where rows have no key
/// they are only counted.
pub(crate) fn missing_rows(
    result: &Connection,
    kept: &Path,
    records: &[String],
) -> Result<Vec<(String, u64)>> {
    result.execute("ATTACH ?1 AS kept", [kept.to_string_lossy()])?;
    let (here, there) = (tables(result, "main")?, tables(result, "kept")?);
    let mut missing = Vec::new();
    for (name, table) in here.iter().filter(|(name, _)| !records.contains(name)) {
        let Some(other) = there.get(name) else { continue };
        let rows: i64 = result.query_row(&missing_of(table, other), [], |row| row.get(0))?;
        if rows > 0 {
            missing.push((table.name.clone(), rows.unsigned_abs()));
        }
    }
    result.execute_batch("DETACH kept")?;
    Ok(missing)
}

fn missing_of(table: &Table, other: &Table) -> String {
    let (here, there) = (format!("main.{}", quote(&table.name)), format!("kept.{}", quote(&other.name)));
    let key = table.key();
    if key.is_empty() || key.iter().any(|column| other.column(&column.name).is_none()) {
        return format!("SELECT (SELECT count(*) FROM {there}) - (SELECT count(*) FROM {here})");
    }
    let same: Vec<String> = key.iter().map(|column| format!("h.{0} IS t.{0}", column.quoted())).collect();
    format!(
        "SELECT count(*) FROM {there} AS t WHERE NOT EXISTS (SELECT 1 FROM {here} AS h WHERE {})",
        same.join(" AND ")
    )
}

/// Values of `now` that the database `older` has no column or table for; which of them a migration
/// wrote is not known here.
pub(crate) fn without_room(now: &Connection, older: &Path, records: &[String]) -> Result<Vec<Lost>> {
    now.execute("ATTACH ?1 AS older", [older.to_string_lossy()])?;
    let (here, there) = (tables(now, "main")?, tables(now, "older")?);
    let mut lost = Vec::new();
    for (name, table) in here.iter().filter(|(name, _)| !records.contains(name)) {
        match there.get(name) {
            None => lost.extend(rows(now, table, None)?),
            Some(other) => {
                for column in table.columns.iter().filter(|column| other.column(&column.name).is_none()) {
                    lost.extend(rows(now, table, Some(column))?);
                }
            }
        }
    }
    now.execute_batch("DETACH older")?;
    Ok(lost)
}

fn rows(db: &Connection, table: &Table, column: Option<&Column>) -> Result<Vec<Lost>> {
    let (condition, why) = match column {
        None => ("1".to_owned(), "the older schema has no such table"),
        Some(column) => {
            let (name, default) = (column.quoted(), column.default.as_deref().unwrap_or("NULL"));
            (
                format!("c.{name} IS NOT NULL AND c.{name} IS NOT ({default})"),
                "the older schema has no such column",
            )
        }
    };
    let sql = format!(
        "SELECT {}, {} FROM main.{} AS c WHERE {condition}",
        described_key(table, "c"),
        text(&table.name),
        quote(&table.name)
    );
    let mut statement = db.prepare(&sql)?;
    let found = statement.query_map([], |row| {
        Ok(Lost {
            key: row.get(0)?,
            table: row.get(1)?,
            column: column.map(|column| column.name.clone()),
            why: why.to_owned(),
        })
    })?;
    found.collect()
}
