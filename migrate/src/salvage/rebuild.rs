//! Makes the live schema the older one and puts the staged rows into its tables, all inside the
//! caller's transaction. Triggers do not fire meanwhile, and are there again at the end.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Result, params_from_iter};

use super::lost;
use super::staging::Stage;
use super::table::{Table, quote, tables, text};

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
    db.execute_batch("SAVEPOINT bulk")?;
    let bulk = insert_all(db, table, stage);
    match bulk {
        Ok(()) => db.execute_batch("RELEASE bulk")?,
        Err(error) if is_refusal(&error) => {
            db.execute_batch("ROLLBACK TO bulk; RELEASE bulk")?;
            insert_each(db, table, stage)?;
        }
        Err(error) => return Err(error),
    }
    for (_, sql) in objects(db, "before", "index", Some(&table.name))? {
        put_index(db, table, &sql)?;
    }
    raise_sequence(db, &table.name)
}

/// Gives a table that stays the older indexes.
pub(super) fn exchange_indexes(db: &Connection, table: &Table) -> Result<()> {
    let (old, new) = (
        objects(db, "before", "index", Some(&table.name))?,
        objects(db, "main", "index", Some(&table.name))?,
    );
    for (name, _) in new.iter().filter(|(name, sql)| old.get(*name) != Some(sql)) {
        db.execute_batch(&format!("DROP INDEX main.{}", quote(name)))?;
    }
    for (_, sql) in old.iter().filter(|(name, sql)| new.get(*name) != Some(sql)) {
        put_index(db, table, sql)?;
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

/// Whether SQLite refused a row for what it holds.
fn is_refusal(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

fn columns_of(table: &Table) -> Vec<String> {
    table.columns.iter().map(super::table::Column::quoted).collect()
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

/// One row that waits to be put in.
struct Held {
    number: Option<i64>,
    values: Vec<Value>,
}

impl Held {
    /// All rows of a live table.
    fn read(db: &Connection, table: &Table) -> Result<Vec<Self>> {
        let (number, count) = (table.rowid().unwrap_or("NULL"), table.columns.len());
        let sql =
            format!("SELECT {number}, {} FROM main.{}", columns_of(table).join(", "), quote(&table.name));
        let mut statement = db.prepare(&sql)?;
        let rows = statement.query_map([], |row| {
            Ok(Self {
                number: row.get(0)?,
                values: (1..=count).map(|at| row.get(at)).collect::<Result<_>>()?,
            })
        })?;
        rows.collect()
    }

    /// Puts it in, or notes it as lost.
    fn insert(self, db: &Connection, table: &Table) -> Result<()> {
        let is_taken = match (self.number, table.rowid()) {
            (Some(number), Some(rowid)) => {
                let sql = format!("SELECT 1 FROM main.{} WHERE {rowid} = ?1", quote(&table.name));
                db.query_row(&sql, [number], |_| Ok(())).optional()?.is_some()
            }
            _ => true,
        };
        let mut columns = columns_of(table);
        let mut values = self.values;
        if let (false, Some(rowid), Some(number)) = (is_taken, table.rowid(), self.number) {
            columns.push(rowid.to_owned());
            values.push(Value::Integer(number));
        }
        let marks: Vec<String> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
        let sql = format!(
            "INSERT INTO main.{}({}) VALUES ({})",
            quote(&table.name),
            columns.join(", "),
            marks.join(", ")
        );
        match db.prepare(&sql)?.execute(params_from_iter(&values)) {
            Err(error) if is_refusal(&error) => {
                lost::add(db, &table.name, &key_of(table, &values, self.number), &error.to_string())
            }
            other => other.map(drop),
        }
    }
}

fn key_of(table: &Table, values: &[Value], number: Option<i64>) -> String {
    let shown = |value: &Value| match value {
        Value::Null => serde_json::Value::Null,
        Value::Integer(number) => (*number).into(),
        Value::Real(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Blob(bytes) => common::hex(bytes).into(),
    };
    let mut key = serde_json::Map::new();
    for column in table.key() {
        let value = table.columns.iter().zip(values).find(|(it, _)| *it == column);
        key.extend(value.map(|(_, value)| (column.name.clone(), shown(value))));
    }
    if let (true, Some(number)) = (key.is_empty(), number) {
        key.insert("rowid".into(), number.into());
    }
    serde_json::Value::Object(key).to_string()
}

/// A number that AUTOINCREMENT gave is never given again.
fn raise_sequence(db: &Connection, table: &str) -> Result<()> {
    let has = |schema: &str| {
        let sql =
            format!("SELECT EXISTS (SELECT 1 FROM {schema}.sqlite_master WHERE name = 'sqlite_sequence')");
        db.query_row(&sql, [], |row| row.get::<_, bool>(0))
    };
    if !has("main")? || !has("before")? {
        return Ok(());
    }
    let name = text(table);
    db.execute_batch(&format!(
        "INSERT INTO main.sqlite_sequence(name, seq) SELECT name, seq FROM before.sqlite_sequence
             WHERE name = {name} AND NOT EXISTS (SELECT 1 FROM main.sqlite_sequence WHERE name = {name});
         UPDATE main.sqlite_sequence SET seq = max(seq, ifnull((SELECT seq FROM temp.sequence WHERE name = {name}), 0),
             ifnull((SELECT seq FROM before.sqlite_sequence WHERE name = {name}), 0)) WHERE name = {name}"
    ))
}

/// Keeps what AUTOINCREMENT has given, which goes with its table.
pub(super) fn keep_sequences(db: &Connection) -> Result<()> {
    db.execute_batch("CREATE TEMP TABLE sequence(name, seq)")?;
    let has = "SELECT EXISTS (SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence')";
    if db.query_row(has, [], |row| row.get::<_, bool>(0))? {
        db.execute_batch("INSERT INTO temp.sequence SELECT name, seq FROM main.sqlite_sequence")?;
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

/// Takes out rows whose parents could not be kept; those that lacked one before stay as they are.
pub(super) fn remove_orphans(db: &Connection, known: &[Orphan]) -> Result<()> {
    loop {
        let found: Vec<Orphan> = orphans(db)?.into_iter().filter(|orphan| !known.contains(orphan)).collect();
        if found.is_empty() {
            return Ok(());
        }
        let live = tables(db, "main")?;
        for orphan in found {
            let (Some(rowid), Some(table)) = (orphan.rowid, live.get(&orphan.table.to_lowercase())) else {
                return Err(rusqlite::Error::QueryReturnedNoRows);
            };
            let why = format!("its {} could not be kept", orphan.parent);
            let key = super::pairing::described_key(table, "c");
            let name = quote(&orphan.table);
            let sql = format!("SELECT {key} FROM main.{name} AS c WHERE c.rowid = ?1");
            let Some(key) = db.query_row(&sql, [rowid], |row| row.get::<_, String>(0)).optional()? else {
                continue;
            };
            lost::add(db, &orphan.table, &key, &why)?;
            db.execute(&format!("DELETE FROM main.{name} WHERE rowid = ?1"), [rowid])?;
        }
    }
}

/// A row that refers to one that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orphan {
    table: String,
    rowid: Option<i64>,
    parent: String,
}

/// All rows of the live database whose parents are missing.
pub(super) fn orphans(db: &Connection) -> Result<Vec<Orphan>> {
    let mut statement =
        db.prepare("SELECT \"table\", rowid, parent FROM pragma_foreign_key_check(NULL, 'main')")?;
    let found = statement
        .query_map([], |row| Ok(Orphan { table: row.get(0)?, rowid: row.get(1)?, parent: row.get(2)? }))?;
    found.collect()
}
