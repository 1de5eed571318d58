//! What the tracking tables of other tools say is applied. Read only; `migrate` keeps them.

use rusqlite::Connection;

use super::layouts::Layout;
use crate::report::{OrProblem, Problem};

/// One row of another tool's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The version as that tool writes it.
    pub label: String,
    /// It covers every version up to this one as well.
    pub covers: bool,
    /// What the tool noted about the file, as hex or decimal text.
    pub checksum: Option<String>,
}

/// All that `table` marks as applied; none when there is no such table.
///
/// # Errors
/// `tracking-table-dirty`: the other tool was cut off; `database-unreadable`.
pub(super) fn read(db: &Connection, layout: Layout, table: &str) -> Result<Option<Vec<Mark>>, Problem> {
    let title = || format!("cannot read the table {table} of {}", layout.word());
    let exists: bool = db
        .query_row(
            "SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND name = ?1",
            [table],
            |row| Ok(row.get::<_, i64>(0)? > 0),
        )
        .or_problem("database-unreadable", title)?;
    if !exists {
        return Ok(None);
    }
    let rows = rows(db, layout, table).or_problem("database-unreadable", title)?;
    if let Some(label) = rows.iter().find_map(|(mark, good)| (!good).then_some(&mark.label)) {
        return Err(Problem::new("tracking-table-dirty", format!("{} was cut off at version {label}", layout.word()))
            .detail(format!("its table {table} says that this version failed or did not end; look at the schema, then mend the table with that tool"))
            .hint(format!("sqlite3 DATABASE 'SELECT * FROM {table}'")));
    }
    Ok(Some(rows.into_iter().map(|(mark, _)| mark).collect()))
}

/// Each mark, and whether its migration ended well.
fn rows(db: &Connection, layout: Layout, table: &str) -> rusqlite::Result<Vec<(Mark, bool)>> {
    let name = table.replace('"', "\"\"");
    let query = match layout {
        Layout::Own | Layout::Plain => return Ok(Vec::new()),
        Layout::Dbmate | Layout::Diesel => format!("SELECT version, 0, NULL, 1 FROM \"{name}\""),
        Layout::GolangMigrate => format!("SELECT version, 1, NULL, NOT dirty FROM \"{name}\""),
        Layout::Sqlx => format!("SELECT version, 0, lower(hex(checksum)), success FROM \"{name}\""),
        Layout::Refinery => format!("SELECT version, 0, checksum, 1 FROM \"{name}\""),
        // The newest row of a version counts; older releases of goose noted each down as a row.
        Layout::Goose => format!(
            "SELECT version_id, 0, NULL, 1 FROM \"{name}\" AS g WHERE version_id > 0 AND is_applied
             AND id = (SELECT max(id) FROM \"{name}\" AS h WHERE h.version_id = g.version_id)"
        ),
        Layout::Flyway => format!(
            "SELECT version, type IN ('BASELINE', 'SQL_BASELINE'), checksum, success FROM \"{name}\" AS f
             WHERE version IS NOT NULL AND type NOT LIKE 'UNDO%' AND type <> 'DELETE'
             AND NOT EXISTS (SELECT 1 FROM \"{name}\" AS u WHERE u.version = f.version
                 AND (u.type LIKE 'UNDO%' OR u.type = 'DELETE') AND u.installed_rank > f.installed_rank)"
        ),
    };
    let mut statement = db.prepare(&query)?;
    let read = statement.query_map([], |row| {
        let mark = Mark {
            label: text(row.get(0)?),
            covers: row.get(1)?,
            checksum: row.get::<_, Option<rusqlite::types::Value>>(2)?.map(text),
        };
        Ok((mark, row.get::<_, Option<bool>>(3)?.unwrap_or(true)))
    })?;
    read.collect()
}

/// A version is a number in one tool and a text in another.
fn text(value: rusqlite::types::Value) -> String {
    match value {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        _ => String::new(),
    }
}
