//! A database as a backup sees it: the header of its file, whether it is sound, all its content.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use common::cli::warn;
use common::database::{Schema, Table, TableFacts};
use common::report::{OrProblem, Problem};
use rusqlite::{Connection, OpenFlags};

/// What SQLite gives an empty file.
const NEW_PAGE_SIZE: u32 = 4096;

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
        for table in Table::all(connection)? {
            let found = table.facts(connection)?;
            facts.insert(table.name, found);
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

/// A pragma whose value is one whole number.
pub(crate) fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// A pragma whose value is one word.
pub(crate) fn word(connection: &Connection, pragma: &str) -> rusqlite::Result<String> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}
