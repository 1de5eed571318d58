//! What a text takes away, read from its statements alone. A table that is rebuilt keeps its name
//! and, as far as the text goes, its rows; whether it does is for the rehearsal to see.

use std::collections::BTreeSet;

use crate::tokens::{Statement, Token, statements};

/// One sentence per statement that takes rows or values away.
pub(crate) fn destructive(sql: &str) -> Vec<String> {
    let all = statements(sql);
    let mut made = BTreeSet::new();
    let mut found = Vec::new();
    for (at, statement) in all.iter().enumerate() {
        if let Some(table) = created(statement) {
            made.insert(table.to_lowercase());
        }
        let Some((table, what)) = takes(statement) else { continue };
        let is_own = made.contains(&table.to_lowercase());
        let is_rebuilt = is_drop(statement, "TABLE") && is_rebuild(&all[..at], &all[at..], table);
        if !is_own && !is_rebuilt {
            found.push(format!("line {}: {what}", statement[0].line));
        }
    }
    found
}

fn takes<'a>(statement: &'a Statement<'a>) -> Option<(&'a str, String)> {
    let (first, second) = (statement.first()?, statement.get(1)?);
    if is_drop(statement, "TABLE") {
        let table = named(&statement[2..])?;
        return Some((table, format!("drops table {table}")));
    }
    if first.is("DELETE") {
        let table = named(&statement[2..])?;
        return Some((table, format!("deletes rows of {table}")));
    }
    let replaces = first.is("REPLACE")
        || (first.is("INSERT") && second.is("OR") && statement.get(2).is_some_and(|word| word.is("REPLACE")));
    if replaces {
        let into = statement.iter().position(|token| token.is("INTO"))?;
        let table = named(&statement[into + 1..])?;
        return Some((table, format!("may replace rows of {table}")));
    }
    let (table, rest) = alteration(statement)?;
    let column = match rest {
        [drop, column, name] if drop.is("DROP") && column.is("COLUMN") => name,
        [drop, name] if drop.is("DROP") => name,
        _ => return None,
    };
    Some((table, format!("drops column {table}.{}", column.name())))
}

pub(crate) fn is_drop(statement: &Statement<'_>, what: &str) -> bool {
    matches!(statement.as_slice(), [drop, kind, ..] if drop.is("DROP") && kind.is(what))
}

/// Create another, copy, drop, rename: the table comes back under its name.
fn is_rebuild(before: &[Statement<'_>], after: &[Statement<'_>], table: &str) -> bool {
    let successors = after.iter().filter_map(|statement| match alteration(statement)? {
        (from, [rename, to, name]) if rename.is("RENAME") && to.is("TO") => {
            name.name().eq_ignore_ascii_case(table).then_some(from)
        }
        _ => None,
    });
    let copies = |into: &str| {
        before.iter().any(|statement| {
            let inserts = statement.first().is_some_and(|word| word.is("INSERT"));
            let names = |name: &str| statement.iter().any(|token| token.name().eq_ignore_ascii_case(name));
            inserts && names(into) && names(table)
        })
    };
    successors.into_iter().any(copies)
}

/// The table that a statement makes.
pub(crate) fn created<'a>(statement: &Statement<'a>) -> Option<&'a str> {
    match statement.as_slice() {
        [create, table, rest @ ..] if create.is("CREATE") && table.is("TABLE") => named(rest),
        [create, temp, table, rest @ ..]
            if create.is("CREATE") && table.is("TABLE") && (temp.is("TEMP") || temp.is("TEMPORARY")) =>
        {
            named(rest)
        }
        _ => None,
    }
}

/// The name behind `[IF [NOT] EXISTS] [schema.]`.
pub(crate) fn named<'a>(tokens: &[Token<'a>]) -> Option<&'a str> {
    let skipped =
        tokens.iter().take_while(|token| ["IF", "NOT", "EXISTS"].iter().any(|word| token.is(word))).count();
    match &tokens[skipped..] {
        [_, dot, name, ..] if dot.text == "." => Some(name.name()),
        [name, ..] => Some(name.name()),
        [] => None,
    }
}

/// Table and remaining tokens of `ALTER TABLE [schema.]table …`.
pub(crate) fn alteration<'a, 'b>(statement: &'b Statement<'a>) -> Option<(&'a str, &'b [Token<'a>])> {
    match statement.as_slice() {
        [alter, table, _, dot, name, rest @ ..]
            if alter.is("ALTER") && table.is("TABLE") && dot.text == "." =>
        {
            Some((name.name(), rest))
        }
        [alter, table, name, rest @ ..] if alter.is("ALTER") && table.is("TABLE") => {
            Some((name.name(), rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_takes_rows_or_values_away_is_named_with_its_line() {
        for (sql, expected) in [
            ("SELECT 1;\nDROP TABLE IF EXISTS main.\"t\"", "line 2: drops table t"),
            ("ALTER TABLE t DROP COLUMN b", "line 1: drops column t.b"),
            ("ALTER TABLE main.t DROP b", "line 1: drops column t.b"),
            ("DELETE FROM t WHERE a = 1", "line 1: deletes rows of t"),
            ("REPLACE INTO t VALUES (1)", "line 1: may replace rows of t"),
            ("INSERT OR REPLACE INTO t VALUES (1)", "line 1: may replace rows of t"),
            ("CREATE TABLE n(a); DROP TABLE t; ALTER TABLE n RENAME TO t", "line 1: drops table t"),
        ] {
            assert_eq!(destructive(sql), [expected], "{sql}");
        }
    }

    #[test]
    fn rebuilds_and_tables_of_its_own_are_not() {
        for harmless in [
            "CREATE TABLE n(a); INSERT INTO n SELECT a FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t",
            "CREATE TEMP TABLE x(a); INSERT INTO x VALUES (1); DELETE FROM x; DROP TABLE x",
            "ALTER TABLE t RENAME COLUMN a TO b; ALTER TABLE t ADD COLUMN c; DROP INDEX i; DROP VIEW v",
            "INSERT INTO t SELECT 'DELETE FROM t'; UPDATE t SET a = 1",
        ] {
            assert!(destructive(harmless).is_empty(), "{harmless}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(words in prop::collection::vec(prop::sample::select(vec![
            "CREATE", "TABLE", "TEMP", "DROP", "ALTER", "RENAME", "TO", "COLUMN", "DELETE", "FROM", "INSERT", "OR",
            "REPLACE", "INTO", "IF", "EXISTS", "SELECT", "t", "main", ".", ";", "(", ")", "'x;", "\"a", "[b", "--", "\n",
            "/*", "*/", "TRIGGER", "BEGIN", "END", "PRAGMA", "VACUUM", "é",
        ]), 0..25)) {
            let sql = words.join(" ");
            let _ = (destructive(&sql), crate::screen::screen("001_a.up.sql", &sql));
        }
    }
}
