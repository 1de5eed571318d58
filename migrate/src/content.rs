//! What a database holds beyond its row counts: its schema in one spelling, and whether all rows
//! of an older copy are still there.

use std::collections::BTreeMap;
use std::path::Path;

pub(crate) use common::database::TableFacts as Content;
use common::database::{Table, quote};
use common::migrations::Layout;
use rusqlite::{Connection, Result};

use crate::rows::{self, Scope};
use crate::tokens::canonical;

/// Every object of the schema, by kind and name, in one spelling: a rebuilt table that only got
/// quotes around its name is the same.
pub(crate) type Shape = BTreeMap<(String, String), String>;

/// Reads the shape, without SQLite's own tables and tracking tables, ours and those of other tools.
pub(crate) fn shape(db: &Connection) -> Result<Shape> {
    let mut list = db.prepare(
        "SELECT type, name, ifnull(sql, ''), tbl_name FROM main.sqlite_master
         WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name <> 'migrations'",
    )?;
    let foreign = |table: &str| Layout::FOREIGN.iter().any(|layout| layout.table() == Some(table));
    let mut found = Shape::new();
    let mut rows = list.query([])?;
    while let Some(row) = rows.next()? {
        let (sql, table): (String, String) = (row.get(2)?, row.get(3)?);
        if !foreign(&table) {
            found.insert((row.get(0)?, row.get(1)?), canonical(&sql));
        }
    }
    Ok(found)
}

/// The content of every table that can be read here.
pub(crate) fn contents(db: &Connection) -> Result<BTreeMap<String, Content>> {
    let mut found = BTreeMap::new();
    for name in rows::count(db, &Scope::All)?.into_keys() {
        let content = Table::named(db, name.clone()).and_then(|table| table.facts_in_any_order(db));
        if let Ok(content) = content {
            found.insert(name, content);
        }
    }
    Ok(found)
}

/// One sentence per object that is in one shape only, or in another text.
pub(crate) fn compare_shapes(before: &Shape, after: &Shape) -> Vec<String> {
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key, "is missing"));
    let new = after.keys().filter(|key| !before.contains_key(*key)).map(|key| (key, "is left over"));
    let other = before
        .iter()
        .filter(|(key, text)| after.get(*key).is_some_and(|after| after != *text))
        .map(|(key, _)| (key, "differs"));
    gone.chain(new).chain(other).map(|((kind, name), how)| format!("{kind} {name} {how}")).collect()
}

/// One sentence per table that lacks rows which the older copy `before`, of the same shape, has.
pub(crate) fn compare_rows(db: &Connection, before: &Path) -> Result<Vec<String>> {
    db.execute("ATTACH ?1 AS before", [before.to_string_lossy()])?;
    let missing = missing_rows(db);
    db.execute_batch("DETACH before")?;
    missing
}

fn missing_rows(db: &Connection) -> Result<Vec<String>> {
    let mut list = db.prepare(
        "SELECT name FROM before.sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> 'migrations'",
    )?;
    let tables: Vec<String> = list.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
    let mut missing = Vec::new();
    for table in tables {
        let name = quote(&table);
        let query =
            format!("SELECT count(*) FROM (SELECT * FROM before.{name} EXCEPT SELECT * FROM main.{name})");
        let rows: i64 = db.query_row(&query, [], |row| row.get(0))?;
        if rows > 0 {
            missing.push(format!("{rows} rows of {table} do not come back as they were"));
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_matter_and_a_lost_index_does() {
        let shape_of = |sql: &str| {
            let db = Connection::open_in_memory().unwrap();
            db.execute_batch(sql).unwrap();
            shape(&db).unwrap()
        };
        let before = shape_of("CREATE TABLE t(a, b); CREATE INDEX i ON t(a);");
        let rebuilt =
            shape_of("CREATE TABLE n(a, b); ALTER TABLE n RENAME TO t; CREATE INDEX \"i\" ON t (a);");
        assert!(compare_shapes(&before, &rebuilt).is_empty(), "{before:?} {rebuilt:?}");
        let other = shape_of("CREATE TABLE t(a, b CHECK (b > 0)); CREATE VIEW v AS SELECT 1;");
        assert_eq!(
            compare_shapes(&before, &other),
            ["index i is missing", "view v is left over", "table t differs"]
        );
    }

    #[test]
    fn the_hash_of_a_table_knows_values_and_types_but_not_their_order() {
        let hash = |sql: &str| {
            let db = Connection::open_in_memory().unwrap();
            db.execute_batch(&format!("CREATE TABLE t(a, b); {sql}")).unwrap();
            contents(&db).unwrap().remove("t").unwrap()
        };
        let first = hash("INSERT INTO t VALUES (1, 'x'), (2, NULL)");
        assert_eq!(first, hash("INSERT INTO t VALUES (2, NULL); INSERT INTO t VALUES (1, 'x')"));
        for other in [
            "(1, 'x'), (2, 0)",
            "('1', 'x'), (2, NULL)",
            "(1, 'x'), (2, NULL), (2, NULL)",
            "(1, x'78'), (2, NULL)",
        ] {
            assert_ne!(first, hash(&format!("INSERT INTO t VALUES {other}")), "{other}");
        }
    }
}
