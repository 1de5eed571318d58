//! Which table and column of the older schema is which of the newer one, and by what a row is known
//! in all three databases. A name that changed is found by what it holds.

use rusqlite::{Connection, Result};

use super::renames::Renames;
use super::table::{Column, Table, quote, text};

/// An older table and the newer one that it became.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) old: &'a Table,
    pub(super) new: &'a Table,
    /// Each column of the older one, with the newer one's that holds its values.
    pub(super) columns: Vec<Becomes<'a>>,
    pub(super) key: Key,
}

/// An older column, and the newer one that holds its values.
type Becomes<'a> = (&'a Column, Option<&'a Column>);

/// By what a row is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Columns of the older table with those of the newer one; never NULL.
    Columns(Vec<(String, String)>),
    /// The row's number: of the older table, of the newer one. `temp.salvage_pair` says which belong together.
    Number(String, String),
    /// Nothing: there were no rows before that could be meant.
    None,
}

impl<'a> Pair<'a> {
    /// Compares `before.old`, `migrated.new` and `main.new`.
    pub(super) fn of(db: &Connection, old: &'a Table, new: &'a Table, renames: &Renames) -> Result<Self> {
        let mut columns: Vec<Becomes<'a>> = old
            .columns
            .iter()
            .map(|column| {
                let named = renames.column(&old.name, &column.name);
                (column, new.column(named.unwrap_or(&column.name)))
            })
            .collect();
        let key = key(db, old, new, &columns)?;
        let mut pair = Self { old, new, columns: Vec::new(), key };
        if pair.key == Key::None {
            pair.columns = columns;
            return Ok(pair);
        }
        pair.number_rows(db)?;
        pair.find_renamed(db, &mut columns)?;
        pair.columns = columns;
        Ok(pair)
    }

    /// Columns that have another name now: known by what they hold, else by where they stand.
    fn find_renamed(&self, db: &Connection, columns: &mut [Becomes<'a>]) -> Result<()> {
        for by_content in [true, false] {
            let free: Vec<&Column> = self
                .new
                .columns
                .iter()
                .filter(|new| columns.iter().all(|(_, it)| *it != Some(*new)))
                .collect();
            let open: Vec<&Column> =
                columns.iter().filter(|(_, it)| it.is_none()).map(|(old, _)| *old).collect();
            let mut same = Vec::new();
            for (old, new) in open.iter().flat_map(|old| free.iter().map(move |new| (*old, *new))) {
                let is_same = if by_content {
                    self.hold_the_same(db, old, new)?
                } else {
                    old.is_of_kind(new)
                        && place(self.old, old, self.new) == place(self.new, new, self.old)
                        && self.holds_more_than_its_default(db, new)?
                };
                if is_same {
                    same.push((old, new));
                }
            }
            for (old, new) in &same {
                let is_only = same.iter().filter(|(a, b)| a == old || b == new).count() == 1;
                if let Some(found) = columns.iter_mut().find(|(it, _)| is_only && it == old) {
                    found.1 = Some(new);
                }
            }
        }
        Ok(())
    }

    /// Columns of the newer table that no older one becomes.
    pub(super) fn added(&self) -> impl Iterator<Item = &'a Column> {
        let is_known = |column: &&Column| {
            self.columns.iter().any(|(_, becomes)| becomes.is_some_and(|it| it == *column))
        };
        self.new.columns.iter().filter(move |column| !is_known(column))
    }

    /// The condition under which rows `left` of the older and `right` of the newer table are one.
    pub(super) fn joins_old(&self, left: &str, right: &str) -> String {
        match &self.key {
            Key::Columns(columns) => equal(columns.iter().map(|(old, new)| (old, new)), left, right),
            Key::Number(old, new) => {
                format!("{left}.{old} = (SELECT b FROM temp.salvage_pair AS p WHERE p.m = {right}.{new})")
            }
            Key::None => "0".into(),
        }
    }

    /// The same for two rows of the newer table.
    pub(super) fn joins_new(&self, left: &str, right: &str) -> String {
        match &self.key {
            Key::Columns(columns) => equal(columns.iter().map(|(_, new)| (new, new)), left, right),
            Key::Number(_, new) => format!("{left}.{new} = {right}.{new}"),
            Key::None => "0".into(),
        }
    }

    /// An expression that is NULL only where there is no row `alias` of the older table.
    pub(super) fn presence_old(&self, alias: &str) -> String {
        match &self.key {
            Key::Columns(columns) => format!("{alias}.{}", quote(&columns[0].0)),
            Key::Number(old, _) => format!("{alias}.{old}"),
            Key::None => "NULL".into(),
        }
    }

    /// The same for the newer table.
    pub(super) fn presence_new(&self, alias: &str) -> String {
        match &self.key {
            Key::Columns(columns) => format!("{alias}.{}", quote(&columns[0].1)),
            Key::Number(_, new) => format!("{alias}.{new}"),
            Key::None => "NULL".into(),
        }
    }

    /// Which numbers belong together. A row that kept its number and what the migration left alone is
    /// the same; one that was written anew is known by what it holds there, those that are alike in
    /// their order; where nothing was left alone the numbers decide, if none was given anew.
    fn number_rows(&self, db: &Connection) -> Result<()> {
        let Key::Number(old, new) = &self.key else { return Ok(()) };
        db.execute_batch(
            "DROP TABLE IF EXISTS temp.salvage_pair; CREATE TEMP TABLE salvage_pair(m INTEGER PRIMARY KEY, b INTEGER UNIQUE)",
        )?;
        let (b, m) = (quote(&self.old.name), quote(&self.new.name));
        let stable = self.stable_columns(db)?;
        if !stable.is_empty() {
            let same: Vec<String> =
                stable.iter().map(|column| format!("m.{column} IS b.{column} COLLATE BINARY")).collect();
            let same = same.join(" AND ");
            db.execute_batch(&format!(
                "INSERT INTO temp.salvage_pair SELECT m.{new}, b.{old} FROM migrated.{m} AS m JOIN before.{b} AS b ON m.{new} = b.{old} AND {same}"
            ))?;
            let ranked = |schema: &str, table: &str, id: &str, side: &str| {
                let columns = stable.iter().fold(String::new(), |sql, column| sql + ", " + column);
                let groups: Vec<String> =
                    stable.iter().map(|column| format!("{column} COLLATE BINARY")).collect();
                format!(
                    "(SELECT {id} AS id, row_number() OVER (PARTITION BY {} ORDER BY {id}) AS place{columns}
                      FROM {schema}.{table} WHERE {id} NOT IN (SELECT {side} FROM temp.salvage_pair))",
                    groups.join(", ")
                )
            };
            db.execute_batch(&format!(
                "INSERT OR IGNORE INTO temp.salvage_pair SELECT m.id, b.id FROM {} AS m JOIN {} AS b ON m.place = b.place AND {same}",
                ranked("migrated", &m, new, "m"),
                ranked("before", &b, old, "b")
            ))?;
        }
        // A row that was taken away and another that got its number have nothing in common.
        let any: Vec<String> =
            stable.iter().map(|column| format!("m.{column} = b.{column} COLLATE BINARY")).collect();
        let any = if any.is_empty() { "1".to_owned() } else { any.join(" OR ") };
        db.execute_batch(&format!(
            "INSERT OR IGNORE INTO temp.salvage_pair SELECT m.{new}, b.{old} FROM migrated.{m} AS m JOIN before.{b} AS b ON m.{new} = b.{old}
             WHERE ({any}) AND NOT EXISTS (SELECT 1 FROM temp.salvage_pair WHERE m <> b)
                 AND m.{new} NOT IN (SELECT m FROM temp.salvage_pair) AND b.{old} NOT IN (SELECT b FROM temp.salvage_pair)"
        ))
    }

    /// Columns of the same name of which most values were there before.
    fn stable_columns(&self, db: &Connection) -> Result<Vec<String>> {
        let shared = self.old.columns.iter().filter(|column| self.new.column(&column.name).is_some());
        let mut stable = Vec::new();
        for name in shared.map(Column::quoted) {
            let sql = format!(
                "SELECT total({name} IN (SELECT {name} FROM before.{0}) OR {name} IS NULL) * 2 > count(*) FROM migrated.{1}",
                quote(&self.old.name),
                quote(&self.new.name)
            );
            if db.query_row(&sql, [], |row| row.get(0))? {
                stable.push(name);
            }
        }
        Ok(stable)
    }

    /// Whether the migration filled a newer column; one that only has its default was added.
    fn holds_more_than_its_default(&self, db: &Connection, new: &Column) -> Result<bool> {
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM migrated.{} WHERE {} IS NOT {})",
            quote(&self.new.name),
            new.quoted(),
            new.default_value()
        );
        db.query_row(&sql, [], |row| row.get(0))
    }

    /// Whether the migration gave every value of the one column to the other, and they tell anything:
    /// of a column that holds one value throughout, place and default must be the same, too.
    fn hold_the_same(&self, db: &Connection, old: &Column, new: &Column) -> Result<bool> {
        let (b, m) = (old.quoted(), new.quoted());
        let is_alike =
            old.has_default_of(new) && place(self.old, old, self.new) == place(self.new, new, self.old);
        let sql = format!(
            "SELECT total(b.{b} IS NOT NULL) > 0 AND total({}) = 0 AND (count(DISTINCT b.{b}) > 1 OR {is_alike})
             FROM before.{} AS b JOIN migrated.{} AS m ON {}",
            differs(&format!("b.{b}"), &format!("m.{m}")),
            quote(&self.old.name),
            quote(&self.new.name),
            self.joins_old("b", "m")
        );
        db.query_row(&sql, [], |row| row.get(0))
    }
}

/// The columns on both sides of one that the other table knows by name, too.
fn place<'t>(table: &'t Table, column: &Column, other: &Table) -> [Option<&'t str>; 2] {
    let at = table.columns.iter().position(|it| it == column).unwrap_or(0);
    let known = |it: &&Column| other.column(&it.name).is_some();
    let name = |it: &'t Column| it.name.as_str();
    [table.columns[..at].iter().rev().find(known).map(name), table.columns[at..].iter().find(known).map(name)]
}

/// Whether two values are not the very same, in their bytes and their kind.
pub(super) fn differs(left: &str, right: &str) -> String {
    format!("({left} IS NOT ({right} COLLATE BINARY) OR typeof({left}) <> typeof({right}))")
}

fn equal<'b>(columns: impl Iterator<Item = (&'b String, &'b String)>, left: &str, right: &str) -> String {
    let parts: Vec<String> =
        columns.map(|(l, r)| format!("{left}.{} = {right}.{}", quote(l), quote(r))).collect();
    parts.join(" AND ")
}

fn key(db: &Connection, old: &Table, new: &Table, columns: &[Becomes<'_>]) -> Result<Key> {
    let of_old = old.key();
    let becomes =
        |column: &&Column| columns.iter().find(|(it, _)| it == column).and_then(|(_, becomes)| *becomes);
    let of_new: Vec<&Column> = of_old.iter().filter_map(becomes).collect();
    let is_whole = !of_old.is_empty() && of_new == new.key();
    if is_whole
        && (is_firm(db, "before", old, &of_old)? && is_firm(db, "migrated", new, &of_new)?)
        && is_firm(db, "main", new, &of_new)?
    {
        let names = of_old.iter().zip(&of_new).map(|(old, new)| (old.name.clone(), new.name.clone()));
        return Ok(Key::Columns(names.collect()));
    }
    if let (Some(old), Some(new)) = (old.number(), new.number()) {
        return Ok(Key::Number(old, new));
    }
    let any = format!("SELECT EXISTS (SELECT 1 FROM before.{})", quote(&old.name));
    if db.query_row(&any, [], |row| row.get(0))? {
        return Err(refusal(format!("nothing tells which row of {} is which", old.name)));
    }
    Ok(Key::None)
}

/// A way back that would be a guess.
pub(super) fn refusal(why: String) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(why.into())
}

/// Whether no value of the key is NULL: SQLite lets several rows have such a key.
fn is_firm(db: &Connection, schema: &str, table: &Table, key: &[&Column]) -> Result<bool> {
    if table.has_firm_key() {
        return Ok(true);
    }
    let any: Vec<String> = key.iter().map(|column| format!("{} IS NULL", column.quoted())).collect();
    let sql = format!(
        "SELECT NOT EXISTS (SELECT 1 FROM {schema}.{} WHERE {})",
        quote(&table.name),
        any.join(" OR ")
    );
    db.query_row(&sql, [], |row| row.get(0))
}

/// How rows are told apart for people: each value of the key under its name.
pub(super) fn described_key(table: &Table, alias: &str) -> String {
    let key = table.key();
    let value = |name: &str| {
        format!("CASE WHEN typeof({alias}.{name}) = 'blob' THEN hex({alias}.{name}) ELSE {alias}.{name} END")
    };
    let mut parts: Vec<String> =
        key.iter().map(|column| format!("{}, {}", text(&column.name), value(&column.quoted()))).collect();
    if let (true, Some(rowid)) = (parts.is_empty(), table.rowid()) {
        parts.push(format!("'rowid', {alias}.{rowid}"));
    }
    format!("json_object({})", parts.join(", "))
}
