//! Refuses a rehearsed migration that loses rows or a column's values without saying
//! `-- approve: destructive` in its file.

use common::database::Schema;
use common::migrations::Kind;
use common::report::{Problem, quoted};

use crate::engine::{Finished, Seen};
use crate::lint;
use crate::rows::Counts;
use crate::tokens::{Statement, Token, statements};

const APPROVAL: &str = "if that is meant, the file must say: -- approve: destructive";

/// Refuses a text that takes rows or values away and does not say so.
///
/// # Errors
/// `destructive-unapproved`.
pub(crate) fn refuse_text(file: &str, sql: &str) -> Result<(), Problem> {
    let found = lint::destructive(sql);
    let Some(first) = found.first() else { return Ok(()) };
    Err(Problem::new("destructive-unapproved", format!("{file} {first}"))
        .detail(format!("{}\n{APPROVAL}", found.join("\n")))
        .hint(format!("cat {}", quoted(format!("migrations/{file}")))))
}

/// The same for a migration that has just run: what a script does is known only then.
///
/// # Errors
/// `destructive-unapproved`.
pub(crate) fn refuse_statements(finished: &Finished) -> Result<(), Problem> {
    if finished.job.directives.approves_loss || finished.job.kind == Kind::Sql {
        return Ok(());
    }
    refuse_text(&finished.job.file, &finished.sql())
}

/// Refuses a whole run that loses rows, when none of its files says so.
///
/// # Errors
/// `rows-lost`.
pub(crate) fn refuse_totals(before: &Counts, after: &Counts, finished: &[Finished]) -> Result<(), Problem> {
    if finished.iter().any(|step| step.job.directives.approves_loss) {
        return Ok(());
    }
    let renamed = |table: &str| {
        let texts: Vec<String> = finished.iter().map(Finished::sql).collect();
        texts.iter().any(|sql| {
            statements(sql)
                .iter()
                .any(|statement| lint::alteration(statement).is_some_and(|(from, _)| from == table))
        })
    };
    let lost = before.iter().find_map(|(table, rows)| match after.get(table) {
        Some(left) if left < rows => Some(format!("table {table} shrinks from {rows} to {left} rows")),
        None if *rows > 0 && !renamed(table) => Some(format!("table {table} with {rows} rows is gone")),
        _ => None,
    });
    match lost {
        Some(told) => {
            Err(Problem::new("rows-lost", format!("the migrations lose data: {told}")).detail(APPROVAL))
        }
        None => Ok(()),
    }
}

/// # Errors
/// `rows-lost` naming file, table and counts.
pub(crate) fn refuse_unapproved(initial: &Seen, finished: &[Finished]) -> Result<(), Problem> {
    let mut kept = initial.rows.clone();
    kept.retain(|_, rows| *rows > 0);
    let mut schema = &initial.schema;
    let mut losses = Vec::new();
    for step in finished {
        let Some(seen) = &step.seen else { continue };
        let sql = step.sql();
        let statements = statements(&sql);
        let mut found = lost_columns(schema, &seen.schema, &statements, &kept);
        follow_renames(&statements, &seen.rows, &mut kept);
        kept.retain(|table, before| {
            let rows = seen.rows.get(table).copied();
            if rows.unwrap_or(0) < *before {
                found.push(match rows {
                    Some(rows) => format!("table {table} shrinks from {before} to {rows} rows"),
                    None => format!("table {table} with {before} rows is gone"),
                });
            }
            *before = rows.unwrap_or(0);
            *before > 0
        });
        schema = &seen.schema;
        if !step.job.directives.approves_loss {
            losses.extend(found.into_iter().map(|loss| (step.job.file.as_str(), loss)));
        }
    }
    let Some((file, first)) = losses.first() else { return Ok(()) };
    let lines: Vec<String> = losses.iter().map(|(file, loss)| format!("{file}: {loss}")).collect();
    Err(Problem::new("rows-lost", format!("{file} loses data: {first}"))
        .detail(format!("{}\n{APPROVAL}", lines.join("\n")))
        .hint(format!("cat {}", quoted(format!("migrations/{file}")))))
}

/// Columns that a table with rows no longer has, dropped or left out when it was rebuilt.
fn lost_columns(before: &Schema, after: &Schema, statements: &[Statement<'_>], kept: &Counts) -> Vec<String> {
    let renames = |table: &str, column: &str| {
        alterations(statements).any(|(altered, rest)| {
            let name = match rest {
                [rename, word, name, ..] if rename.is("RENAME") && word.is("COLUMN") => name,
                [rename, name, to, _] if rename.is("RENAME") && to.is("TO") => name,
                _ => return false,
            };
            altered.eq_ignore_ascii_case(table) && name.name().eq_ignore_ascii_case(column)
        })
    };
    let gone = before.lost_columns(after).into_iter().filter(|(table, column)| !renames(table, column));
    gone.filter_map(|(table, column)| {
        let rows = kept.get(&table)?;
        Some(format!("column {table}.{column} with the values of {rows} rows is gone"))
    })
    .collect()
}

/// Lets a table that was renamed keep its count under the new name.
fn follow_renames(statements: &[Statement<'_>], after: &Counts, kept: &mut Counts) {
    for (table, rest) in alterations(statements) {
        let [rename, to, name] = rest else { continue };
        let is_move = rename.is("RENAME") && to.is("TO") && !after.contains_key(table);
        if let Some(rows) = kept.get(table).copied().filter(|_| is_move) {
            kept.remove(table);
            kept.insert(name.name().to_owned(), rows);
        }
    }
}

fn alterations<'a, 'b>(statements: &'b [Statement<'a>]) -> impl Iterator<Item = (&'a str, &'b [Token<'a>])> {
    statements.iter().filter_map(|statement| lint::alteration(statement))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use common::migrations::{Migration, Text};
    use rusqlite::Connection;

    use super::*;
    use crate::engine::{Room, Terms};
    use crate::job::Job;
    use crate::pass::see;
    use crate::python::Python;

    fn judge(files: &[&str]) -> Result<(), Problem> {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t(a, b); CREATE TABLE e(a); INSERT INTO t VALUES (1, 2), (3, 4);")
            .unwrap();
        let room = Room::around(db, Python::new(Path::new("."), "dev")).unwrap();
        let initial = see(&room.db).unwrap();
        let jobs = (1..).zip(files).map(|(version, up)| {
            let up = Text { file: format!("{version}_n.up.sql"), text: (*up).to_owned() };
            Job::apply(&Migration::of_files(version, "n", Kind::Sql, up, None).unwrap(), None)
        });
        let terms = Terms { watched: true, ..Terms::default() };
        let done = room.run(terms, |_| Ok(jobs.collect())).ok().flatten().unwrap();
        refuse_unapproved(&initial, &done.finished)
    }

    #[test]
    fn losses_need_an_approval_in_the_file_that_causes_them() {
        for lossy in [
            "DELETE FROM t WHERE a = 1",
            "DROP TABLE t",
            "ALTER TABLE main.\"t\" DROP COLUMN b",
            "ALTER TABLE t DROP b",
            "CREATE TABLE n(a, b); INSERT INTO n SELECT * FROM t LIMIT 1; DROP TABLE t; ALTER TABLE n RENAME TO t",
            "CREATE TABLE n(a); INSERT INTO n SELECT a FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t",
        ] {
            let problem = judge(&[lossy]).unwrap_err();
            assert_eq!(problem.kind, "rows-lost");
            judge(&[&format!("{lossy};\n  --  approve: destructive\n")]).unwrap();
            let elsewhere = judge(&["SELECT 1; -- approve: destructive", lossy]).unwrap_err();
            assert!(elsewhere.title.starts_with("2_n.up.sql"), "{elsewhere}");
        }
        let hidden = ["DELETE FROM t", "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)"];
        assert!(judge(&hidden).unwrap_err().title.contains("shrinks from 2 to 0"));
    }

    #[test]
    fn renames_rebuilds_and_empty_tables_lose_nothing() {
        for harmless in [
            "ALTER TABLE t RENAME TO u",
            "ALTER TABLE t RENAME COLUMN b TO c",
            "DROP TABLE e",
            "CREATE TABLE n(a, b, c); INSERT INTO n SELECT a, b, 1 FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t",
            "CREATE TABLE x(a); INSERT INTO x VALUES (1); DROP TABLE x",
        ] {
            judge(&[harmless]).unwrap();
        }
        judge(&["ALTER TABLE t RENAME TO u", "ALTER TABLE u RENAME TO v"]).unwrap();
        assert!(judge(&["ALTER TABLE t RENAME TO u", "DELETE FROM u"]).is_err());
    }
}
