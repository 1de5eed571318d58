//! Tables as a salvage sees them: their text, the columns that hold values, what names a row.

use std::collections::BTreeMap;

pub(super) use common::database::quote;
use rusqlite::{Connection, Result};

/// SQLite's own names for a row, of which a column may take two.
const ROWIDS: [&str; 3] = ["_rowid_", "rowid", "oid"];

/// A column that holds values; generated ones and those that a virtual table hides are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    kind: String,
    required: bool,
    /// An expression of SQL.
    default: Option<String>,
    /// Its place in the primary key, from 1; 0 for none.
    key: i64,
}

impl Column {
    pub(super) fn quoted(&self) -> String {
        quote(&self.name)
    }

    /// What stands where no value ever was: the default, or nothing, or what a required column takes.
    pub(super) fn filler(&self) -> String {
        match (&self.default, self.required || self.key > 0) {
            (None, true) => self.empty().into(),
            _ => self.default_value(),
        }
    }

    /// The default as an expression of its own: SQLite takes a bare or double-quoted word there for
    /// text, where it would be the name of a column elsewhere.
    pub(super) fn default_value(&self) -> String {
        let Some(default) = self.default.as_deref() else { return "NULL".into() };
        let is_word = default.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && default.chars().all(|c| c.is_alphanumeric() || c == '_');
        let is_known = ["true", "false", "null"].iter().any(|word| default.eq_ignore_ascii_case(word))
            || default.to_uppercase().starts_with("CURRENT_");
        match default.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inner) => text(&inner.replace("\"\"", "\"")),
            None if is_word && !is_known => text(default),
            None => format!("({default})"),
        }
    }

    pub(super) fn has_default_of(&self, other: &Self) -> bool {
        self.default == other.default
    }

    /// Whether both are declared the same, but for their names.
    pub(super) fn is_of_kind(&self, other: &Self) -> bool {
        self.kind.eq_ignore_ascii_case(&other.kind)
            && (self.required, self.key) == (other.required, other.key)
    }

    /// Whether [`Column::filler`] makes a value up.
    pub(super) fn is_made_up(&self) -> bool {
        self.default.is_none() && (self.required || self.key > 0)
    }

    fn empty(&self) -> &'static str {
        let kind = self.kind.to_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
        if !has(&["INT"]) && has(&["CHAR", "CLOB", "TEXT"]) {
            "''"
        } else if !has(&["INT"]) && (has(&["BLOB"]) || kind.is_empty()) {
            "x''"
        } else {
            "0"
        }
    }
}

/// One table of one of the three databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) sql: String,
    pub(super) columns: Vec<Column>,
    pub(super) is_virtual: bool,
    without_rowid: bool,
}

impl Table {
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Columns of the primary key, in its order.
    pub(super) fn key(&self) -> Vec<&Column> {
        let mut key: Vec<&Column> = self.columns.iter().filter(|column| column.key > 0).collect();
        key.sort_by_key(|column| column.key);
        key
    }

    /// The name of the row's number where it is no column.
    pub(super) fn rowid(&self) -> Option<&'static str> {
        if self.without_rowid || self.has_integer_key() {
            return None;
        }
        ROWIDS.into_iter().find(|name| self.column(name).is_none())
    }

    /// What numbers its rows, a column or not; none in a table without such numbers.
    pub(super) fn number(&self) -> Option<String> {
        if self.has_integer_key() {
            return Some(self.key()[0].quoted());
        }
        self.rowid().map(str::to_owned)
    }

    /// Of a full-text table that keeps no text of its own: where it is; empty for nowhere.
    pub(super) fn content(&self) -> Option<String> {
        let options = self.sql.split_once('(').filter(|_| self.is_virtual)?.1;
        options.split(',').find_map(|option| {
            let (name, value) = option.split_once('=')?;
            let value = value.trim().trim_end_matches([')', ';']).trim();
            let is_it = name.trim().eq_ignore_ascii_case("content");
            is_it.then(|| value.trim_matches(['\'', '"', '`', '[', ']']).to_owned())
        })
    }

    /// Whether it only shows what another table has.
    pub(super) fn is_read_only(&self) -> bool {
        let sql = self.sql.to_lowercase();
        self.is_virtual && ["fts5vocab", "fts4aux", "fts3tokenize"].iter().any(|module| sql.contains(module))
    }

    fn has_integer_key(&self) -> bool {
        let key = self.key();
        !self.is_virtual && key.len() == 1 && key[0].kind.eq_ignore_ascii_case("INTEGER")
    }

    /// Whether no value of the key can be NULL, whatever was written.
    pub(super) fn has_firm_key(&self) -> bool {
        self.without_rowid || self.has_integer_key()
    }
}

/// Tables by lower-case name, without SQLite's own and those behind virtual tables.
pub(super) fn tables(db: &Connection, schema: &str) -> Result<BTreeMap<String, Table>> {
    let mut statement = db.prepare(&format!(
        "SELECT l.name, s.sql, l.type = 'virtual', l.wr FROM pragma_table_list AS l
         JOIN {schema}.sqlite_master AS s ON s.type = 'table' AND s.name = l.name
         WHERE l.schema = '{schema}' AND l.type IN ('table', 'virtual') AND l.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ))?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    found
        .map(|row| {
            let (name, sql, is_virtual, without_rowid): (String, String, bool, bool) = row?;
            let columns = columns(db, schema, &name)?;
            Ok((name.to_lowercase(), Table { name, sql, columns, is_virtual, without_rowid }))
        })
        .collect()
}

fn columns(db: &Connection, schema: &str, table: &str) -> Result<Vec<Column>> {
    let mut statement = db.prepare(
        "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_xinfo(?1, ?2) WHERE hidden = 0",
    )?;
    let found = statement.query_map([table, schema], |row| {
        Ok(Column {
            name: row.get(0)?,
            kind: row.get(1)?,
            required: row.get(2)?,
            default: row.get(3)?,
            key: row.get(4)?,
        })
    })?;
    found.collect()
}

/// A text as SQL writes it.
pub(super) fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
