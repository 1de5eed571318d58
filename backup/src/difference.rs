//! What a restore would lose: rows written or deleted since the backup, counted by table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::database::{Table, quote};
use common::report::Problem;
use rusqlite::Connection;
use serde::Serialize;

use crate::content::{self, Content, unreadable};

/// How the live database differs from a backup.
#[derive(Debug)]
pub(crate) enum Difference {
    None,
    /// The same content, on pages that are damaged.
    Pages,
    /// By table; empty when only the schema differs.
    Rows(BTreeMap<String, Lost>),
    /// The live database is damaged.
    Unknown(Problem),
}

/// Rows of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Lost {
    /// In the live database, and not the same in the backup.
    pub(crate) written: u64,
    /// In the backup, and no longer in the live database.
    pub(crate) deleted: u64,
}

/// Compares a copy of the live database with the unpacked backup, which holds `expected`.
///
/// # Errors
/// `database-unreadable`: the backup cannot be read.
pub(crate) fn compare(live: &Path, backup: &Path, expected: &Content) -> Result<Difference, Problem> {
    let (live, backup_db) = (content::open_private(live)?, content::open_private(backup)?);
    let held = match content::read(&live) {
        Ok(held) => held,
        Err(problem) => return Ok(Difference::Unknown(problem)),
    };
    if &held == expected {
        let whole = content::check(&live).is_ok();
        return Ok(if whole { Difference::None } else { Difference::Pages });
    }
    let name = content::private_name(backup);
    live.execute("ATTACH ?1 AS backup", [name]).map_err(|error| unreadable(&error))?;
    let tables = |db: &Connection| Table::all(db).map_err(|error| unreadable(&error));
    let (now, then) = (by_name(tables(&live)?), by_name(tables(&backup_db)?));
    let names: BTreeSet<&String> = held.tables.keys().chain(expected.tables.keys()).collect();
    let mut lost = BTreeMap::new();
    for name in names {
        let (new, old) = (held.tables.get(name), expected.tables.get(name));
        if new == old {
            continue;
        }
        let whole =
            Lost { written: new.map_or(0, |table| table.rows), deleted: old.map_or(0, |table| table.rows) };
        let counted = match (now.get(name), then.get(name)) {
            (Some(new), Some(old)) => count(&live, new, old).unwrap_or(whole),
            _ => whole,
        };
        lost.insert(name.clone(), counted);
    }
    Ok(Difference::Rows(lost))
}

fn by_name(tables: Vec<Table>) -> BTreeMap<String, Table> {
    tables.into_iter().map(|table| (table.name.clone(), table)).collect()
}

fn count(live: &Connection, new: &Table, old: &Table) -> rusqlite::Result<Lost> {
    let shared: Vec<&String> = new.columns.iter().filter(|column| old.columns.contains(column)).collect();
    let same_key = new.key == old.key;
    let keys = new.key.iter().filter(|_| same_key).map(|key| format!("a.{0} = b.{0}", quote(key)));
    let on_key: Vec<String> = keys.collect();
    let values = shared.iter().map(|column| format!("a.{0} COLLATE BINARY IS b.{0}", quote(column)));
    let equal: Vec<String> = on_key.iter().cloned().chain(values).collect();
    let found = if on_key.is_empty() { &equal } else { &on_key };
    let without = |from: &str, to: &str, condition: &[String]| {
        let table = quote(&new.name);
        let condition = condition.join(" AND ");
        let query = format!(
            "SELECT count(*) FROM {from}.{table} a WHERE NOT EXISTS (SELECT 1 FROM {to}.{table} b WHERE {condition})"
        );
        live.query_row(&query, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
    };
    Ok(Lost { written: without("main", "backup", &equal)?, deleted: without("backup", "main", found)? })
}
