//! Functions, collations and modules that only the app's own connection has: a migration that needs
//! one is found before anything is touched.
//!
//! The tokens say whether any name could be one of those. Only then SQLite itself compiles all
//! statements in their order, on an empty copy of the schema: it knows best where a name is a
//! column, and which triggers and views a statement reaches. What depends on rows proves nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, Result};

use common::migrations::{Kind, Migration};
use common::report::Problem;

use crate::screen::refuse;
use crate::statements::{message, sql_problem};
use crate::tokens::{Statement, statements};

/// What stands before a parenthesis and calls nothing.
const WORDS: &str = "add all and as between by case cast check collate conflict default distinct else escape except \
    exists filter from glob having if in intersect into is isnull join key like limit match materialized not notnull \
    null of offset on or over partition primary raise references replace returning select set table then to union \
    unique using values when where window with binary nocase rtrim character char varchar nchar nvarchar varying text \
    clob blob int integer smallint bigint tinyint mediumint unsigned real double precision float decimal numeric \
    boolean date datetime time timestamp";
/// Operations of SQLite's machine that one statement may take on the copy, which has no rows.
const PATIENCE: i32 = 10_000_000;

/// Compiles the ups of `chosen`, then their downs, against the schema of `db`; `None`: no database.
///
/// # Errors
/// `migration-refused` with file, line and name.
pub(crate) fn check(db: Option<&Connection>, chosen: &[Migration]) -> std::result::Result<(), Problem> {
    let ups = chosen.iter().map(|migration| (&migration.file, Some(&migration.up), migration.kind));
    let downs =
        chosen.iter().rev().map(|migration| (&migration.down_file, migration.down.as_ref(), migration.kind));
    let texts: Vec<(&String, &Arc<str>)> = ups
        .chain(downs)
        .filter(|(_, _, kind)| *kind == Kind::Sql)
        .filter_map(|(file, text, _)| Some((file, text?)))
        .collect();
    let trial = Trial::of(db).map_err(|error| sql_problem(&error))?;
    let suspect = |sql: &str| statements(sql).iter().any(|statement| trial.is_suspect(statement));
    if !trial.schema.iter().map(String::as_str).chain(texts.iter().map(|(_, text)| &***text)).any(suspect) {
        return Ok(());
    }
    let absent = trial.build();
    texts.into_iter().try_for_each(|(file, text)| trial.compile(file, text, &absent))
}

/// The problem behind SQLite's words, when a name is missing that the app may well have.
pub(crate) fn missing_name(file: &str, line: usize, why: &str) -> Option<Problem> {
    let (kind, name) = ["function", "collation", "module"].into_iter().find_map(|kind| {
        let words = format!("no such {kind}{}: ", if kind == "collation" { " sequence" } else { "" });
        Some((kind, why.split_once(&words)?.1))
    })?;
    let what = format!("needs a {kind} that only the app defines: {name}");
    let remedy = "nothing but that app can run it: write it in plain SQL, or make it a migration in Python that computes the values. The database is as it was";
    Some(refuse(file, line, &what, remedy))
}

/// An empty copy of a schema.
struct Trial {
    db: Connection,
    /// All that needs no suspicion, in lower case.
    known: HashSet<String>,
    /// The statements that make the schema, virtual tables first: they bring tables of their own.
    schema: Vec<String>,
}

impl Trial {
    fn of(real: Option<&Connection>) -> Result<Self> {
        let mut db = Connection::open_in_memory()?;
        db.progress_handler(PATIENCE, Some(|| true))?;
        let mut known: HashSet<String> = WORDS.split_whitespace().map(str::to_owned).collect();
        known.extend(texts(
            &db,
            "SELECT lower(name) FROM pragma_function_list UNION SELECT lower(name) FROM pragma_module_list",
        )?);
        let list = "SELECT sql FROM main.sqlite_master WHERE sql IS NOT NULL
            ORDER BY sql NOT LIKE 'CREATE VIRTUAL%', type <> 'table', rowid";
        let schema = real.map_or_else(|| Ok(Vec::new()), |real| texts(real, list))?;
        Ok(Self { db, known, schema })
    }

    /// Makes the schema; the result tells of each virtual table that cannot be made why.
    fn build(&self) -> HashMap<String, String> {
        let mut absent = HashMap::new();
        for sql in &self.schema {
            let Err(error) = self.db.execute_batch(sql) else { continue };
            let name = statements(sql).first().and_then(|words| {
                let at = words.iter().position(|word| word.is("USING"))?;
                Some(words.get(at.checked_sub(1)?)?.name().to_owned())
            });
            absent.extend(name.map(|name| (name, message(&error))));
        }
        absent
    }

    fn is_suspect(&self, statement: &Statement<'_>) -> bool {
        let makes_index = statement.iter().take(3).any(|token| token.is("INDEX"));
        let names_table = |before: &str| {
            let is = |word: &str| before.eq_ignore_ascii_case(word);
            ["TABLE", "INTO", "REFERENCES", "EXISTS", "."].into_iter().any(is) || makes_index && is("ON")
        };
        let mut before = "";
        statement.iter().enumerate().any(|(at, token)| {
            let follows = std::mem::replace(&mut before, token.text);
            let is_named = ["COLLATE", "USING"].iter().any(|word| follows.eq_ignore_ascii_case(word));
            let calls = statement.get(at + 1).is_some_and(|next| next.text == "(") && !names_table(follows);
            let is_name = token.name().starts_with(|c: char| c.is_alphabetic() || c == '_');
            token.is("REGEXP")
                || is_name && (is_named || calls) && !self.known.contains(&token.name().to_lowercase())
        })
    }

    /// Runs what changes the schema, and only compiles the rest.
    fn compile(
        &self,
        file: &str,
        text: &str,
        absent: &HashMap<String, String>,
    ) -> std::result::Result<(), Problem> {
        let all = statements(text);
        for (number, statement) in all.iter().enumerate() {
            let end = all.get(number + 1).map_or(text.len(), |next| next[0].offset);
            let sql = &text[statement[0].offset..end];
            let changes_schema = ["CREATE", "DROP", "ALTER"].iter().any(|word| statement[0].is(word));
            let tolerates = statement.get(1).is_some_and(|name| name.is("legacy_alter_table"));
            let tried = if changes_schema || tolerates {
                self.db.execute_batch(sql)
            } else {
                self.db.prepare(sql).map(drop)
            };
            let why = tried.err().map(|error| message(&error)).unwrap_or_default();
            let table = why.strip_prefix("no such table: ").map(|name| name.trim_start_matches("main."));
            let why = table.and_then(|table| absent.get(table)).unwrap_or(&why);
            missing_name(file, statement[0].line, why).map_or(Ok(()), Err)?;
        }
        Ok(())
    }
}

fn texts(db: &Connection, query: &str) -> Result<Vec<String>> {
    db.prepare(query)?.query_map([], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use common::migrations::Text;

    use super::*;

    fn judge(schema: &str, up: &str) -> std::result::Result<(), String> {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(schema).unwrap();
        let up = Text { file: "001_n.up.sql".into(), text: up.into() };
        let migration = Migration::of_files(1, "n", Kind::Sql, up, None).unwrap();
        check(Some(&db), &[migration]).map_err(|problem| problem.title)
    }

    #[test]
    fn names_that_only_the_app_has_are_found_wherever_sqlite_needs_them() {
        let trigger = "CREATE TABLE t(a); CREATE TABLE u(a); CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET a = app_slug(a); END;";
        let view = "CREATE TABLE t(a, b); CREATE VIEW v AS SELECT app_slug(b) AS s FROM t;";
        for (schema, sql, what) in [
            (
                "CREATE TABLE t(a)",
                "CREATE TABLE u(a);\nUPDATE t SET a = app_slug(a);",
                "line 2 needs a function that only the app defines: app_slug",
            ),
            ("CREATE TABLE t(a)", "UPDATE t SET a = \"app_slug\" (a)", "function"),
            ("CREATE TABLE t(a)", "SELECT a REGEXP 'x' FROM t", "function that only the app defines: REGEXP"),
            ("", "CREATE TABLE t(a CHECK (app_slug(a)))", "function"),
            ("CREATE TABLE t(a)", "CREATE INDEX i ON t(app_slug(a))", "function"),
            (
                "CREATE TABLE t(a)",
                "CREATE INDEX i ON t(a COLLATE app_order)",
                "collation that only the app defines: app_order",
            ),
            (
                "",
                "CREATE VIRTUAL TABLE v USING app_module(a)",
                "module that only the app defines: app_module",
            ),
            (trigger, "INSERT INTO t VALUES (1)", "function"),
            (view, "SELECT * FROM v", "function"),
        ] {
            let refused = judge(schema, sql).expect_err(sql);
            assert!(refused.contains(what), "{sql}: {refused}");
        }
    }

    #[test]
    fn the_same_words_as_names_and_what_the_app_will_run_itself_are_fine() {
        let trigger = "CREATE TABLE t(a); CREATE TABLE u(a); CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET a = app_slug(a); END;";
        let view = "CREATE TABLE t(a, b); CREATE VIEW v AS SELECT app_slug(b) AS s FROM t;";
        for (schema, sql) in [
            (
                "",
                "CREATE TABLE app_slug(app_slug VARCHAR(20) UNIQUE, b DEFAULT (1)); INSERT INTO app_slug(app_slug) VALUES (1); CREATE INDEX i ON app_slug(app_slug);",
            ),
            ("", "CREATE TABLE t(a REFERENCES app_slug(id)); SELECT 'app_slug(1)' -- app_slug(1)"),
            (
                "CREATE TABLE t(a)",
                "WITH app_slug(n) AS (SELECT 1) SELECT n FROM app_slug; SELECT count(*) FILTER (WHERE a) OVER (PARTITION BY (a)) FROM t;",
            ),
            (
                "CREATE TABLE t(a)",
                "CREATE VIEW v AS SELECT app_slug(a) FROM t; CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT app_slug(1); END;",
            ),
            (view, "ALTER TABLE t RENAME COLUMN b TO c; INSERT INTO t VALUES (1, 2)"),
            (trigger, "INSERT INTO u VALUES (1); DROP TRIGGER r; INSERT INTO t VALUES (1)"),
            (
                "CREATE TABLE t(a)",
                "INSERT INTO nowhere SELECT upper(a) FROM t; SELECT json_extract(value, '$.a') FROM json_each('[]')",
            ),
            (
                "",
                "CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES ('x'); SELECT * FROM f WHERE f MATCH 'x'",
            ),
        ] {
            assert_eq!(judge(schema, sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn a_table_of_a_module_that_only_the_app_has_cannot_be_touched() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("PRAGMA writable_schema=ON; INSERT INTO sqlite_master VALUES ('table', 'geo', 'geo', 0, 'CREATE VIRTUAL TABLE geo USING app_module(a)');").unwrap();
        let up = |text: &str| {
            Migration::of_files(
                1,
                "n",
                Kind::Sql,
                Text { file: "1_n.up.sql".into(), text: text.into() },
                None,
            )
            .unwrap()
        };
        let problem = check(Some(&db), &[up("CREATE TABLE t(a); DELETE FROM geo;")]).unwrap_err();
        assert!(problem.title.contains("module that only the app defines: app_module"), "{problem}");
        check(Some(&db), &[up("CREATE TABLE t(a);")]).unwrap();
    }

    #[test]
    fn what_everybody_writes_needs_no_second_look() {
        let trial = Trial::of(None).unwrap();
        let plain = "CREATE TABLE IF NOT EXISTS main.t_01 (id INTEGER PRIMARY KEY, name VARCHAR(20) COLLATE NOCASE, FOREIGN KEY (name) REFERENCES u(id));
            CREATE UNIQUE INDEX ix ON t_01(name); INSERT OR IGNORE INTO t_01 (id, name) VALUES (1, upper('x')), (2, 'y');
            UPDATE t_01 SET name = coalesce(name, 'x') WHERE id IN (SELECT max(id) FROM t_01) AND NOT EXISTS (SELECT 1);";
        for statement in statements(plain) {
            assert!(!trial.is_suspect(&statement), "{statement:?}");
        }
    }
}
