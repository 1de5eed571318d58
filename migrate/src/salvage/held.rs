//! A row that waits to be put in, alone, because its table has refused some of them together.

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Result, Row, params_from_iter};

use super::lost;
use super::table::{Column, Table, quote};

/// Whether SQLite refused a row for what it holds.
pub(super) fn is_refusal(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch))
}

pub(super) fn columns_of(table: &Table) -> Vec<String> {
    table.columns.iter().map(Column::quoted).collect()
}

/// One row that waits to be put in.
pub(super) struct Held {
    pub(super) number: Option<i64>,
    pub(super) values: Vec<Value>,
}

impl Held {
    /// All rows of a live table.
    pub(super) fn read(db: &Connection, table: &Table) -> Result<Vec<Self>> {
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
    pub(super) fn insert(self, db: &Connection, table: &Table) -> Result<()> {
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
        let read = |row: &Row<'_>| Self::of(row, table.columns.len());
        db.query_row(&sql, params_from_iter(key.into_iter().map(|(_, value)| value)), read).optional()
    }

    fn of(row: &Row<'_>, count: usize) -> Result<Self> {
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
