//! The rows that an older table gets: what it held before the migration, with all that was written
//! since. They are put together in a table without types or constraints, and judged later.

use rusqlite::{Connection, Result};

use super::lost;
use super::pairing::{Key, Pair, differs};
use super::table::{Column, Table, quote};

/// Where the rows of one table wait, under this name in `temp`.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    /// Names of the values, in the order of the older table's columns.
    pub(super) values: Vec<String>,
    /// The newer table that it became.
    pub(super) successor: String,
}

impl Stage {
    /// Fills stage `number` from `before`, `migrated` and `main`; the list of what cannot be kept
    /// grows.
    pub(super) fn fill(db: &Connection, pair: &Pair<'_>, number: usize) -> Result<Self> {
        let stage = Self::make(db, pair.columns.len(), number, &pair.new.name)?;
        let into = format!("INSERT INTO {} ", stage.name);
        db.execute_batch(&(into.clone() + &living(pair)))?;
        if pair.key != Key::None {
            db.execute_batch(&(into + &brought_back(pair)))?;
            lost::taken_keys(db, pair)?;
        }
        lost::added_values(db, pair)?;
        lost::made_up_values(db, pair)?;
        Ok(stage)
    }

    /// The rows of an older table that the newer schema has nothing of.
    pub(super) fn copy(db: &Connection, table: &Table, number: usize) -> Result<Self> {
        let stage = Self::make(db, table.columns.len(), number, &table.name)?;
        let rowid = table.rowid().unwrap_or("NULL");
        let columns: Vec<String> = table.columns.iter().map(Column::quoted).collect();
        db.execute_batch(&format!(
            "INSERT INTO {} SELECT 0, {rowid}, {} FROM before.{}",
            stage.name,
            columns.join(", "),
            quote(&table.name)
        ))?;
        Ok(stage)
    }

    /// For a table that has no rows of its own.
    pub(super) fn empty(db: &Connection, table: &Table, number: usize) -> Result<Self> {
        Self::make(db, table.columns.len(), number, &table.name)
    }

    fn make(db: &Connection, columns: usize, number: usize, successor: &str) -> Result<Self> {
        let values: Vec<String> = (0..columns).map(|at| format!("c{at}")).collect();
        db.execute_batch(&format!("CREATE TEMP TABLE salvage_stage_{number}(o, r, {})", values.join(", ")))?;
        Ok(Self { name: format!("temp.salvage_stage_{number}"), values, successor: successor.to_owned() })
    }
}

/// Rows that are there now. Where a user wrote since the migration that value counts, else the
/// one from before; what only the migration made goes.
fn living(pair: &Pair<'_>) -> String {
    let (b, m) = (pair.presence_old("b"), pair.presence_new("m"));
    let mut parts = vec![format!("iif({b} IS NULL, 1, 0)"), number(pair, &b)];
    parts.extend(pair.columns.iter().map(|(column, becomes)| value(column, *becomes, &b, &m)));
    format!(
        "SELECT {} {} WHERE {m} IS NULL OR {b} IS NOT NULL OR {}",
        parts.join(", "),
        sources(pair),
        written(pair)
    )
}

/// Rows that only the migration took away.
fn brought_back(pair: &Pair<'_>) -> String {
    let mut parts = vec!["0".to_owned(), pair.old.rowid().map_or("NULL".into(), |it| format!("b.{it}"))];
    parts.extend(pair.columns.iter().map(|(column, _)| format!("b.{}", column.quoted())));
    let new = quote(&pair.new.name);
    let is_there = match &pair.key {
        Key::Number(old, _) => format!("EXISTS (SELECT 1 FROM temp.salvage_pair AS p WHERE p.b = b.{old})"),
        _ => ["migrated", "main"]
            .map(|schema| {
                format!("EXISTS (SELECT 1 FROM {schema}.{new} AS x WHERE {})", pair.joins_old("b", "x"))
            })
            .join(" OR "),
    };
    format!("SELECT {} FROM before.{} AS b WHERE NOT ({is_there})", parts.join(", "), quote(&pair.old.name))
}

/// `c` as it is now, `m` as the migration left it, `b` as it was before.
pub(super) fn sources(pair: &Pair<'_>) -> String {
    let (old, new) = (quote(&pair.old.name), quote(&pair.new.name));
    // A row that was written since has a number that means nothing to the older table.
    let same = match pair.key {
        Key::Number(..) => pair.joins_old("b", "m"),
        _ => pair.joins_old("b", "c"),
    };
    format!(
        "FROM main.{new} AS c LEFT JOIN migrated.{new} AS m ON {} LEFT JOIN before.{old} AS b ON {same}",
        pair.joins_new("m", "c")
    )
}

/// Whether anything of a row was written since the migration.
pub(super) fn written(pair: &Pair<'_>) -> String {
    let changed: Vec<String> = pair.new.columns.iter().map(changed).collect();
    format!("({})", changed.join(" OR "))
}

/// Whether the value of this column was.
pub(super) fn changed(column: &Column) -> String {
    let name = column.quoted();
    differs(&format!("c.{name}"), &format!("m.{name}"))
}

fn value(column: &Column, becomes: Option<&Column>, b: &str, m: &str) -> String {
    let before = format!("b.{}", column.quoted());
    match becomes {
        Some(new) => format!(
            "CASE WHEN {m} IS NULL OR {b} IS NULL OR {} THEN c.{} ELSE {before} END",
            changed(new),
            new.quoted()
        ),
        None => format!("CASE WHEN {b} IS NULL THEN {} ELSE {before} END", column.filler()),
    }
}

fn number(pair: &Pair<'_>, b: &str) -> String {
    match (pair.old.rowid(), pair.new.rowid()) {
        (Some(old), Some(new)) => format!("CASE WHEN {b} IS NULL THEN c.{new} ELSE b.{old} END"),
        (Some(old), None) => format!("CASE WHEN {b} IS NULL THEN NULL ELSE b.{old} END"),
        _ => "NULL".into(),
    }
}
