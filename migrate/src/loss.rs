//! Refuses a rehearsed migration that loses rows or a column's values without saying
//! `-- approve: destructive` in its file.

use common::report::{Problem, quoted};

use crate::engine::Finished;
use crate::rows::Counts;
use crate::tokens::{Statement, statements};

/// # Errors
/// `rows-lost` naming file, table and counts.
pub(crate) fn refuse_unapproved(initial: &Counts, finished: &[Finished]) -> Result<(), Problem> {
    let mut kept = initial.clone();
    kept.retain(|_, rows| *rows > 0);
    let mut losses = Vec::new();
    for step in finished {
        let Some(after) = &step.rows else { continue };
        let statements = statements(&step.job.text);
        let mut found: Vec<String> = dropped_columns(&statements, &kept).collect();
        follow_renames(&statements, after, &mut kept);
        kept.retain(|table, before| {
            let rows = after.get(table).copied();
            if rows.unwrap_or(0) < *before {
                found.push(match rows {
                    Some(rows) => format!("table {table} shrinks from {before} to {rows} rows"),
                    None => format!("table {table} with {before} rows is gone"),
                });
            }
            *before = rows.unwrap_or(0);
            *before > 0
        });
        if !is_approved(&step.job.text) {
            losses.extend(found.into_iter().map(|loss| (step.job.file.as_str(), loss)));
        }
    }
    let Some((file, first)) = losses.first() else { return Ok(()) };
    let lines: Vec<String> = losses.iter().map(|(file, loss)| format!("{file}: {loss}")).collect();
    Err(Problem::new("rows-lost", format!("{file} loses data: {first}"))
        .detail(format!("{}\nif that is meant, the file must say: -- approve: destructive", lines.join("\n")))
        .hint(format!("cat {}", quoted(format!("migrations/{file}")))))
}

/// Whether a line of the file is the approval.
fn is_approved(sql: &str) -> bool {
    let comments = sql.lines().filter_map(|line| line.trim().strip_prefix("--"));
    comments.map(str::trim).any(|comment| comment == "approve: destructive")
}

fn dropped_columns<'a>(
    statements: &'a [Statement<'_>],
    kept: &'a Counts,
) -> impl Iterator<Item = String> + 'a {
    alterations(statements).filter_map(|(table, rest)| {
        let rows = kept.get(table)?;
        let column = match rest {
            [drop, column, name] if drop.is("DROP") && column.is("COLUMN") => name,
            [drop, name] if drop.is("DROP") => name,
            _ => return None,
        };
        Some(format!("column {table}.{} with the values of {rows} rows is gone", column.name()))
    })
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

/// Table and remaining tokens of each `ALTER TABLE [schema.]table …`.
fn alterations<'a, 'b>(
    statements: &'b [Statement<'a>],
) -> impl Iterator<Item = (&'a str, &'b [crate::tokens::Token<'a>])> {
    statements.iter().filter_map(|statement| match statement.as_slice() {
        [alter, table, _, dot, name, rest @ ..]
            if alter.is("ALTER") && table.is("TABLE") && dot.text == "." =>
        {
            Some((name.name(), rest))
        }
        [alter, table, name, rest @ ..] if alter.is("ALTER") && table.is("TABLE") => {
            Some((name.name(), rest))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use common::migrations::Migration;
    use rusqlite::Connection;

    use super::*;
    use crate::engine::transact;
    use crate::job::Job;

    fn judge(files: &[&str]) -> Result<(), Problem> {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t(a, b); CREATE TABLE e(a); INSERT INTO t VALUES (1, 2), (3, 4);")
            .unwrap();
        let jobs = (1..).zip(files).map(|(version, up)| {
            let (name, up, file) = ("n".to_owned(), (*up).to_owned(), format!("{version}_n.up.sql"));
            Job::apply(&Migration { version, name, up, down: None, checksum: String::new(), file }, None)
        });
        let done = transact(&db, true, |_| Ok(jobs.collect())).ok().flatten().unwrap();
        refuse_unapproved(&done.rows[0], &done.finished)
    }

    #[test]
    fn losses_need_an_approval_in_the_file_that_causes_them() {
        for lossy in [
            "DELETE FROM t WHERE a = 1",
            "DROP TABLE t",
            "ALTER TABLE main.\"t\" DROP COLUMN b",
            "ALTER TABLE t DROP b",
            "CREATE TABLE n(a); INSERT INTO n SELECT a FROM t LIMIT 1; DROP TABLE t; ALTER TABLE n RENAME TO t",
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
            "CREATE TABLE n(a); INSERT INTO n SELECT a FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t",
            "CREATE TABLE x(a); INSERT INTO x VALUES (1); DROP TABLE x",
        ] {
            judge(&[harmless]).unwrap();
        }
        judge(&["ALTER TABLE t RENAME TO u", "ALTER TABLE u RENAME TO v"]).unwrap();
        assert!(judge(&["ALTER TABLE t RENAME TO u", "DELETE FROM u"]).is_err());
    }
}
