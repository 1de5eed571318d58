//! Which newer table an older one became: one of its name, of the name that a migration gave it, or
//! the only one that holds its rows.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result};

use super::renames::Renames;
use super::table::{Column, Table, quote};

/// Each older table's name with that of the newer one that it became.
pub(super) fn match_tables(
    db: &Connection,
    old: &BTreeMap<String, Table>,
    migrated: &BTreeMap<String, Table>,
    new: &BTreeMap<String, Table>,
    renames: &Renames,
) -> Result<BTreeMap<String, String>> {
    let named = |name: &String| renames.table(name).map_or_else(|| name.clone(), str::to_owned);
    let mut found: BTreeMap<String, String> = old
        .keys()
        .map(|name| (name.clone(), named(name)))
        .filter(|(_, becomes)| new.contains_key(becomes))
        .collect();
    let open = |name: &String| !migrated.contains_key(name) && renames.table(name).is_none();
    for (name, table) in old.iter().filter(|(name, _)| open(name)) {
        let mut same = Vec::new();
        for (other, candidate) in migrated {
            let is_free =
                !old.contains_key(other) && new.contains_key(other) && !found.values().any(|it| it == other);
            if is_free && are_alike(table, candidate) && hold_the_same_rows(db, table, candidate)? {
                same.push(other);
            }
        }
        if let [only] = same[..] {
            found.insert(name.clone(), only.clone());
        }
    }
    Ok(found)
}

/// Whether most columns have the same names, and the key is the same.
fn are_alike(old: &Table, new: &Table) -> bool {
    let key = |table: &Table| -> Vec<String> {
        table.key().into_iter().map(|column| column.name.to_lowercase()).collect()
    };
    key(old) == key(new) && shared(old, new).len() * 2 > old.columns.len()
}

fn shared<'t>(old: &'t Table, new: &Table) -> Vec<&'t Column> {
    old.columns.iter().filter(|column| new.column(&column.name).is_some()).collect()
}

/// Whether the rows are the same in the columns that both have. Of empty tables all are the same, so
/// that they must have every column.
fn hold_the_same_rows(db: &Connection, old: &Table, new: &Table) -> Result<bool> {
    let columns: Vec<String> = shared(old, new).into_iter().map(Column::quoted).collect();
    let rows = |schema: &str, table: &Table| {
        format!("SELECT {} FROM {schema}.{}", columns.join(", "), quote(&table.name))
    };
    let (b, m) = (rows("before", old), rows("migrated", new));
    let is_whole = columns.len() == old.columns.len() && columns.len() == new.columns.len();
    let sql = format!(
        "SELECT (SELECT count(*) FROM ({b})) = (SELECT count(*) FROM ({m})) AND NOT EXISTS ({b} EXCEPT {m})
             AND ({is_whole} OR EXISTS ({b}))"
    );
    db.query_row(&sql, [], |row| row.get(0))
}
