//! The readable export `database.sql`, and the proof that it holds the same content.
//!
//! It keeps what SQLite's own `.dump` loses: `user_version`, `application_id`, hidden row numbers
//! and text with a NUL in it. Planner statistics are made anew when it is loaded.

mod literal;
mod load;
mod statement;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use common::backups::FileFacts;
use common::database::{Table, quote};
use common::durable;
use common::report::{OrProblem, Problem};
use rusqlite::Connection;

use crate::archive::{Measured, create_private};
use crate::content::{self, Content};
use literal::Encoding;

/// Stands before the objects whose text may hold a semicolon of its own.
const LAST_SECTION: &str = "-- views and triggers";

/// Writes the content of `source` to the new file `target` (0600), on disk when this returns.
///
/// # Errors
/// `export-failed`.
pub(crate) fn write(source: &Path, target: &Path) -> Result<FileFacts, Problem> {
    let connection = content::open_private(source)?;
    let title = || format!("cannot write {}", target.display());
    let file = create_private(target).or_problem("export-failed", title)?;
    let mut out = BufWriter::with_capacity(1 << 20, Measured::new(file));
    write_all(&connection, &mut out).or_problem("export-failed", title)?;
    let measured =
        out.into_inner().map_err(io::IntoInnerError::into_error).or_problem("export-failed", title)?;
    let (file, facts) = measured.finish();
    durable::sync_file(&file).or_problem("export-failed", title)?;
    Ok(facts)
}

/// Loads the export into the new scratch database `scratch` and compares it with `expected`.
///
/// # Errors
/// `export-unfaithful`.
pub(crate) fn prove(export: &Path, scratch: &Path, expected: &Content) -> Result<(), Problem> {
    let unfaithful = |why: String| {
        Problem::new("export-unfaithful", "the readable export does not hold the whole database").detail(why)
    };
    let file = File::open(export).map_err(|error| unfaithful(error.to_string()))?;
    load::load(file, scratch).map_err(|error| unfaithful(error.to_string()))?;
    let connection = content::open_private(scratch)?;
    let loaded = content::read(&connection).map_err(|problem| unfaithful(problem.to_string()))?;
    if &loaded == expected {
        return Ok(());
    }
    let names = expected.tables.keys().filter(|name| loaded.tables.get(*name) != expected.tables.get(*name));
    let names: Vec<&str> = names.map(String::as_str).collect();
    Err(unfaithful(format!("these differ when it is loaded: {}", names.join(", "))))
}

fn write_all(connection: &Connection, out: &mut impl Write) -> io::Result<()> {
    let encoding = Encoding::of(connection).map_err(io::Error::other)?;
    let tables = Table::all(connection).map_err(io::Error::other)?;
    write_head(connection, encoding, out).map_err(io::Error::other)?;
    let mut rows = 0;
    for table in tables.iter().filter(|table| !table.name.starts_with("sqlite_")) {
        write_object(out, &table.sql)?;
        rows += write_rows(connection, table, encoding, out)?;
    }
    if let Some(sequence) = tables.iter().find(|table| table.name == "sqlite_sequence") {
        writeln!(out, "DELETE FROM sqlite_sequence;")?;
        write_rows(connection, sequence, encoding, out)?;
    }
    write_virtual_tables(connection, out)?;
    write_objects(connection, "index", out)?;
    writeln!(out, "{LAST_SECTION}")?;
    write_objects(connection, "view", out)?;
    write_objects(connection, "trigger", out)?;
    write_statistics(connection, out)?;
    writeln!(out, "COMMIT;\n-- end of export: {} tables, {rows} rows", tables.len())
}

fn write_head(connection: &Connection, encoding: Encoding, out: &mut impl Write) -> io::Result<()> {
    let number = |pragma| content::number(connection, pragma).map_err(io::Error::other);
    writeln!(out, "-- SQLite {}: load it into an empty database", rusqlite::version())?;
    writeln!(out, "PRAGMA encoding = '{}';", encoding.name())?;
    writeln!(out, "PRAGMA page_size = {};", number("page_size")?)?;
    writeln!(out, "PRAGMA foreign_keys = OFF;\nPRAGMA ignore_check_constraints = ON;\nBEGIN;")?;
    writeln!(out, "PRAGMA user_version = {};", number("user_version")?)?;
    writeln!(out, "PRAGMA application_id = {};", number("application_id")?)
}

fn write_rows(
    connection: &Connection,
    table: &Table,
    encoding: Encoding,
    out: &mut impl Write,
) -> io::Result<u64> {
    let insert = format!("INSERT INTO {}({}) VALUES (", quote(&table.name), table.stored().join(", "));
    let mut rows = 0;
    let mut line = Vec::new();
    let mut written = Ok(());
    let read = table.each_row(connection, &mut |row, width| {
        line.clear();
        line.extend(insert.as_bytes());
        for column in 0..width {
            line.extend(if column == 0 { "" } else { ", " }.as_bytes());
            literal::write(&mut line, row.get_ref(column)?, encoding);
        }
        line.extend(b");\n");
        rows += 1;
        written = out.write_all(&line);
        if written.is_ok() { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
    });
    written?;
    read.map(|()| rows).map_err(io::Error::other)
}

/// Enters virtual tables straight into the schema: creating one would make its shadow tables
/// anew, and those are written with their rows above.
fn write_virtual_tables(connection: &Connection, out: &mut impl Write) -> io::Result<()> {
    let tables = objects(connection, "type = 'table' AND rootpage = 0")?;
    if tables.is_empty() {
        return Ok(());
    }
    writeln!(out, "PRAGMA writable_schema = ON;")?;
    for (name, sql) in tables {
        let (name, sql) = (literal::of_text(&name), literal::of_text(&sql));
        writeln!(
            out,
            "INSERT INTO sqlite_schema(type, name, tbl_name, rootpage, sql) VALUES ('table', {name}, {name}, 0, {sql});"
        )?;
    }
    writeln!(out, "PRAGMA writable_schema = RESET;")
}

fn write_objects(connection: &Connection, kind: &str, out: &mut impl Write) -> io::Result<()> {
    for (_, sql) in objects(connection, &format!("type = '{kind}' AND sql IS NOT NULL"))? {
        write_object(out, &sql)?;
    }
    Ok(())
}

fn write_object(out: &mut impl Write, sql: &str) -> io::Result<()> {
    let end = if sql.contains("--") { "\n;" } else { ";" };
    writeln!(out, "{sql}{end}")
}

fn write_statistics(connection: &Connection, out: &mut impl Write) -> io::Result<()> {
    let analyzed = !objects(connection, "name = 'sqlite_stat1'")?.is_empty();
    if analyzed { writeln!(out, "ANALYZE;") } else { Ok(()) }
}

fn objects(connection: &Connection, condition: &str) -> io::Result<Vec<(String, String)>> {
    let query = format!("SELECT name, ifnull(sql, '') FROM sqlite_schema WHERE {condition} ORDER BY rowid");
    let read = || {
        let mut statement = connection.prepare(&query)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<rusqlite::Result<_>>()
    };
    read().map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
