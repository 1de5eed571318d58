//! Rows whose parents could not be kept: they are taken out and listed. Those that lacked one before
//! are the app's own affair and stay.

use rusqlite::{Connection, Result};

use super::lost;
use super::pairing::described_key;
use super::table::{Table, quote, tables};

/// Takes out rows whose parents could not be kept; those that lacked one before stay as they are.
pub(super) fn remove_orphans(db: &Connection, known: &[Orphan]) -> Result<()> {
    loop {
        let is_new = |orphan: &Orphan| orphan.rowid.is_none() || !known.contains(orphan);
        let found: Vec<Orphan> = orphans(db, "main")?.into_iter().filter(is_new).collect();
        let live = tables(db, "main")?;
        let mut removed = 0;
        for orphan in found {
            let Some(table) = live.get(&orphan.table.to_lowercase()) else { continue };
            let which = match (orphan.rowid, table.number()) {
                (Some(rowid), Some(number)) => format!("c.{number} = {rowid}"),
                _ => orphan.condition(db, table)?,
            };
            let (key, name) = (described_key(table, "c"), quote(&table.name));
            let mut statement = db.prepare(&format!("SELECT {key} FROM main.{name} AS c WHERE {which}"))?;
            let keys: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
            for key in keys {
                lost::add(
                    db,
                    &orphan.table,
                    &key,
                    None,
                    &format!("its {} could not be kept", orphan.parent),
                )?;
            }
            removed += db.execute(&format!("DELETE FROM main.{name} AS c WHERE {which}"), [])?;
        }
        if removed == 0 {
            return Ok(());
        }
    }
}

/// A row that refers to one that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orphan {
    table: String,
    rowid: Option<i64>,
    parent: String,
    /// Which of the table's foreign keys it is.
    key: i64,
}

impl Orphan {
    /// All rows `c` that lack their parent, and did not before: where rows have no number they cannot
    /// be named one by one.
    fn condition(&self, db: &Connection, table: &Table) -> Result<String> {
        let mut statement = db.prepare(
            "SELECT \"from\", ifnull(\"to\", (SELECT name FROM pragma_table_info(?2) WHERE pk = seq + 1))
             FROM pragma_foreign_key_list(?1) WHERE id = ?3",
        )?;
        let pairs = statement.query_map(rusqlite::params![self.table, self.parent, self.key], |row| {
            Ok((quote(&row.get::<_, String>(0)?), quote(&row.get::<_, String>(1)?)))
        })?;
        let pairs: Vec<(String, String)> = pairs.collect::<Result<_>>()?;
        let lacks = |schema: &str, row: &str| {
            let same: Vec<String> = pairs.iter().map(|(from, to)| format!("p.{to} = {row}.{from}")).collect();
            format!(
                "NOT EXISTS (SELECT 1 FROM {schema}.{} AS p WHERE {})",
                quote(&self.parent),
                same.join(" AND ")
            )
        };
        let is_same: Vec<String> =
            table.key().iter().map(|column| format!("k.{0} = c.{0}", column.quoted())).collect();
        let there: Vec<String> = pairs.iter().map(|(from, _)| format!("c.{from} IS NOT NULL")).collect();
        Ok(format!(
            "{} AND {} AND NOT EXISTS (SELECT 1 FROM before.{} AS k WHERE {} AND {})",
            there.join(" AND "),
            lacks("main", "c"),
            quote(&table.name),
            is_same.join(" AND "),
            lacks("before", "k")
        ))
    }
}

/// All rows of one database whose parents are missing.
pub(super) fn orphans(db: &Connection, schema: &str) -> Result<Vec<Orphan>> {
    let mut statement =
        db.prepare("SELECT \"table\", rowid, parent, fkid FROM pragma_foreign_key_check(NULL, ?1)")?;
    let found = statement.query_map([schema], |row| {
        Ok(Orphan { table: row.get(0)?, rowid: row.get(1)?, parent: row.get(2)?, key: row.get(3)? })
    })?;
    found.collect()
}
