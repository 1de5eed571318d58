//! What a table holds, told apart from how its pages lie: its rows, their encoding, their hash.
//!
//! Generated columns are left out, since they follow from others. Shadow tables of virtual tables
//! are tables like any other; a virtual table itself can be read by its name. Planner statistics
//! are no content.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result, Row};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How many rows a table holds, and a hash of them all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    pub rows: u64,
    /// Hex: 64 digits of a hash over the rows in order, 32 of one that order does not change.
    pub hash: String,
}

/// One table as its rows are read and written.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    /// The name under which the hidden row number is reached, where no column holds it.
    pub rowid: Option<&'static str>,
    /// Columns that hold values of their own.
    pub columns: Vec<String>,
    /// What tells two rows apart: the row number, or the primary key.
    pub key: Vec<String>,
    pub sql: String,
}

/// A column's name, its place in the primary key (from 1; 0 outside), how it is hidden.
type Column = (String, i64, i64);

impl Table {
    /// The tables that hold rows of their own, in the order they were made.
    ///
    /// # Errors
    /// Whatever SQLite says: the schema cannot be read.
    pub fn all(connection: &Connection) -> Result<Vec<Self>> {
        let mut statement = connection.prepare(
            "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND rootpage > 0
             AND name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\' ORDER BY rowid",
        )?;
        let names: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
        names.into_iter().map(|name| Self::named(connection, name)).collect()
    }

    /// The table of that name, which may be a virtual one.
    ///
    /// # Errors
    /// There is none, or its module is not linked here.
    pub fn named(connection: &Connection, name: String) -> Result<Self> {
        let (sql, without_rowid) = connection.query_row(
            "SELECT ifnull(s.sql, ''), l.wr FROM main.sqlite_schema s JOIN pragma_table_list(s.name) l
             WHERE s.type = 'table' AND s.name = ?1 AND l.schema = 'main'",
            [&name],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let columns: Vec<Column> = connection
            .prepare("SELECT name, pk, hidden FROM pragma_table_xinfo(?1, 'main')")?
            .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_>>()?;
        let primary = primary_key(&columns);
        let keyed = without_rowid || (primary.len() == 1 && !has_key_index(connection, &name)?);
        let rowid = if keyed { None } else { hidden_row_number(&columns) };
        let key = if keyed { primary } else { rowid.iter().map(|name| (*name).to_owned()).collect() };
        let columns =
            columns.into_iter().filter(|(.., hidden)| *hidden == 0).map(|(name, ..)| name).collect();
        Ok(Self { name, rowid, columns, key, sql })
    }

    /// Names of everything stored in a row, quoted; the hidden row number first.
    pub fn stored(&self) -> Vec<String> {
        self.rowid.iter().map(|name| (*name).to_owned()).chain(self.values()).collect()
    }

    fn values(&self) -> impl Iterator<Item = String> {
        self.columns.iter().map(|column| quote(column))
    }

    /// Reads all that is stored, in the order of the table's own tree; `act` gets the row and its width.
    ///
    /// # Errors
    /// Of SQLite, or of `act`.
    pub fn each_row(
        &self,
        connection: &Connection,
        act: &mut dyn FnMut(&Row<'_>, usize) -> Result<()>,
    ) -> Result<()> {
        self.read(connection, &self.stored(), act)
    }

    /// Never through an index, which would give another order.
    fn read(
        &self,
        connection: &Connection,
        names: &[String],
        act: &mut dyn FnMut(&Row<'_>, usize) -> Result<()>,
    ) -> Result<()> {
        let query = format!("SELECT {} FROM main.{} NOT INDEXED", names.join(", "), quote(&self.name));
        let mut statement = connection.prepare(&query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            act(row, names.len())?;
        }
        Ok(())
    }

    /// Facts for one file and its copies: row numbers and the order of rows count.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn facts(&self, connection: &Connection) -> Result<TableFacts> {
        let mut hasher = Sha256::new();
        let rows = self.each_encoded(connection, &self.stored(), &mut |bytes| hasher.update(bytes))?;
        Ok(TableFacts { rows, hash: crate::hex(&hasher.finalize()) })
    }

    /// Facts that a rebuilt table shares with the one before it: rows are hashed one by one and
    /// summed up, without row numbers that no column holds.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn facts_in_any_order(&self, connection: &Connection) -> Result<TableFacts> {
        let names: Vec<String> = self.values().collect();
        let mut sum = 0u128;
        let rows = self.each_encoded(connection, &names, &mut |bytes| {
            let digest: [u8; 32] = Sha256::digest(bytes).into();
            let (half, _) = digest.split_at(16);
            sum = sum.wrapping_add(half.try_into().map_or(0, u128::from_le_bytes));
        })?;
        Ok(TableFacts { rows, hash: format!("{sum:032x}") })
    }

    /// Gives each row as bytes that no other row reads as; the result is their number.
    fn each_encoded(
        &self,
        connection: &Connection,
        names: &[String],
        act: &mut dyn FnMut(&[u8]),
    ) -> Result<u64> {
        let mut bytes = Vec::new();
        let mut rows = 0;
        self.read(connection, names, &mut |row, width| {
            bytes.clear();
            for column in 0..width {
                encode(&mut bytes, row.get_ref(column)?);
            }
            rows += 1;
            act(&bytes);
            Ok(())
        })?;
        Ok(rows)
    }
}

fn primary_key(columns: &[Column]) -> Vec<String> {
    let mut primary: Vec<&Column> = columns.iter().filter(|(_, order, _)| *order > 0).collect();
    primary.sort_by_key(|(_, order, _)| *order);
    primary.into_iter().map(|(name, ..)| name.clone()).collect()
}

/// Whether the primary key is an index beside the table, not its row number.
fn has_key_index(connection: &Connection, table: &str) -> Result<bool> {
    connection.query_row(
        "SELECT count(*) > 0 FROM pragma_index_list(?1, 'main') WHERE origin = 'pk'",
        [table],
        |row| row.get(0),
    )
}

/// A name of the row number that no column has taken.
fn hidden_row_number(columns: &[Column]) -> Option<&'static str> {
    let free = |word: &&str| !columns.iter().any(|(column, ..)| column.eq_ignore_ascii_case(word));
    ["rowid", "_rowid_", "oid"].into_iter().find(free)
}

/// A value with its type and length.
fn encode(bytes: &mut Vec<u8>, value: ValueRef<'_>) {
    let mut put = |tag: u8, content: &[u8]| {
        bytes.push(tag);
        bytes.extend((content.len() as u64).to_le_bytes());
        bytes.extend(content);
    };
    match value {
        ValueRef::Null => put(0, &[]),
        ValueRef::Integer(number) => put(1, &number.to_le_bytes()),
        ValueRef::Real(number) => put(2, &number.to_bits().to_le_bytes()),
        ValueRef::Text(text) => put(3, text),
        ValueRef::Blob(blob) => put(4, blob),
    }
}

/// An SQL identifier.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Found = BTreeMap<String, (TableFacts, TableFacts)>;

    /// Of each table its facts in order and in any order.
    fn facts(sql: &str) -> Found {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(sql).unwrap();
        let tables = Table::all(&db).unwrap();
        let each = |table: Table| {
            let both = (table.facts(&db).unwrap(), table.facts_in_any_order(&db).unwrap());
            (table.name, both)
        };
        tables.into_iter().map(each).collect()
    }

    fn of_t(sql: &str) -> (TableFacts, TableFacts) {
        facts(sql).remove("t").unwrap()
    }

    /// Two scripts whose tables hold the same in any order; whether also in order.
    fn assert_same(first: &str, second: &str, in_order: bool) {
        let (first_of, second_of) = (of_t(first), of_t(second));
        assert_eq!(first_of.1, second_of.1, "{first} | {second}");
        assert_eq!(first_of.0 == second_of.0, in_order, "{first} | {second}");
    }

    fn assert_other(first: &str, second: &str) {
        let (first_of, second_of) = (of_t(first), of_t(second));
        assert_ne!(first_of.0, second_of.0, "{first} | {second}");
        assert_ne!(first_of.1, second_of.1, "{first} | {second}");
    }

    #[test]
    fn row_numbers_and_order_count_only_in_order() {
        let plain = "CREATE TABLE t(a, b);";
        assert_same(
            &format!("{plain} INSERT INTO t VALUES (1, 'x'), (2, NULL)"),
            &format!("{plain} INSERT INTO t VALUES (2, NULL), (1, 'x')"),
            false,
        );
        assert_same(
            &format!("{plain} INSERT INTO t(rowid, a) VALUES (1, 'x')"),
            &format!("{plain} INSERT INTO t(rowid, a) VALUES (9, 'x')"),
            false,
        );
        let nulls = "CREATE TABLE t(a TEXT PRIMARY KEY, b);";
        assert_same(
            &format!("{nulls} INSERT INTO t VALUES (NULL, 1), (NULL, 2)"),
            &format!("{nulls} INSERT INTO t VALUES (NULL, 2), (NULL, 1)"),
            false,
        );
        for keyed in [
            "CREATE TABLE t(a INTEGER PRIMARY KEY, b);",
            "CREATE TABLE t(a, b, PRIMARY KEY (a)) WITHOUT ROWID;",
            "CREATE TABLE t(a INT PRIMARY KEY, b TEXT) STRICT, WITHOUT ROWID;",
        ] {
            assert_same(
                &format!("{keyed} INSERT INTO t VALUES (1, 'x'), (2, 'y')"),
                &format!("{keyed} INSERT INTO t VALUES (2, 'y'), (1, 'x')"),
                true,
            );
        }
    }

    #[test]
    fn a_value_counts_with_its_type_and_every_bit() {
        let values = [
            "NULL",
            "0",
            "0.0",
            "-0.0",
            "'0'",
            "x'30'",
            "''",
            "x''",
            "9e999",
            "-9e999",
            "9007199254740993",
            "9007199254740992.0",
            "CAST(x'610062' AS TEXT)",
            "CAST(x'6100' AS TEXT)",
            "'a'",
            "x'610062'",
        ];
        for (at, one) in values.iter().enumerate() {
            for other in &values[at + 1..] {
                let script = |value| format!("CREATE TABLE t(a); INSERT INTO t VALUES ({value})");
                assert_other(&script(one), &script(other));
            }
        }
        let rows = |list: &str| format!("CREATE TABLE t(a, b); INSERT INTO t VALUES {list}");
        assert_other(&rows("('ab', 'c')"), &rows("('a', 'bc')"));
        assert_other(&rows("(1, NULL)"), &rows("(1, NULL), (1, NULL)"));
    }

    #[test]
    fn generated_columns_are_no_content() {
        assert_same(
            "CREATE TABLE t(a, v AS (a * 2), s AS (a || 'x') STORED, b); INSERT INTO t VALUES (1, 2)",
            "CREATE TABLE t(a, v AS (a * 3), s AS (a || 'y') STORED, b); INSERT INTO t VALUES (1, 2)",
            true,
        );
    }

    #[test]
    fn an_index_beside_the_table_does_not_change_the_order() {
        let rows = "INSERT INTO t VALUES (2, 'a'), (1, 'b')";
        assert_same(
            &format!("CREATE TABLE t(a, b); {rows}"),
            &format!(
                "CREATE TABLE t(a, b); CREATE INDEX i ON t(a, b); CREATE INDEX j ON t(b, a); {rows}; ANALYZE"
            ),
            true,
        );
    }

    #[test]
    fn a_virtual_table_is_read_by_its_name_and_its_shadow_tables_are_tables() {
        let sql = "CREATE VIRTUAL TABLE t USING fts5(body); INSERT INTO t VALUES ('one'), ('two')";
        let found: Vec<String> = facts(sql).into_keys().collect();
        assert_eq!(found, ["t_config", "t_content", "t_data", "t_docsize", "t_idx"]);
        let read = |sql: &str| {
            let db = Connection::open_in_memory().unwrap();
            db.execute_batch(sql).unwrap();
            let table = Table::named(&db, "t".into()).unwrap();
            assert_eq!(table.columns, ["body"]);
            table.facts_in_any_order(&db).unwrap()
        };
        assert_eq!(read(sql).rows, 2);
        assert_eq!(read(sql), read(&format!("{sql}; INSERT INTO t(t) VALUES ('optimize')")));
        assert_ne!(read(sql), read(&format!("{sql}; UPDATE t SET body = 'three' WHERE rowid = 1")));
    }

    #[test]
    fn columns_may_take_the_names_of_the_row_number() {
        for (columns, expected) in [
            ("rowid, b", Some("_rowid_")),
            ("ROWID, _rowid_", Some("oid")),
            ("rowid, _rowid_, oid", None),
            ("id INTEGER PRIMARY KEY, rowid", None),
            ("id INTEGER PRIMARY KEY DESC", Some("rowid")),
        ] {
            let db = Connection::open_in_memory().unwrap();
            db.execute_batch(&format!("CREATE TABLE t({columns})")).unwrap();
            assert_eq!(Table::named(&db, "t".into()).unwrap().rowid, expected, "{columns}");
        }
    }

    /// Manifests of earlier versions hold these: they must go on being equal.
    #[test]
    fn the_hash_in_order_never_changes() {
        let (in_order, in_any_order) = of_t(
            "CREATE TABLE t(a, b, c, d); INSERT INTO t VALUES (1, -0.5, 'ö', x'00ff'), (NULL, 9e999, '', x'')",
        );
        assert_eq!((in_order.rows, in_any_order.rows), (2, 2));
        assert_eq!(in_order.hash, "37df63f53108dac4ab5aebfc66dd1d644fe047f14bd5718f1b6e25363e94616f");
        assert_eq!(in_any_order.hash, "9a39dc5c6f58f419ccf6c47ca03866aa");
    }
}
