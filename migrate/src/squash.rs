//! `migrate squash`: one migration in place of the first ones, for databases that are made anew.
//! Databases that have them all take it for applied; their own down texts stay in their records.
//!
//! It is a dump of what the migrations make of an empty database, and proved to make the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use common::cli::Run;
use common::config::Config;
use common::migrations::{Layout, Migration, Source};
use common::report::{OrProblem, Problem};
use rusqlite::types::Value;
use rusqlite::{Connection, Result};

use crate::content::{Content, Shape, contents, shape};
use crate::engine::{Room, Terms};
use crate::job::Job;
use crate::python::Python;
use crate::template::write_new;
use common::database::quote;

/// Everything that a database holds.
type Image = (Shape, BTreeMap<String, Content>);

/// Writes the squashed file and removes the files that it stands for.
///
/// # Errors
/// Usage when there is nothing to squash; `squash-differs`, those of the migrations themselves.
pub(crate) fn squash(run: &mut Run, config: &Config, to: Option<i64>) -> std::result::Result<(), Problem> {
    let source = Source::read(config.root(), None)?;
    let last = to.or(source.migrations.last().map(|migration| migration.version)).unwrap_or(0);
    let chosen: Vec<&Migration> = source.migrations.iter().filter(|file| file.version <= last).collect();
    let is_whole = chosen.last().is_some_and(|file| file.version == last) && chosen.len() > 1;
    if source.layout != Layout::Own || !is_whole {
        return Err(Problem::usage(format!("there are no migrations up to {last} that can be squashed"))
            .detail("two at least are needed, in files NNN_name.up.sql or NNN_name.py")
            .hint("ls migrations"));
    }
    let room = in_memory(&source.root)?;
    let jobs = chosen.iter().map(|migration| Job::apply(migration, None)).collect();
    room.run(Terms::default(), |_| Ok(jobs))?;
    let unreadable = || "cannot read what the migrations make".to_owned();
    let body = dump(&room.db).or_problem("squash-differs", unreadable)?;
    let text = format!("{}{body}", head(&chosen));
    prove(&source.root, &room.db, &body)?;
    let first = chosen[chosen.len() - 1];
    let width = first.file.find('_').unwrap_or(3);
    let file = source.dir.join(format!("{last:0width$}_squashed.up.sql"));
    write_new(&file, &text)?;
    common::durable::sync_dir(&source.dir).or_problem("migration-files", unreadable)?;
    let mut removed = Vec::new();
    for migration in &chosen {
        let named = if migration.down.is_some() { &migration.down_file } else { &migration.file };
        for name in [&migration.file, named] {
            let path = source.dir.join(name);
            if path.exists() {
                fs::remove_file(&path)
                    .or_problem("migration-files", || format!("cannot remove {}", path.display()))?;
                removed.push(path);
            }
        }
    }
    run.detail("created", [file]);
    run.detail("removed", removed);
    Ok(())
}

fn in_memory(root: &Path) -> std::result::Result<Room, Problem> {
    let db = Connection::open_in_memory().or_problem("squash-differs", || "cannot make a database".into())?;
    Room::around(db, Python::new(root, "squash"))
}

fn head(chosen: &[&Migration]) -> String {
    let mut versions: Vec<i64> = chosen
        .iter()
        .flat_map(|file| file.directives.squashes.iter().copied().chain([file.version]))
        .collect();
    versions.sort_unstable();
    versions.dedup();
    let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
    format!(
        "-- What the migrations up to {} make of an empty database.\n-- squashes: {}\n-- irreversible: it makes the whole database\n",
        versions.last().map_or("", String::as_str),
        versions.join(" ")
    )
}

/// The dump must make what the migrations made.
fn prove(root: &Path, expected: &Connection, text: &str) -> std::result::Result<(), Problem> {
    let again = in_memory(root)?;
    let differs = |why: String| {
        Problem::new("squash-differs", "one file cannot make what these migrations make")
            .detail(why)
            .hint("migrate squash --to 1   # fewer of them")
    };
    again.db.execute_batch(text).map_err(|error| differs(error.to_string()))?;
    let both = (image(expected), image(&again.db));
    match both {
        (Ok(wanted), Ok(found)) if wanted == found => Ok(()),
        (Ok(_), Ok(_)) => Err(differs("schema or rows differ".into())),
        (Err(error), _) | (_, Err(error)) => Err(differs(error.to_string())),
    }
}

fn image(db: &Connection) -> Result<Image> {
    Ok((shape(db)?, contents(db)?))
}

/// Tables with their rows, then what stands upon them, in the order in which it was made.
fn dump(db: &Connection) -> Result<String> {
    let mut text = String::new();
    let list = |db: &Connection, condition: &str| -> Result<Vec<(String, String)>> {
        db.prepare(&format!(
            "SELECT name, sql FROM main.sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
             AND tbl_name <> 'migrations' AND {condition} ORDER BY rowid"
        ))?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
    };
    for (table, sql) in list(db, "type = 'table'")? {
        let _ = writeln!(text, "\n{sql};");
        dump_rows(db, &table, &mut text)?;
    }
    for (_, sql) in list(db, "type <> 'table'")? {
        let _ = writeln!(text, "\n{sql};");
    }
    Ok(text)
}

fn dump_rows(db: &Connection, table: &str, text: &mut String) -> Result<()> {
    let columns: Vec<String> = db
        .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0")?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_>>()?;
    let names = columns.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
    let mut statement = db.prepare(&format!("SELECT {names} FROM main.{}", quote(table)))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let values = (0..columns.len()).map(|at| row.get::<_, Value>(at).map(|value| literal(&value)));
        let values = values.collect::<Result<Vec<_>>>()?.join(", ");
        let _ = writeln!(text, "INSERT INTO {} ({names}) VALUES ({values});", quote(table));
    }
    Ok(())
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) if number.is_infinite() => if *number > 0.0 { "9e999" } else { "-9e999" }.into(),
        Value::Real(number) => format!("{number:?}"),
        // A text with a zero byte would end the file for SQLite.
        Value::Text(text) if text.contains('\0') => {
            format!("CAST(x'{}' AS TEXT)", common::hex(text.as_bytes()))
        }
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Blob(bytes) => format!("x'{}'", common::hex(bytes)),
    }
}
