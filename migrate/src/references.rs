//! Foreign key violations as values, so that only new ones are refused: rows that refer to nothing
//! and were there before the migration do not block it.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, params};

use common::report::Problem;

use common::database::quote;

/// A sentence such as "note(doc) 17 is in no doc", and how many rows say so.
pub(crate) type Violations = BTreeMap<String, usize>;

const NAMED: usize = 10;

/// All violations of the database; that they cannot be checked is one, too.
pub(crate) fn violations(db: &Connection) -> Violations {
    read(db).unwrap_or_else(|error| Violations::from([(format!("cannot be checked: {error}"), 1)]))
}

/// Whether any table refers to another.
pub(crate) fn has_keys(db: &Connection) -> bool {
    let query =
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND sql LIKE '%REFERENCES%')";
    db.query_row(query, [], |row| row.get(0)).unwrap_or(true)
}

/// # Errors
/// `foreign-keys-broken` naming what is in `after` and not in `before`.
pub(crate) fn refuse_new(before: &Violations, after: &Violations) -> std::result::Result<(), Problem> {
    let fresh: Vec<String> = after
        .iter()
        .filter_map(|(what, count)| {
            let more = count.saturating_sub(before.get(what).copied().unwrap_or(0));
            (more > 0).then(|| format!("{what} ({more} times)"))
        })
        .collect();
    if fresh.is_empty() {
        return Ok(());
    }
    let title = "the migration would leave rows that refer to rows that do not exist";
    Err(Problem::new("foreign-keys-broken", title).detail(fresh[..fresh.len().min(NAMED)].join("\n")))
}

fn read(db: &Connection) -> Result<Violations> {
    let mut found = Violations::new();
    let mut columns_of = BTreeMap::new();
    let mut check = db.prepare("SELECT \"table\", rowid, parent, fkid FROM pragma_foreign_key_check")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        let key: i64 = row.get(3)?;
        let columns = match columns_of.entry((table.clone(), key)) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(columns(db, &table, key)?),
        };
        let value = match row.get::<_, Option<i64>>(1)? {
            Some(rowid) => value(db, &table, columns, rowid)?,
            None => None,
        };
        let value = value.unwrap_or_default();
        *found.entry(format!("{table}({}) {value} is in no {parent}", columns.join(", "))).or_default() += 1;
    }
    Ok(found)
}

fn columns(db: &Connection, table: &str, key: i64) -> Result<Vec<String>> {
    let mut list =
        db.prepare("SELECT \"from\" FROM pragma_foreign_key_list(?1) WHERE id = ?2 ORDER BY seq")?;
    list.query_map(params![table, key], |row| row.get(0))?.collect()
}

fn value(db: &Connection, table: &str, columns: &[String], rowid: i64) -> Result<Option<String>> {
    let list = columns.iter().map(|column| quote(column)).collect::<Vec<_>>().join(", ");
    let query = format!("SELECT {list} FROM {} WHERE rowid = ?1", quote(table));
    db.prepare(&query)?
        .query_row([rowid], |row| {
            let shown = (0..columns.len()).map(|at| row.get::<_, Value>(at).map(|value| show(&value)));
            Ok(shown.collect::<Result<Vec<_>>>()?.join(", "))
        })
        .optional()
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => format!("'{text}'"),
        Value::Blob(bytes) => format!("x'{}'", common::hex(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_violations_survive_a_rebuild_that_renumbers_rows_and_new_ones_are_named() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "PRAGMA foreign_keys=OFF; CREATE TABLE doc(id INTEGER PRIMARY KEY);
             CREATE TABLE note(doc INTEGER REFERENCES doc(id), text TEXT);
             INSERT INTO note(rowid, doc, text) VALUES (5, 17, 'a'), (9, NULL, 'b');",
        )
        .unwrap();
        let before = violations(&db);
        assert_eq!(before.len(), 1);
        db.execute_batch("CREATE TABLE n(doc INTEGER REFERENCES doc(id)); INSERT INTO n SELECT doc FROM note; DROP TABLE note; ALTER TABLE n RENAME TO note;").unwrap();
        refuse_new(&before, &violations(&db)).unwrap();
        db.execute_batch("UPDATE note SET doc = 18 WHERE doc = 17").unwrap();
        let problem = refuse_new(&before, &violations(&db)).unwrap_err();
        assert_eq!(problem.detail.as_deref(), Some("note(doc) 18 is in no doc (1 times)"));
    }
}
