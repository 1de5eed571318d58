//! The schema of a database as a value: its hash, and what changed between two of them.

use std::collections::BTreeMap;

use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::report::{OrProblem, Problem};

/// The tracking table of `migrate`; it is ours, not the app's.
pub const RECORDS: &str = "migrations";

/// One column as `PRAGMA table_xinfo` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    name: String,
    kind: String,
    required: bool,
    default: Option<String>,
    key: i64,
}

/// Tables with their columns, and every other object with its text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    tables: BTreeMap<String, Vec<Column>>,
    objects: Objects,
}

/// By kind and name.
type Objects = BTreeMap<(String, String), Object>;

/// Any object of the schema, under its kind and name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    table: String,
    /// SQL text, blanks normalised.
    text: String,
}

/// What a newer schema does to code written for the older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Same,
    /// Only new tables, new optional columns, new plain indexes and views: old code lives on.
    Grew,
    /// Old code may fail; each entry names one reason.
    Changed(Vec<String>),
}

impl Schema {
    /// Reads the schema, without SQLite's and our own tables.
    ///
    /// # Errors
    /// `database-unreadable`.
    pub fn read(connection: &Connection) -> Result<Self, Problem> {
        read(connection).or_problem("database-unreadable", || "cannot read the schema".into())
    }

    /// Hex SHA-256 over all objects.
    pub fn hash(&self) -> String {
        hash(&self.objects)
    }

    /// The same, of a database whose columns nobody asks for.
    ///
    /// # Errors
    /// `database-unreadable`.
    pub fn hash_in(connection: &Connection) -> Result<String, Problem> {
        let mut hasher = Sha256::new();
        let mut room = String::new();
        each_object(connection, |row| {
            digest(&mut hasher, row.kind, row.name, normalised(row.text, &mut room));
        })
        .or_problem("database-unreadable", || "cannot read the schema".into())?;
        Ok(crate::hex(&hasher.finalize()))
    }

    /// Names of the app's tables.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// Columns that `newer` lacks, of tables that both have, as table and column.
    pub fn lost_columns(&self, newer: &Self) -> Vec<(String, String)> {
        let mut lost = Vec::new();
        for (table, columns) in &self.tables {
            let Some(after) = newer.tables.get(table) else { continue };
            let gone = columns.iter().filter(|column| !after.iter().any(|other| other.name == column.name));
            lost.extend(gone.map(|column| (table.clone(), column.name.clone())));
        }
        lost
    }

    /// How `newer` differs from this schema.
    pub fn compare(&self, newer: &Self) -> Change {
        if self == newer {
            return Change::Same;
        }
        let mut reasons = Vec::new();
        for (name, columns) in &self.tables {
            match newer.tables.get(name) {
                None => reasons.push(format!("table {name} is gone")),
                Some(after) => {
                    let known = reasons.len();
                    compare_columns(name, columns, after, &mut reasons);
                    if reasons.len() == known && self.has_new_constraints(newer, name) {
                        reasons.push(format!("table {name} has other constraints"));
                    }
                }
            }
        }
        self.compare_objects(newer, &mut reasons);
        if reasons.is_empty() { Change::Grew } else { Change::Changed(reasons) }
    }

    /// Whether a table's text changed by more than columns added to it.
    fn has_new_constraints(&self, newer: &Self, table: &str) -> bool {
        let key = (String::from("table"), table.to_owned());
        match (self.objects.get(&key), newer.objects.get(&key)) {
            (Some(before), Some(after)) => !only_adds_columns(before.definition(), after.definition()),
            _ => false,
        }
    }

    fn compare_objects(&self, newer: &Self, reasons: &mut Vec<String>) {
        for ((kind, name), object) in self.objects.iter().filter(|((kind, _), _)| kind == "view") {
            match newer.objects.get(&(kind.clone(), name.clone())) {
                None => reasons.push(format!("view {name} is gone")),
                Some(after) if after.text != object.text => reasons.push(format!("view {name} changed")),
                Some(_) => {}
            }
        }
        for (key @ (kind, name), object) in &newer.objects {
            let is_new = self.objects.get(key) != Some(object);
            if is_new && object.restricts(kind) && self.tables.contains_key(&object.table) {
                reasons.push(format!("{kind} {name} restricts the existing table {}", object.table));
            }
        }
    }
}

impl Object {
    /// The text behind the name, which a rename may quote.
    fn definition(&self) -> &str {
        self.text.find('(').map_or(self.text.as_str(), |at| &self.text[at..])
    }

    fn restricts(&self, kind: &str) -> bool {
        kind == "trigger" || (kind == "index" && self.text.to_uppercase().starts_with("CREATE UNIQUE"))
    }
}

/// `ALTER TABLE … ADD COLUMN` inserts one piece of text and leaves the rest as it was.
fn only_adds_columns(before: &str, after: &str) -> bool {
    if before == after {
        return true;
    }
    let same = |pair: &(char, char)| pair.0 == pair.1;
    let head: usize = before.chars().zip(after.chars()).take_while(same).map(|(c, _)| c.len_utf8()).sum();
    let rest = &before[head..];
    let Some(inserted) = after[head..].strip_suffix(rest).map(str::to_uppercase) else { return false };
    let inside = rest.contains(')');
    inside && !["CHECK", "UNIQUE", "FOREIGN KEY", "PRIMARY KEY"].iter().any(|word| inserted.contains(word))
}

fn compare_columns(table: &str, before: &[Column], after: &[Column], reasons: &mut Vec<String>) {
    for column in before {
        match after.iter().find(|other| other.name == column.name) {
            None => reasons.push(format!("column {table}.{} is gone", column.name)),
            Some(other) if other != column => reasons.push(format!("column {table}.{} changed", column.name)),
            Some(_) => {}
        }
    }
    for column in after.iter().filter(|column| !before.iter().any(|known| known.name == column.name)) {
        if column.required && column.default.is_none() {
            reasons.push(format!("column {table}.{} is required and has no default", column.name));
        }
    }
}

fn read(connection: &Connection) -> rusqlite::Result<Schema> {
    let objects = objects(connection)?;
    let tables = objects.keys().filter(|(kind, _)| kind == "table");
    let tables = tables.map(|(_, name)| Ok((name.clone(), columns(connection, name)?)));
    Ok(Schema { tables: tables.collect::<rusqlite::Result<_>>()?, objects })
}

fn hash(objects: &Objects) -> String {
    let mut hasher = Sha256::new();
    for ((kind, name), object) in objects {
        digest(&mut hasher, kind, name, &object.text);
    }
    crate::hex(&hasher.finalize())
}

fn digest(hasher: &mut Sha256, kind: &str, name: &str, text: &str) {
    for part in [kind, name, text] {
        hasher.update(part);
        hasher.update([0]);
    }
}

/// `text` with one blank between its words; put together in `room` where it is not yet so.
fn normalised<'a>(text: &'a str, room: &'a mut String) -> &'a str {
    let is_normal = text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && !text.contains("  ");
    if is_normal {
        return text.trim_matches(' ');
    }
    room.clear();
    for (number, word) in text.split_whitespace().enumerate() {
        if number > 0 {
            room.push(' ');
        }
        room.push_str(word);
    }
    room
}

fn objects(connection: &Connection) -> rusqlite::Result<Objects> {
    let mut found = Objects::new();
    let mut room = String::new();
    each_object(connection, |row| {
        let key = (row.kind.to_owned(), row.name.to_owned());
        let text = normalised(row.text, &mut room).to_owned();
        found.insert(key, Object { table: row.table.to_owned(), text });
    })?;
    Ok(found)
}

/// An object as SQLite has it.
struct Listed<'a> {
    kind: &'a str,
    name: &'a str,
    table: &'a str,
    text: &'a str,
}

/// Gives each object of the app to `take`, by kind and name. Chosen and sorted here: SQLite takes twice
/// as long for thousands of them.
fn each_object(connection: &Connection, take: impl FnMut(Listed<'_>)) -> rusqlite::Result<()> {
    let mut list = connection.prepare("SELECT type, name, tbl_name, ifnull(sql, '') FROM sqlite_master")?;
    let mut rows = list.query([])?;
    // All in one piece, each with where its parts end.
    let (mut letters, mut objects) = (String::new(), Vec::new());
    while let Some(row) = rows.next()? {
        if !is_of_app(row.get_ref(1)?.as_str_or_null()?, row.get_ref(2)?.as_str_or_null()?) {
            continue;
        }
        let begin = letters.len();
        let mut ends = [0; 4];
        for (column, end) in ends.iter_mut().enumerate() {
            letters.push_str(row.get_ref(column)?.as_str()?);
            *end = letters.len();
        }
        objects.push((begin, ends));
    }
    let listed = |(begin, [kind, name, table, text]): (usize, [usize; 4])| Listed {
        kind: &letters[begin..kind],
        name: &letters[kind..name],
        table: &letters[name..table],
        text: &letters[table..text],
    };
    let mut objects: Vec<Listed<'_>> = objects.into_iter().map(listed).collect();
    objects.sort_unstable_by_key(|object| (object.kind, object.name));
    objects.into_iter().for_each(take);
    Ok(())
}

fn is_of_app(name: Option<&str>, table: Option<&str>) -> bool {
    name.is_some_and(|name| !name.starts_with("sqlite_")) && table.is_some_and(|table| table != RECORDS)
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let mut info =
        connection.prepare("SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_xinfo(?1)")?;
    let rows = info.query_map([table], |row| {
        Ok(Column {
            name: row.get(0)?,
            kind: row.get(1)?,
            required: row.get(2)?,
            default: row.get(3)?,
            key: row.get(4)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(sql: &str) -> Schema {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(sql).unwrap();
        Schema::read(&db).unwrap()
    }

    #[test]
    fn a_hash_is_the_same_however_it_is_made() {
        for encoding in ["UTF-8", "UTF-16le"] {
            let db = Connection::open_in_memory().unwrap();
            db.execute_batch(&format!(
                "PRAGMA encoding = '{encoding}';
                 CREATE TABLE users(a INTEGER PRIMARY KEY,\n\tb TEXT UNIQUE);  CREATE TABLE таблица( a );
                 CREATE TABLE Users2(a); CREATE INDEX i ON users(b); CREATE VIEW v AS SELECT 'x  y' FROM users;
                 CREATE TABLE migrations(version); CREATE INDEX m ON migrations(version); ANALYZE;"
            ))
            .unwrap();
            let schema = Schema::read(&db).unwrap();
            assert_eq!(Schema::hash_in(&db).unwrap(), schema.hash(), "{encoding}");
            assert_eq!(schema.tables().collect::<Vec<_>>(), ["Users2", "users", "таблица"]);
            assert!(schema.objects.keys().all(|(_, name)| name != "m" && !name.starts_with("sqlite_")));
        }
    }

    #[test]
    fn blanks_are_one_blank_between_words() {
        for text in ["", " ", "a", " a  b ", "a b", "a\n\tb", " a b", "a b ", "a\u{a0}b", "ä  b", "\u{7f} a"]
        {
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(normalised(text, &mut String::from("left over")), words, "{text:?}");
        }
    }

    #[test]
    fn growth_is_told_from_change() {
        let base = "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);";
        let old = schema(base);
        let grown = [
            "CREATE TABLE u(x)",
            "CREATE TABLE n(a INTEGER PRIMARY KEY, b TEXT); DROP TABLE t; ALTER TABLE n RENAME TO t; CREATE TABLE u(x)",
            "ALTER TABLE t ADD COLUMN c TEXT",
            "ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT 'x'",
            "CREATE INDEX i ON t(b)",
            "CREATE TABLE u(x); CREATE UNIQUE INDEX i ON u(x)",
            "CREATE VIEW v AS SELECT a FROM t",
        ];
        for sql in grown {
            assert_eq!(old.compare(&schema(&format!("{base}{sql}"))), Change::Grew, "{sql}");
        }
        let changed = [
            "DROP TABLE t",
            "ALTER TABLE t RENAME COLUMN b TO c",
            "ALTER TABLE t DROP COLUMN b",
            "CREATE UNIQUE INDEX i ON t(b)",
            "CREATE TRIGGER r BEFORE INSERT ON t BEGIN SELECT RAISE(FAIL, 'no'); END",
            "DROP TABLE t; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT NOT NULL)",
            "DROP TABLE t; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, CHECK (b <> ''))",
            "DROP TABLE t; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT UNIQUE)",
            "DROP TABLE t; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT) STRICT",
        ];
        for sql in changed {
            assert!(matches!(old.compare(&schema(&format!("{base}{sql}"))), Change::Changed(_)), "{sql}");
        }
        assert_eq!(old.compare(&schema("CREATE TABLE t(a INTEGER   PRIMARY KEY,\n b TEXT);")), Change::Same);
    }
}
