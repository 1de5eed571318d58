//! What one database has and another one, with an older schema, has not: rows by their keys, and
//! values that have no column or table any more.

use std::path::Path;

use rusqlite::{Connection, Result};

use super::lost::Lost;
use super::pairing::described_key;
use super::table::{Column, Table, quote, tables, text};

/// What `result` lacks of the database `kept`, which has the same schema if `whole`: rows by their
/// keys, and values; where rows have no key they are only counted. One phrase for each kind of loss.
pub(crate) fn missing(
    result: &Connection,
    kept: &Path,
    whole: bool,
    records: &[String],
) -> Result<Vec<String>> {
    result.execute("ATTACH ?1 AS kept", [kept.to_string_lossy()])?;
    let (here, there) = (tables(result, "main")?, tables(result, "kept")?);
    let mut missing = Vec::new();
    let count = |sql: &str| result.query_row(sql, [], |row| row.get::<_, i64>(0));
    for (name, other) in there.iter().filter(|(name, _)| !is_record(records, name)) {
        let Some(table) = here.get(name) else {
            if whole {
                missing.push(format!("table {}", other.name));
            }
            continue;
        };
        let rows = count(&missing_rows(table, other))?;
        if rows > 0 {
            missing.push(format!("{rows} rows of {}", table.name));
        }
        for column in table.columns.iter().filter(|column| other.column(&column.name).is_some()) {
            let values = missing_values(table, other, column).map_or(Ok(0), |sql| count(&sql))?;
            if values > 0 {
                missing.push(format!("{values} values of {}.{}", table.name, column.name));
            }
        }
    }
    result.execute_batch("DETACH kept")?;
    Ok(missing)
}

fn is_record(records: &[String], name: &str) -> bool {
    records.iter().any(|record| record.eq_ignore_ascii_case(name))
}

/// The columns by which both tables know a row.
fn shared_key(table: &Table, other: &Table) -> Option<String> {
    let key = table.key();
    let is_shared = !key.is_empty() && key.iter().all(|column| other.column(&column.name).is_some());
    is_shared.then(|| {
        let same: Vec<String> = key.iter().map(|column| format!("h.{0} IS t.{0}", column.quoted())).collect();
        same.join(" AND ")
    })
}

fn missing_rows(table: &Table, other: &Table) -> String {
    let (here, there) = (format!("main.{}", quote(&table.name)), format!("kept.{}", quote(&other.name)));
    match shared_key(table, other) {
        None => format!("SELECT (SELECT count(*) FROM {there}) - (SELECT count(*) FROM {here})"),
        Some(same) => format!(
            "SELECT count(*) FROM {there} AS t WHERE NOT EXISTS (SELECT 1 FROM {here} AS h WHERE {same})"
        ),
    }
}

/// Values that are nothing, or the default, in place of what they were; others are what the way down
/// makes of them.
fn missing_values(table: &Table, other: &Table, column: &Column) -> Option<String> {
    let (same, name, default) = (shared_key(table, other)?, column.quoted(), column.default_value());
    Some(format!(
        "SELECT count(*) FROM kept.{} AS t JOIN main.{} AS h ON {same}
         WHERE t.{name} IS NOT NULL AND (h.{name} IS NULL OR h.{name} IS {default} AND t.{name} IS NOT {default})",
        quote(&other.name),
        quote(&table.name)
    ))
}

/// Values of `now` that the database `older` has no column or table for; which of them a migration
/// wrote is not known here.
pub(crate) fn without_room(now: &Connection, older: &Path, records: &[String]) -> Result<Vec<Lost>> {
    now.execute("ATTACH ?1 AS older", [older.to_string_lossy()])?;
    let (here, there) = (tables(now, "main")?, tables(now, "older")?);
    let mut lost = Vec::new();
    for (name, table) in here.iter().filter(|(name, _)| !is_record(records, name)) {
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
            let (name, default) = (column.quoted(), column.default_value());
            (
                format!("c.{name} IS NOT NULL AND c.{name} IS NOT {default}"),
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
