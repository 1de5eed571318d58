//! The way back where migrations have none: the older schema in place, in one transaction, with
//! every row that was written since.
//!
//! Three databases: `before` the migration, `migrated` (the same with the migration run again on it),
//! and `main`, the live one. What differs between the last two is what users wrote; it is put upon
//! the first. Rows that were not written to since get back what they held before. `table` reads
//! tables, `matching` and `pairing` say what became of them and of their columns and rows, `renames`
//! what migrations say of it themselves; `staging` computes rows, `rebuild` puts them in place (`held`
//! one by one, where some are refused), `orphans` looks after their children, and `lost` lists what
//! the older schema has no room for.

mod compare;
mod held;
mod lost;
mod matching;
mod orphans;
mod pairing;
mod rebuild;
mod renames;
mod staging;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use common::database;
use common::fault;
use common::report::{OrProblem, Problem, quoted};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

pub(crate) use compare::{missing, without_room};
pub(crate) use lost::Lost;
use pairing::Pair;
pub(crate) use renames::Renames;
use staging::Stage;
use table::{Column, Table, quote, tables};

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Salvaged {
    /// Tables that were written anew, by their older names.
    pub(crate) tables: Vec<String>,
    pub(crate) lost: Vec<Lost>,
}

/// The databases of one salvage; the first two are private copies.
pub(crate) struct Sources<'a> {
    pub(crate) before: &'a Path,
    pub(crate) migrated: &'a Path,
    pub(crate) live: &'a Path,
    /// What the migrations say about names.
    pub(crate) renames: &'a Renames,
    /// Tables that say which migrations were applied: they are as they were before.
    pub(crate) records: &'a [String],
}

/// Undoes in the live database what the migration did, and keeps what was written since. `publish`
/// hears what cannot be kept before anything of it is gone.
///
/// # Errors
/// `salvage-failed`, `database-busy`, those of `publish`: the live database is as it was.
pub(crate) fn undo(
    sources: &Sources<'_>,
    publish: impl FnOnce(&Salvaged) -> Result<(), Problem>,
) -> Result<Salvaged, Problem> {
    let db = database::open_existing(sources.live)?;
    let failed = || "the schema could not be taken back in place".to_owned();
    attach(&db, sources).or_problem("salvage-failed", failed)?;
    db.execute_batch("BEGIN IMMEDIATE").map_err(|error| busy(sources.live, &error))?;
    let result = work(&db, sources).or_problem("salvage-failed", failed);
    let result = result.and_then(|salvaged| prove(&db).and_then(|()| publish(&salvaged)).map(|()| salvaged));
    fault::point("salvage.before-commit");
    let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = db.execute_batch(end).or_problem("salvage-failed", failed);
    fault::point("salvage.after-commit");
    result.and_then(|salvaged| ended.map(|()| salvaged))
}

fn busy(live: &Path, error: &rusqlite::Error) -> Problem {
    Problem::new("database-busy", format!("{} is kept locked by another process", live.display()))
        .detail(error.to_string())
        .hint(format!("fuser -v {}", quoted(live.display())))
        .retryable()
}

fn attach(db: &Connection, sources: &Sources<'_>) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    db.execute_batch(
        "PRAGMA legacy_alter_table = ON; PRAGMA foreign_keys = OFF; PRAGMA main.synchronous = EXTRA",
    )?;
    for (path, name) in [(sources.before, "before"), (sources.migrated, "migrated")] {
        db.execute(&format!("ATTACH ?1 AS {name}"), [path.to_string_lossy()])?;
    }
    Ok(())
}

fn work(db: &Connection, sources: &Sources<'_>) -> rusqlite::Result<Salvaged> {
    let (old, migrated, new) = (tables(db, "before")?, tables(db, "migrated")?, tables(db, "main")?);
    let mut known = orphans::orphans(db, "main")?;
    known.extend(orphans::orphans(db, "before")?);
    lost::begin(db)?;
    rebuild::keep_sequences(db)?;
    let becomes = matching::match_tables(db, &old, &migrated, &new, sources.renames)?;
    let mut staged: Vec<(&Table, Stage)> = Vec::new();
    let mut kept = Vec::new();
    for (name, table) in &old {
        let successor = becomes.get(name).and_then(|name| Some((&new[name], migrated.get(name)?)));
        let is_record = sources.records.iter().any(|record| record.eq_ignore_ascii_case(name));
        let successor = successor.filter(|_| !is_record);
        match stage(db, table, successor, staged.len(), sources.renames)? {
            Some(stage) => staged.push((table, stage)),
            None => kept.push(table),
        }
    }
    let is_successor = |name: &String| becomes.values().any(|it| it == name);
    for (name, table) in new.iter().filter(|(name, _)| !is_successor(name)) {
        lost::added_table(db, table, migrated.get(name) == Some(table))?;
    }
    put_back(db, &new, &kept, &staged)?;
    orphans::remove_orphans(db, &known)?;
    rebuild::index_texts(db, old.values())?;
    restore_version(db)?;
    let tables = staged.iter().map(|(table, _)| table.name.clone()).collect();
    Ok(Salvaged { tables, lost: lost::list(db)? })
}

/// The rows that `table` of before gets, from what it has become, now and in the migrated copy;
/// `None`: it stays as it is.
fn stage(
    db: &Connection,
    table: &Table,
    successor: Option<(&Table, &Table)>,
    number: usize,
    renames: &Renames,
) -> rusqlite::Result<Option<Stage>> {
    if table.content().is_some_and(|content| !content.is_empty()) || table.is_read_only() {
        return Stage::empty(db, table, number).map(Some);
    }
    if let Some((new, migrated)) = successor
        && is_untouched(db, table, migrated, new)?
    {
        return Ok(None);
    }
    if table.content().is_some() {
        return Err(pairing::refusal(format!("{} has an index of texts that are nowhere", table.name)));
    }
    let Some((new, _)) = successor else { return Stage::copy(db, table, number).map(Some) };
    let pair = Pair::of(db, table, new, renames)?;
    Stage::fill(db, &pair, number).map(Some)
}

/// Makes the older schema of the staged tables and those that are kept.
fn put_back(
    db: &Connection,
    new: &BTreeMap<String, Table>,
    kept: &[&Table],
    staged: &[(&Table, Stage)],
) -> rusqlite::Result<()> {
    rebuild::take_down_code(db)?;
    for table in new.values().filter(|table| !kept.iter().any(|it| it.name == table.name)) {
        rebuild::drop_table(db, table)?;
    }
    for table in kept {
        rebuild::drop_foreign_indexes(db, table)?;
    }
    for (table, stage) in staged {
        rebuild::put_table(db, table, stage)?;
    }
    for table in kept {
        rebuild::put_missing_indexes(db, table)?;
    }
    rebuild::put_up_code(db)
}

/// Whether the migration left a table and its rows alone.
fn is_untouched(db: &Connection, old: &Table, migrated: &Table, new: &Table) -> rusqlite::Result<bool> {
    if old != new || old != migrated {
        return Ok(false);
    }
    let mut parts: Vec<String> = old.rowid().map(str::to_owned).into_iter().collect();
    parts.extend(
        old.columns
            .iter()
            .map(Column::quoted)
            .flat_map(|name| [format!("typeof({name})"), format!("{name} COLLATE BINARY")]),
    );
    let rows = |schema: &str| format!("SELECT {} FROM {schema}.{}", parts.join(", "), quote(&old.name));
    let (b, m) = (rows("before"), rows("migrated"));
    let sql = format!("SELECT EXISTS ({b} EXCEPT {m}) OR EXISTS ({m} EXCEPT {b})");
    db.query_row(&sql, [], |row| row.get::<_, bool>(0)).map(|differ| !differ)
}

/// The number that apps keep in the header goes back unless an app has changed it since.
fn restore_version(db: &Connection) -> rusqlite::Result<()> {
    for number in ["user_version", "application_id"] {
        let read =
            |schema: &str| db.query_row(&format!("PRAGMA {schema}.{number}"), [], |row| row.get::<_, i64>(0));
        let (before, migrated, now) = (read("before")?, read("migrated")?, read("main")?);
        if migrated == now && before != now {
            db.execute_batch(&format!("PRAGMA main.{number} = {before}"))?;
        }
    }
    Ok(())
}

/// The schema is the older one, and the file is whole.
fn prove(db: &Connection) -> Result<(), Problem> {
    let objects = |schema: &str| -> rusqlite::Result<BTreeMap<(String, String), String>> {
        let sql = format!(
            "SELECT type, name, sql FROM {schema}.sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
                 AND name NOT IN (SELECT name FROM pragma_table_list WHERE schema = '{schema}' AND type = 'shadow')"
        );
        let mut statement = db.prepare(&sql)?;
        let found = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
        found.collect()
    };
    let title = || "the older schema could not be proved".to_owned();
    let (live, older) = (
        objects("main").or_problem("salvage-failed", title)?,
        objects("before").or_problem("salvage-failed", title)?,
    );
    if live != older {
        let named = |(kind, name): &(String, String)| format!("{kind} {name}");
        let differing: Vec<String> = live
            .iter()
            .filter(|(key, sql)| older.get(*key) != Some(sql))
            .map(|(key, _)| named(key))
            .collect();
        return Err(Problem::new("salvage-failed", title()).detail(differing.join("\n")));
    }
    database::check(db).or_else(|problem| {
        // What lacked a parent before still does.
        if problem.kind == "foreign-keys-broken" { Ok(()) } else { Err(problem) }
    })
}
