//! Refuses, before anything runs, what cannot be part of one transaction. Owns the list of such
//! statements and the remedy for each; it knows nothing of databases.

use common::migrations::{Directives, Kind};
use common::report::{Problem, quoted};

use crate::tokens::{Statement, statements};

/// Settings that SQLite refuses or ignores inside a transaction, or that outlive it.
const SETTINGS: [&str; 9] = [
    "journal_mode",
    "synchronous",
    "temp_store",
    "auto_vacuum",
    "page_size",
    "locking_mode",
    "wal_checkpoint",
    "encoding",
    "journal_size_limit",
];

/// Checks the text of `file` and returns notes on what is accepted without effect.
///
/// # Errors
/// `migration-refused` with file, line and remedy.
pub(crate) fn screen(file: &str, sql: &str) -> Result<Vec<String>, Problem> {
    let statements = statements(sql);
    if statements.is_empty() {
        return Err(refuse(file, 1, "contains no statement", "write one, or delete the file"));
    }
    let mut notes = Vec::new();
    if Directives::read(Kind::Sql, sql).is_ok_and(|found| found.no_transaction) {
        return Ok(notes);
    }
    for statement in &statements {
        let line = statement[0].line;
        if let Some((what, remedy)) = objection(statement) {
            return Err(refuse(file, line, &what, remedy));
        }
        if setting(statement).is_some_and(|name| name.eq_ignore_ascii_case("foreign_keys")) {
            notes.push(format!(
                "{file} line {line}: PRAGMA foreign_keys is not needed; they are off while migrations run and checked before the commit"
            ));
        }
    }
    Ok(notes)
}

/// The problem with the statement on `line` of `file`.
pub(crate) fn refuse(file: &str, line: usize, what: &str, remedy: &str) -> Problem {
    Problem::new("migration-refused", format!("{file} line {line} {what}"))
        .detail(remedy.to_owned())
        .hint(format!("sed -n {line}p {}", quoted(format!("migrations/{file}"))))
}

fn objection(statement: &Statement<'_>) -> Option<(String, &'static str)> {
    let first = statement[0];
    let second = statement.get(1);
    let to_savepoint = || statement.iter().any(|token| token.is("TO"));
    let ends_early = ["BEGIN", "COMMIT", "END"].iter().any(|word| first.is(word))
        || (first.is("ROLLBACK") && !to_savepoint());
    let word = first.text.to_uppercase();
    if ends_early {
        return Some((
            format!("contains {word}"),
            "remove it: all pending migrations run in one transaction already",
        ));
    }
    if ["ATTACH", "DETACH"].iter().any(|word| first.is(word)) {
        return Some((format!("contains {word}"), "remove it: a migration changes this one database"));
    }
    if first.is("VACUUM") {
        return Some((
            "contains VACUUM".into(),
            "SQLite cannot do it inside a transaction: remove it, or put it alone into a file that says -- no-transaction",
        ));
    }
    let name = second.filter(|_| first.is("PRAGMA")).and_then(|_| setting(statement))?;
    let refused = SETTINGS.iter().any(|known| name.eq_ignore_ascii_case(known));
    refused.then(|| {
        (
            format!("contains PRAGMA {}", name.to_lowercase()),
            "the setting belongs to the app's connection, and does nothing in a transaction: remove it, or put it into a file that says -- no-transaction",
        )
    })
}

/// The name in `PRAGMA [schema.]name`.
fn setting<'a>(statement: &Statement<'a>) -> Option<&'a str> {
    let [first, name, rest @ ..] = statement.as_slice() else { return None };
    if !first.is("PRAGMA") {
        return None;
    }
    match rest {
        [dot, inner, ..] if dot.text == "." => Some(inner.name()),
        _ => Some(name.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_control_is_refused_with_file_line_and_remedy() {
        let cases = [
            ("SELECT 1;\nBEGIN;", "line 2 contains BEGIN"),
            ("\u{b}commit", "contains COMMIT"),
            ("END TRANSACTION", "contains END"),
            ("ROLLBACK", "contains ROLLBACK"),
            ("ATTACH 'x' AS y", "contains ATTACH"),
            ("/* c */ VACUUM;", "contains VACUUM"),
            ("PRAGMA main.journal_mode = WAL", "contains PRAGMA journal_mode"),
            ("PRAGMA \"synchronous\"=OFF", "contains PRAGMA synchronous"),
            ("-- nothing here\n", "contains no statement"),
        ];
        for (sql, expected) in cases {
            let problem = screen("001_a.up.sql", sql).unwrap_err();
            assert!(problem.title.contains(expected), "{sql}: {problem}");
            assert!(problem.title.contains("001_a.up.sql") && problem.detail.is_some());
        }
    }

    #[test]
    fn the_rest_is_let_through_and_foreign_key_settings_are_noted() {
        let sql = "PRAGMA foreign_keys=OFF; SAVEPOINT a; ROLLBACK TO a; PRAGMA defer_foreign_keys=ON;
            CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 'COMMIT; VACUUM'; END; SELECT 'BEGIN'";
        let notes = screen("001_a.up.sql", sql).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].starts_with("001_a.up.sql line 1"), "{notes:?}");
        assert!(screen("001_a.up.sql", "-- no-transaction\nVACUUM;").unwrap().is_empty());
    }
}
