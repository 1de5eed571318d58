//! What a database holds, told apart from how its pages lie: tables, their rows, their hashes.
//!
//! Derived values (generated columns, planner statistics) are left out; the shadow tables of
//! virtual tables are tables like any other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use common::backups::TableFacts;
use common::cli::warn;
use common::database::Schema;
use common::report::{OrProblem, Problem};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};
use sha2::{Digest, Sha256};

/// What SQLite gives an empty file.
const NEW_PAGE_SIZE: u32 = 4096;

/// One table as its rows are read and written.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// The name under which the hidden row number is reached, where no column holds it.
    pub(crate) rowid: Option<&'static str>,
    /// Columns that hold values of their own.
    pub(crate) columns: Vec<String>,
    /// What tells two rows apart: the row number, or the primary key.
    pub(crate) key: Vec<String>,
    pub(crate) sql: String,
}

/// Everything that makes two databases the same to the app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) tables: BTreeMap<String, TableFacts>,
    pub(crate) schema_hash: String,
    pub(crate) user_version: i64,
    pub(crate) application_id: i64,
}

/// What the first bytes of the file say, whoever has it open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    /// Whether it is a database at all; an empty file is one.
    pub(crate) valid: bool,
    pub(crate) page_size: u32,
    pub(crate) wal: bool,
}

impl Header {
    /// # Errors
    /// `database-unreadable`.
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        let mut bytes = [0; 20];
        let read = File::open(path)
            .and_then(|mut file| file.read(&mut bytes))
            .or_problem("database-unreadable", || format!("cannot read {}", path.display()))?;
        let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            _ if read == 0 => NEW_PAGE_SIZE,
            1 => 65536,
            size => u32::from(size),
        };
        let valid = read == 0 || bytes.starts_with(b"SQLite format 3\0");
        Ok(Self { valid, page_size, wal: bytes[18] == 2 })
    }

    pub(crate) fn journal_mode(self) -> &'static str {
        if self.wal { "wal" } else { "delete" }
    }
}

/// Opens a file that nobody else touches, without leaving a `-wal` or `-shm` beside it.
///
/// # Errors
/// `database-unreadable`.
pub(crate) fn open_private(path: &Path) -> Result<Connection, Problem> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(private_name(path), flags)
        .or_problem("database-unreadable", || format!("cannot open {}", path.display()))
}

/// The name that opens or attaches `path` as a file nobody else touches.
pub(crate) fn private_name(path: &Path) -> String {
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("file:{path}?immutable=1")
}

/// Checks a whole copy; whether all its foreign keys hold, which is the app's own affair.
///
/// # Errors
/// `database-damaged`.
pub(crate) fn check(copy: &Connection) -> Result<bool, Problem> {
    match common::database::check(copy) {
        Ok(()) => Ok(true),
        Err(problem) if problem.kind == "foreign-keys-broken" => {
            warn(&problem.to_string());
            Ok(false)
        }
        Err(problem) => {
            Err(Problem::new("database-damaged", "the database is damaged").detail(problem.to_string()))
        }
    }
}

/// Hashes all of a database.
///
/// # Errors
/// `database-unreadable`.
pub(crate) fn read(connection: &Connection) -> Result<Content, Problem> {
    let schema_hash = Schema::read(connection)?.hash();
    let read = || {
        let mut facts = BTreeMap::new();
        for table in tables(connection)? {
            let fact = hash(connection, &table)?;
            facts.insert(table.name, fact);
        }
        Ok(Content {
            tables: facts,
            schema_hash,
            user_version: number(connection, "user_version")?,
            application_id: number(connection, "application_id")?,
        })
    };
    read().map_err(|error: rusqlite::Error| unreadable(&error))
}

pub(crate) fn unreadable(error: &rusqlite::Error) -> Problem {
    Problem::new("database-unreadable", "cannot read the database's content").detail(error.to_string())
}

/// The tables that hold rows, in the order they were made.
pub(crate) fn tables(connection: &Connection) -> rusqlite::Result<Vec<Table>> {
    let mut statement = connection.prepare(
        "SELECT s.name, ifnull(s.sql, ''), l.wr FROM sqlite_schema s JOIN pragma_table_list(s.name) l
         WHERE s.type = 'table' AND s.rootpage > 0 AND l.schema = 'main'
           AND s.name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\' ORDER BY s.rowid",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.map(|row| {
        let (name, sql, without_rowid): (String, String, bool) = row?;
        describe(connection, name, sql, without_rowid)
    })
    .collect()
}

fn describe(
    connection: &Connection,
    name: String,
    sql: String,
    without_rowid: bool,
) -> rusqlite::Result<Table> {
    let mut info = connection.prepare("SELECT name, pk, hidden FROM pragma_table_xinfo(?1)")?;
    let all: Vec<(String, i64, i64)> = info
        .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let indexed_key: bool = connection.query_row(
        "SELECT count(*) > 0 FROM pragma_index_list(?1) WHERE origin = 'pk'",
        [&name],
        |row| row.get(0),
    )?;
    let mut primary: Vec<&(String, i64, i64)> = all.iter().filter(|(_, order, _)| *order > 0).collect();
    primary.sort_by_key(|(_, order, _)| *order);
    let primary: Vec<String> = primary.into_iter().map(|(name, ..)| name.clone()).collect();
    let column_is_rowid = !without_rowid && !indexed_key && primary.len() == 1;
    let free = |word: &&&str| !all.iter().any(|(column, ..)| column.eq_ignore_ascii_case(word));
    let rowid = if without_rowid || column_is_rowid {
        None
    } else {
        ["rowid", "_rowid_", "oid"].iter().find(free).copied()
    };
    let key = if without_rowid || column_is_rowid {
        primary
    } else {
        rowid.iter().map(|name| (*name).to_owned()).collect()
    };
    let columns = all.into_iter().filter(|(_, _, hidden)| *hidden == 0).map(|(name, ..)| name).collect();
    Ok(Table { name, rowid, columns, key, sql })
}

impl Table {
    /// Names of everything stored in a row, quoted; the hidden row number first.
    pub(crate) fn stored(&self) -> Vec<String> {
        let columns = self.columns.iter().map(|column| quote(column));
        self.rowid.iter().map(|name| (*name).to_owned()).chain(columns).collect()
    }

    /// Reads the rows in the order of the table's own tree, never an index's.
    pub(crate) fn each_row(
        &self,
        connection: &Connection,
        act: &mut dyn FnMut(&Row<'_>, usize) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let stored = self.stored();
        let query = format!("SELECT {} FROM {} NOT INDEXED", stored.join(", "), quote(&self.name));
        let mut statement = connection.prepare(&query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            act(row, stored.len())?;
        }
        Ok(())
    }
}

fn hash(connection: &Connection, table: &Table) -> rusqlite::Result<TableFacts> {
    let mut hasher = Sha256::new();
    let mut rows = 0;
    let mut bytes = Vec::new();
    table.each_row(connection, &mut |row, width| {
        rows += 1;
        bytes.clear();
        for column in 0..width {
            encode(&mut bytes, row.get_ref(column)?);
        }
        hasher.update(&bytes);
        Ok(())
    })?;
    Ok(TableFacts { rows, hash: common::hex(&hasher.finalize()) })
}

/// A value with its type and length, so that no two rows read the same.
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
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A pragma whose value is one whole number.
pub(crate) fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// A pragma whose value is one word.
pub(crate) fn word(connection: &Connection, pragma: &str) -> rusqlite::Result<String> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}
