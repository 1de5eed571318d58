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

/// Whether SQLite refused a row for what it holds.
fn is_refusal(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch))
}

fn columns_of(table: &Table) -> Vec<String> {
    table.columns.iter().map(super::table::Column::quoted).collect()
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

    /// Puts it in. A row that the table refuses is put in as it was before the migration, if it was
    /// there; what that does not hold is noted as lost.
    fn insert(self, db: &Connection, table: &Table) -> Result<()> {
        let Err(refused) = self.try_insert(db, table)? else { return Ok(()) };
        let (key, why) = (key_of(table, &self.values, self.number), refused.to_string());
        let before = self.before(db, table)?;
        match before {
            Some(before) if before.try_insert(db, table)?.is_ok() => {
                let pairs = table.columns.iter().zip(self.values.iter().zip(&before.values));
                for (column, _) in pairs.filter(|(_, (now, then))| now != then) {
                    lost::add(db, &table.name, &key, Some(&column.name), &why)?;
                }
                Ok(())
            }
            _ => lost::add(db, &table.name, &key, None, &why),
        }
    }

    /// The same row before the migration.
    fn before(&self, db: &Connection, table: &Table) -> Result<Option<Self>> {
        let numbered = table.rowid().zip(self.number).filter(|_| table.key().is_empty());
        let key: Vec<(String, Value)> = if let Some((rowid, number)) = numbered {
            vec![(rowid.to_owned(), Value::Integer(number))]
        } else {
            let pairs = table.columns.iter().zip(&self.values);
            let keys = pairs.filter(|(column, _)| table.key().contains(column));
            keys.map(|(column, value)| (column.quoted(), value.clone())).collect()
        };
        if key.is_empty() {
            return Ok(None);
        }
        let same: Vec<String> =
            key.iter().enumerate().map(|(at, (name, _))| format!("{name} IS ?{}", at + 1)).collect();
        let sql = format!(
            "SELECT {}, {} FROM before.{} WHERE {} LIMIT 1",
            table.rowid().unwrap_or("NULL"),
            columns_of(table).join(", "),
            quote(&table.name),
            same.join(" AND ")
        );
        let read = |row: &rusqlite::Row<'_>| Self::of(row, table.columns.len());
        db.query_row(&sql, params_from_iter(key.into_iter().map(|(_, value)| value)), read).optional()
    }

    fn of(row: &rusqlite::Row<'_>, count: usize) -> Result<Self> {
        Ok(Self { number: row.get(0)?, values: (1..=count).map(|at| row.get(at)).collect::<Result<_>>()? })
    }

    /// Why the table refuses it, if it does.
    fn try_insert(&self, db: &Connection, table: &Table) -> Result<Result<()>> {
        let is_taken = match (self.number, table.rowid()) {
            (Some(number), Some(rowid)) => {
                let sql = format!("SELECT 1 FROM main.{} WHERE {rowid} = ?1", quote(&table.name));
                db.query_row(&sql, [number], |_| Ok(())).optional()?.is_some()
            }
            _ => true,
        };
        let mut columns = columns_of(table);
        let mut values: Vec<&Value> = self.values.iter().collect();
        let number = Value::Integer(self.number.unwrap_or_default());
        if let (false, Some(rowid)) = (is_taken, table.rowid()) {
            columns.push(rowid.to_owned());
            values.push(&number);
        }
        let marks: Vec<String> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
        let sql = format!(
            "INSERT INTO main.{}({}) VALUES ({})",
            quote(&table.name),
            columns.join(", "),
            marks.join(", ")
        );
        match db.prepare(&sql)?.execute(params_from_iter(values)) {
            Err(error) if is_refusal(&error) => Ok(Err(error)),
            other => other.map(|_| Ok(())),
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
            let (key, name) = (super::pairing::described_key(table, "c"), quote(&table.name));
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
