//! Makes the live schema the older one and puts the staged rows into its tables, all inside the
//! caller's transaction. Triggers do not fire meanwhile, and are there again at the end.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result};

use super::held::{Held, columns_of, is_refusal};
use super::staging::Stage;
use super::table::{Table, quote, text};

/// Drops views and triggers, which may speak of what is about to change.
pub(super) fn take_down_code(db: &Connection) -> Result<()> {
    for kind in ["trigger", "view"] {
        for (name, _) in objects(db, "main", kind, None)? {
            db.execute_batch(&format!("DROP {kind} main.{}", quote(&name)))?;
        }
    }
    Ok(())
}

/// Puts the older views and triggers in place.
pub(super) fn put_up_code(db: &Connection) -> Result<()> {
    for kind in ["view", "trigger"] {
        for (_, sql) in objects(db, "before", kind, None)? {
            db.execute_batch(&sql)?;
        }
    }
    Ok(())
}

/// Drops a table with its indexes.
pub(super) fn drop_table(db: &Connection, table: &Table) -> Result<()> {
    db.execute_batch(&format!("DROP TABLE IF EXISTS main.{}", quote(&table.name)))
}

/// Makes an older table anew, with its rows and indexes. A row that its constraints refuse is noted
/// as lost; those from before the migration come first.
pub(super) fn put_table(db: &Connection, table: &Table, stage: &Stage) -> Result<()> {
    db.execute_batch(&table.sql)?;
    if !table.is_read_only() && table.content().is_none() {
        insert(db, table, stage)?;
    }
    for (_, sql) in objects(db, "before", "index", Some(&table.name))? {
        put_index(db, table, &sql)?;
    }
    raise_sequence(db, &table.name, &stage.successor)
}

/// Takes indexes from a table that stays which it did not have before.
pub(super) fn drop_foreign_indexes(db: &Connection, table: &Table) -> Result<()> {
    let old = objects(db, "before", "index", Some(&table.name))?;
    for (name, sql) in objects(db, "main", "index", Some(&table.name))? {
        if old.get(&name) != Some(&sql) {
            db.execute_batch(&format!("DROP INDEX main.{}", quote(&name)))?;
        }
    }
    Ok(())
}

/// Gives it those that it had.
pub(super) fn put_missing_indexes(db: &Connection, table: &Table) -> Result<()> {
    let new = objects(db, "main", "index", Some(&table.name))?;
    let old = objects(db, "before", "index", Some(&table.name))?;
    old.iter().filter(|(name, _)| !new.contains_key(*name)).try_for_each(|(_, sql)| put_index(db, table, sql))
}

/// Full-text tables whose texts are in other tables read them again.
pub(super) fn index_texts<'t>(db: &Connection, tables: impl Iterator<Item = &'t Table>) -> Result<()> {
    for table in tables.filter(|table| table.content().is_some_and(|content| !content.is_empty())) {
        let name = quote(&table.name);
        db.execute_batch(&format!("INSERT INTO main.{name}({name}) VALUES ('rebuild')"))?;
    }
    Ok(())
}

/// A unique index that the rows no longer satisfy takes those that came last out.
fn put_index(db: &Connection, table: &Table, sql: &str) -> Result<()> {
    match db.execute_batch(sql) {
        Err(error) if is_refusal(&error) => {}
        other => return other,
    }
    let all = Held::read(db, table)?;
    db.execute_batch(&format!("DELETE FROM main.{}", quote(&table.name)))?;
    db.execute_batch(sql)?;
    all.into_iter().try_for_each(|row| row.insert(db, table))
}

fn insert(db: &Connection, table: &Table, stage: &Stage) -> Result<()> {
    db.execute_batch("SAVEPOINT bulk")?;
    match insert_all(db, table, stage) {
        Ok(()) => db.execute_batch("RELEASE bulk"),
        Err(error) if is_refusal(&error) => {
            db.execute_batch("ROLLBACK TO bulk; RELEASE bulk")?;
            insert_each(db, table, stage)
        }
        Err(error) => Err(error),
    }
}

fn insert_all(db: &Connection, table: &Table, stage: &Stage) -> Result<()> {
    let (name, columns, values) = (quote(&table.name), columns_of(table).join(", "), stage.values.join(", "));
    let Some(rowid) = table.rowid() else {
        return db.execute_batch(&format!(
            "INSERT INTO main.{name}({columns}) SELECT {values} FROM {} ORDER BY o, rowid",
            stage.name
        ));
    };
    // Numbers of rows that came later may be taken: those get another one.
    db.execute_batch(&format!(
        "INSERT INTO main.{name}({rowid}, {columns}) SELECT r, {values} FROM {0} WHERE o = 0 AND r IS NOT NULL ORDER BY r;
         INSERT INTO main.{name}({rowid}, {columns}) SELECT r, {values} FROM {0}
             WHERE o = 1 AND r IS NOT NULL AND r NOT IN (SELECT r FROM {0} WHERE o = 0 AND r IS NOT NULL) ORDER BY r;
         INSERT INTO main.{name}({columns}) SELECT {values} FROM {0}
             WHERE r IS NULL OR (o = 1 AND r IN (SELECT r FROM {0} WHERE o = 0 AND r IS NOT NULL)) ORDER BY r",
        stage.name
    ))
}

fn insert_each(db: &Connection, table: &Table, stage: &Stage) -> Result<()> {
    let sql = format!("SELECT r, {} FROM {} ORDER BY o, r, rowid", stage.values.join(", "), stage.name);
    let mut statement = db.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number = if table.rowid().is_some() { row.get(0)? } else { None };
        let values = (1..=stage.values.len()).map(|at| row.get(at)).collect::<Result<_>>()?;
        Held { number, values }.insert(db, table)?;
    }
    Ok(())
}

/// A number that AUTOINCREMENT gave is never given again.
fn raise_sequence(db: &Connection, table: &str, successor: &str) -> Result<()> {
    let has = |schema: &str| {
        let sql =
            format!("SELECT EXISTS (SELECT 1 FROM {schema}.sqlite_master WHERE name = 'sqlite_sequence')");
        db.query_row(&sql, [], |row| row.get::<_, bool>(0))
    };
    if !has("main")? || !has("before")? {
        return Ok(());
    }
    let (name, other) = (text(table), text(successor));
    let given = format!(
        "SELECT max(seq) AS seq FROM (SELECT seq FROM before.sqlite_sequence WHERE name = {name}
             UNION ALL SELECT seq FROM temp.salvage_sequence WHERE name IN ({name}, {other})
             UNION ALL SELECT seq FROM main.sqlite_sequence WHERE name = {name})"
    );
    db.execute_batch(&format!(
        "CREATE TEMP TABLE salvage_given AS {given};
         DELETE FROM main.sqlite_sequence WHERE name = {name};
         INSERT INTO main.sqlite_sequence(name, seq) SELECT {name}, seq FROM temp.salvage_given
             WHERE seq IS NOT NULL AND EXISTS (SELECT 1 FROM before.sqlite_master WHERE name = {name} AND sql LIKE '%AUTOINCREMENT%');
         DROP TABLE temp.salvage_given"
    ))
}

/// Keeps what AUTOINCREMENT has given, which goes with its table.
pub(super) fn keep_sequences(db: &Connection) -> Result<()> {
    db.execute_batch("CREATE TEMP TABLE salvage_sequence(name, seq)")?;
    let has = "SELECT EXISTS (SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence')";
    if db.query_row(has, [], |row| row.get::<_, bool>(0))? {
        db.execute_batch("INSERT INTO temp.salvage_sequence SELECT name, seq FROM main.sqlite_sequence")?;
    }
    Ok(())
}

/// Names and texts of one kind; of one table's when it is named.
fn objects(
    db: &Connection,
    schema: &str,
    kind: &str,
    table: Option<&str>,
) -> Result<BTreeMap<String, String>> {
    let of_table =
        table.map_or(String::new(), |table| format!("AND tbl_name = {} COLLATE NOCASE", text(table)));
    let sql = format!(
        "SELECT name, sql FROM {schema}.sqlite_master WHERE type = '{kind}' AND sql IS NOT NULL {of_table}"
    );
    let mut statement = db.prepare(&sql)?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    found.collect()
}
