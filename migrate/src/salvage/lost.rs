//! What cannot live in the older schema, value by value: table, key, column, why. It is in the
//! protected snapshot; this is the list of it.

use rusqlite::{Connection, Result, params};
use serde::Serialize;

use super::pairing::{Key, Pair, described_key};
use super::staging::{changed, sources, written};
use super::table::{Table, quote, text};

/// Where the list grows during a salvage.
const LIST: &str = "CREATE TEMP TABLE salvage_lost(name, key, field, why)";

/// One value, or one row when `column` is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Lost {
    pub(crate) table: String,
    /// A JSON object of the key's values; of a blob its hexadecimal digits.
    pub(crate) key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<String>,
    pub(crate) why: String,
}

pub(super) fn begin(db: &Connection) -> Result<()> {
    db.execute_batch(LIST)
}

/// Notes one row, or one value of it.
pub(super) fn add(db: &Connection, table: &str, key: &str, column: Option<&str>, why: &str) -> Result<()> {
    db.execute("INSERT INTO temp.salvage_lost VALUES (?1, ?2, ?3, ?4)", params![table, key, column, why])
        .map(drop)
}

/// All of it.
pub(super) fn list(db: &Connection) -> Result<Vec<Lost>> {
    let mut statement =
        db.prepare("SELECT name, key, field, why FROM temp.salvage_lost ORDER BY name, field, rowid")?;
    let found = statement.query_map([], |row| {
        Ok(Lost { table: row.get(0)?, key: row.get(1)?, column: row.get(2)?, why: row.get(3)? })
    })?;
    found.collect()
}

/// Values that were written into columns which the older table lacks.
pub(super) fn added_values(db: &Connection, pair: &Pair<'_>) -> Result<()> {
    let m = pair.presence_new("m");
    for column in pair.added() {
        let (name, default) = (column.quoted(), column.default_value());
        db.execute_batch(&format!(
            "INSERT INTO temp.salvage_lost SELECT {}, {}, {}, 'the older schema has no such column' {}
             WHERE CASE WHEN {m} IS NULL THEN c.{name} IS NOT NULL AND c.{name} IS NOT {default} ELSE {} END",
            text(&pair.new.name),
            described_key(pair.new, "c"),
            text(&column.name),
            sources(pair),
            changed(column)
        ))?;
    }
    Ok(())
}

/// Values that the older table asks for and nobody wrote.
pub(super) fn made_up_values(db: &Connection, pair: &Pair<'_>) -> Result<()> {
    let b = pair.presence_old("b");
    let m = pair.presence_new("m");
    for (column, _) in pair.columns.iter().filter(|(column, new)| new.is_none() && column.is_made_up()) {
        db.execute_batch(&format!(
            "INSERT INTO temp.salvage_lost SELECT {}, {}, {}, 'nobody wrote the value that the older schema asks for: it is empty' {}
             WHERE {b} IS NULL AND ({m} IS NULL OR {})",
            text(&pair.old.name),
            described_key(pair.new, "c"),
            text(&column.name),
            sources(pair),
            written(pair)
        ))?;
    }
    Ok(())
}

/// Rows that only the migration took away, and whose key a user has given to another row since.
pub(super) fn taken_keys(db: &Connection, pair: &Pair<'_>) -> Result<()> {
    let Key::Columns(_) = pair.key else { return Ok(()) };
    let (b, m) = (pair.presence_old("b"), pair.presence_new("m"));
    db.execute_batch(&format!(
        "INSERT INTO temp.salvage_lost SELECT {}, {}, NULL, 'the row of before the migration: its key belongs to another one now' {}
         WHERE {m} IS NULL AND {b} IS NOT NULL",
        text(&pair.old.name),
        described_key(pair.new, "c"),
        sources(pair)
    ))
}

/// Rows that were written into a table which the older schema lacks; `migrated` has it too, or not.
pub(super) fn added_table(db: &Connection, table: &Table, migrated: bool) -> Result<()> {
    let name = quote(&table.name);
    let same = if migrated {
        let is = table.columns.iter().map(|column| {
            let column = column.quoted();
            format!("x.{column} IS c.{column} COLLATE BINARY AND typeof(x.{column}) = typeof(c.{column})")
        });
        let key = table.key();
        // By its key a row is found at once; without one all rows would be compared with all.
        let by_set = key.is_empty().then(|| table.rowid()).flatten();
        let found = by_set.map_or_else(String::new, |rowid| format!("x.{rowid} = c.{rowid} AND "));
        let by_key: Vec<String> =
            key.iter().map(|column| format!("x.{0} = c.{0} AND ", column.quoted())).collect();
        format!(
            "EXISTS (SELECT 1 FROM migrated.{name} AS x WHERE {}{found}{})",
            by_key.concat(),
            is.collect::<Vec<_>>().join(" AND ")
        )
    } else {
        "0".into()
    };
    db.execute_batch(&format!(
        "INSERT INTO temp.salvage_lost SELECT {}, {}, NULL, 'the older schema has no such table' FROM main.{name} AS c WHERE NOT {same}",
        text(&table.name),
        described_key(table, "c")
    ))
}
