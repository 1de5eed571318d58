//! `backup ENV restore ID --salvage`: the backup, and on it every row that can still be read of a
//! damaged database. What cannot be read stays as the backup has it, and is named.
//!
//! A table is read from one end; where that fails its range of row numbers is halved, so that a
//! damaged page costs the rows on it and no others.

use std::path::Path;

use common::database::{self, RECORDS, Table, quote};
use common::migrations::{Layout, read_applied};
use common::report::{OrProblem, Problem};
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, Statement, params_from_iter};
use serde::Serialize;

/// How many single rows of a table are tried in vain before the rest of a range is given up.
const PATIENCE: u32 = 20_000;

/// What became of one table.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Salvaged {
    table: String,
    /// Rows that were read of the damaged database.
    rows: u64,
    /// Row numbers, first and last, where nothing could be read; the backup's rows stand there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<[i64; 2]>,
    /// Columns that the backup lacks; what they held is in the damaged file alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
    /// The table, or what its row numbers are not, is the backup's: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Rows that the backup's schema does not take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<String>,
}

impl Salvaged {
    fn is_whole(&self) -> bool {
        self.unreadable.is_empty() && self.problem.is_none()
    }
}

/// Puts the readable rows of the private file `damaged` into the private file `raw`.
///
/// # Errors
/// `restore-failed`: `raw` cannot be written.
pub(crate) fn merge(raw: &Path, damaged: &Path) -> std::result::Result<Vec<Salvaged>, Problem> {
    let title = || "cannot put the readable rows into the backup".to_owned();
    let target = database::open_existing(raw)?;
    let source = Connection::open(damaged).and_then(|db| {
        // A damaged schema may still name tables that are whole.
        db.execute_batch("PRAGMA writable_schema = ON")?;
        Ok(db)
    });
    let work = || {
        target.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        target.execute_batch(
            "PRAGMA foreign_keys = OFF; BEGIN; CREATE TEMP TABLE seen(number INTEGER PRIMARY KEY)",
        )?;
        let mut all = Vec::new();
        let (names, records) = (names(&target)?, records(&target));
        if let Ok(source) = &source {
            all.extend(unknown(source, &names));
        }
        for name in names.into_iter().filter(|name| !records.contains(name)) {
            let table = Table::named(&target, name)?;
            all.push(match &source {
                Ok(source) => merge_table(&target, source, &table)?,
                Err(error) => kept(&table, error),
            });
        }
        target.execute_batch("COMMIT")?;
        Ok::<_, rusqlite::Error>(all)
    };
    work().or_problem("restore-failed", title)
}

/// The app's tables; of virtual ones the table itself, not what lies behind it.
fn names(db: &Connection) -> Result<Vec<String>> {
    let mut statement = db.prepare(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let found = statement.query_map([], |row| row.get(0))?;
    found.collect()
}

/// Tables that say which migrations were applied: they speak of the schema, which is the backup's.
fn records(db: &Connection) -> Vec<String> {
    let foreign = Layout::FOREIGN.iter().filter(|layout| layout.owns_table(db));
    let ours = read_applied(db).is_ok().then_some(RECORDS);
    foreign.filter_map(|layout| layout.table()).chain(ours).map(str::to_owned).collect()
}

/// Tables that the backup lacks; what they hold is in the damaged file alone.
fn unknown(source: &Connection, known: &[String]) -> Vec<Salvaged> {
    let found = names(source).unwrap_or_default();
    let is_unknown = |name: &String| !known.iter().any(|other| other.eq_ignore_ascii_case(name));
    let left = |table| Salvaged {
        table,
        problem: Some("the backup has no such table".into()),
        ..Salvaged::default()
    };
    found.into_iter().filter(is_unknown).map(left).collect()
}

fn kept(table: &Table, error: &rusqlite::Error) -> Salvaged {
    Salvaged { table: table.name.clone(), problem: Some(error.to_string()), ..Salvaged::default() }
}

fn merge_table(target: &Connection, source: &Connection, table: &Table) -> Result<Salvaged> {
    let found = match Table::named(source, table.name.clone()) {
        Ok(found) => found,
        Err(error) => return Ok(kept(table, &error)),
    };
    let shared: Vec<String> =
        table.columns.iter().filter(|column| found.columns.contains(column)).cloned().collect();
    let left_out: Vec<String> =
        found.columns.iter().filter(|column| !table.columns.contains(column)).cloned().collect();
    let Some(number) = number_of(target, table)? else {
        return Ok(Salvaged { left_out, ..merge_keyed(target, source, table, &shared)? });
    };
    target.execute_batch("DELETE FROM temp.seen")?;
    let mut reading = Reading {
        source,
        sql: select(table, &shared, &number),
        writing: Writing::new(target, table, &number, &shared, found.sql == table.sql)?,
        width: shared.len(),
        tries: 0,
        refused: Vec::new(),
        done: Salvaged { table: table.name.clone(), left_out, ..Salvaged::default() },
    };
    reading.range(i64::MIN, i64::MAX)?;
    if reading.done.is_whole() {
        target.execute_batch(&format!(
            "DELETE FROM main.{} WHERE {} NOT IN (SELECT number FROM temp.seen)",
            quote(&table.name),
            number
        ))?;
    }
    reading.put_refused()?;
    Ok(reading.done)
}

/// The name by which a row's number is reached; none in tables without one.
fn number_of(db: &Connection, table: &Table) -> Result<Option<String>> {
    if let Some(name) = table.rowid {
        return Ok(Some(name.to_owned()));
    }
    let sql = "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1";
    let without: bool = db.query_row(sql, [&table.name], |row| row.get(0))?;
    Ok((!without && table.key.len() == 1).then(|| quote(&table.key[0])))
}

fn select(table: &Table, shared: &[String], number: &str) -> String {
    let columns: Vec<String> =
        [number.to_owned()].into_iter().chain(shared.iter().map(|it| quote(it))).collect();
    format!(
        "SELECT {} FROM main.{} WHERE {number} BETWEEN ?1 AND ?2 ORDER BY {number}",
        columns.join(", "),
        quote(&table.name)
    )
}

/// One table whose rows have numbers.
struct Reading<'a> {
    source: &'a Connection,
    /// Rows between two numbers.
    sql: String,
    writing: Writing<'a>,
    /// How many columns besides the number.
    width: usize,
    tries: u32,
    /// Rows that stood against others, which may be gone at the end.
    refused: Vec<(i64, Vec<Value>)>,
    done: Salvaged,
}

impl Reading<'_> {
    /// Reads what is between two numbers; where it breaks off, what is behind is halved.
    fn range(&mut self, first: i64, last: i64) -> Result<()> {
        let mut next = first;
        let broken = self.read(first, last, &mut next)?;
        if !broken {
            return Ok(());
        }
        if next >= last || self.tries >= PATIENCE {
            self.tries += 1;
            self.note(next, last);
            return Ok(());
        }
        let middle = midpoint(next, last);
        self.range(next, middle)?;
        self.range(middle.saturating_add(1), last)
    }

    /// Whether reading broke off; `next` is then the first number that was not read.
    fn read(&mut self, first: i64, last: i64, next: &mut i64) -> Result<bool> {
        let source = self.source;
        let Ok(mut statement) = source.prepare(&self.sql) else { return Ok(true) };
        let Ok(mut rows) = statement.query([first, last]) else { return Ok(true) };
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(false),
                Err(_) => return Ok(true),
            };
            let values: Result<Vec<Value>> = (0..=self.width).map(|at| row.get(at)).collect();
            let Ok(values) = values else { return Ok(true) };
            let Value::Integer(number) = values[0] else { return Ok(true) };
            self.put(number, &values[1..])?;
            *next = number.saturating_add(1);
        }
    }

    /// What is there now takes the place of what the backup has.
    fn put(&mut self, number: i64, values: &[Value]) -> Result<()> {
        match self.writing.put(number, values) {
            Ok(()) => self.done.rows += 1,
            Err(error) if is_refusal(&error) => self.refused.push((number, values.to_vec())),
            Err(error) => return Err(error),
        }
        self.writing.seen.execute([number]).map(drop)
    }

    /// Tries again what stood against rows of the backup that are gone now.
    fn put_refused(&mut self) -> Result<()> {
        for (number, values) in std::mem::take(&mut self.refused) {
            match self.writing.put(number, &values) {
                Ok(()) => self.done.rows += 1,
                Err(error) if is_refusal(&error) => self.done.refused.push(format!("row {number}: {error}")),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn note(&mut self, first: i64, last: i64) {
        match self.done.unreadable.last_mut() {
            Some(before) if before[1].checked_add(1) == Some(first) => before[1] = last,
            _ => self.done.unreadable.push([first, last]),
        }
    }
}

/// What puts a row of the damaged database into the backup's table.
struct Writing<'a> {
    find: Statement<'a>,
    update: Statement<'a>,
    insert: Statement<'a>,
    /// Notes the number of a row that was read.
    seen: Statement<'a>,
}

impl<'a> Writing<'a> {
    /// `same`: both databases have the table in the same words.
    fn new(
        target: &'a Connection,
        table: &Table,
        number: &str,
        shared: &[String],
        same: bool,
    ) -> Result<Self> {
        let (name, clause) = (quote(&table.name), if same { "OR REPLACE" } else { "" });
        let columns: Vec<String> = shared.iter().map(|it| quote(it)).collect();
        let list = columns.join(", ");
        let marks: Vec<String> = (2..columns.len() + 2).map(|at| format!("?{at}")).collect();
        let marks = marks.join(", ");
        let sets: Vec<String> =
            columns.iter().enumerate().map(|(at, column)| format!("{column} = ?{}", at + 2)).collect();
        let insert = if columns.iter().any(|column| column == number) {
            format!("INSERT {clause} INTO main.{name}({list}) SELECT {marks} WHERE ?1 IS NOT NULL")
        } else {
            format!("INSERT {clause} INTO main.{name}({number}, {list}) VALUES (?1, {marks})")
        };
        Ok(Self {
            find: target.prepare(&format!("SELECT 1 FROM main.{name} WHERE {number} = ?1"))?,
            update: target.prepare(&format!(
                "UPDATE {clause} main.{name} SET {} WHERE {number} = ?1",
                sets.join(", ")
            ))?,
            insert: target.prepare(&insert)?,
            seen: target.prepare("INSERT OR IGNORE INTO temp.seen VALUES (?1)")?,
        })
    }

    fn put(&mut self, number: i64, values: &[Value]) -> Result<()> {
        let is_there = self.find.query_row([number], |_| Ok(())).optional()?.is_some();
        let statement = if is_there { &mut self.update } else { &mut self.insert };
        let words = [Value::Integer(number)].into_iter().chain(values.iter().cloned());
        statement.execute(params_from_iter(words)).map(drop)
    }
}

fn is_refusal(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}

/// Half way between two numbers, however far apart.
fn midpoint(first: i64, last: i64) -> i64 {
    let sum = i128::from(first) + i128::from(last);
    i64::try_from(sum.div_euclid(2)).unwrap_or(first)
}

/// A table without row numbers: all or, where it breaks off, what stands before.
fn merge_keyed(
    target: &Connection,
    source: &Connection,
    table: &Table,
    shared: &[String],
) -> Result<Salvaged> {
    let mut done = Salvaged { table: table.name.clone(), ..Salvaged::default() };
    let columns: Vec<String> = shared.iter().map(|it| quote(it)).collect();
    let marks: Vec<String> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
    let name = quote(&table.name);
    let put =
        format!("INSERT OR REPLACE INTO main.{name}({}) VALUES ({})", columns.join(", "), marks.join(", "));
    let read = format!("SELECT {} FROM main.{name}", columns.join(", "));
    let mut rows = Vec::new();
    let outcome = source.prepare(&read).and_then(|mut statement| {
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            rows.push((0..columns.len()).map(|at| row.get::<_, Value>(at)).collect::<Result<Vec<_>>>()?);
        }
        Ok(())
    });
    match outcome {
        Ok(()) => target.execute_batch(&format!("DELETE FROM main.{name}"))?,
        Err(error) => done.problem = Some(format!("broken off after {} rows: {error}", rows.len())),
    }
    for row in &rows {
        match target.execute(&put, params_from_iter(row)) {
            Ok(_) => done.rows += 1,
            Err(error) if is_refusal(&error) => done.refused.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
