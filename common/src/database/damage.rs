//! Whether a database is damaged: looked for in bounded time, beside its writers. What the app's
//! own rules forbid (a NULL, a CHECK) is no damage.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::quote;

/// Steps of `SQLite`'s machine between two looks at the clock.
const STEPS: i32 = 10_000;
/// What a finding about the tree of pages begins with; others are about rows or unused pages.
const TREE: &str = "Tree ";

/// The first damage that is found within `limit`, in `SQLite`'s words.
pub fn find_damage(path: &Path, limit: Duration) -> Option<String> {
    look(path, limit).unwrap_or_else(|error| corruption(&error))
}

fn corruption(error: &rusqlite::Error) -> Option<String> {
    let code = error.sqlite_error_code()?;
    matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase).then(|| error.to_string())
}

/// Table by table: of one that is too large for the time `SQLite` tells nothing.
fn look(path: &Path, limit: Duration) -> rusqlite::Result<Option<String>> {
    let mut db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let end = Instant::now() + limit;
    db.progress_handler(STEPS, Some(move || Instant::now() > end))?;
    let mut list = db.prepare(
        "SELECT name FROM main.sqlite_master
         WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let tables: Vec<String> = list.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for table in tables {
        if let Some(found) = look_at(&db, &table)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn look_at(db: &Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let mut check = db.prepare(&format!("PRAGMA quick_check({})", quote(table)))?;
    let mut rows = check.query([])?;
    loop {
        let finding: String = match rows.next() {
            Ok(Some(row)) => row.get(0)?,
            Ok(None) => return Ok(None),
            Err(error) => return corruption(&error).map_or(Err(error), |found| Ok(Some(found))),
        };
        if let Some(line) = finding.lines().find(|line| line.starts_with(TREE)) {
            return Ok(Some(line.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn database(sql: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(sql).unwrap();
        db.close().unwrap();
        (dir, path)
    }

    const ROWS: &str = "CREATE TABLE t(a NOT NULL);
        WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) INSERT INTO t SELECT hex(randomblob(30)) FROM c;";

    #[test]
    fn a_page_that_is_lost_and_a_file_that_is_none_are_damage() {
        let (_dir, path) = database(ROWS);
        assert_eq!(find_damage(&path, LIMIT), None);
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        let middle = whole.len() / 4096 / 2 * 4096;
        bytes[middle..middle + 4096].fill(0xA5);
        std::fs::write(&path, &bytes).unwrap();
        assert!(find_damage(&path, LIMIT).is_some());
        // Two rows of a page in the wrong order: all of it can be read.
        bytes = whole.clone();
        bytes.swap(middle + 8, middle + 10);
        bytes.swap(middle + 9, middle + 11);
        std::fs::write(&path, &bytes).unwrap();
        let found = find_damage(&path, LIMIT).unwrap();
        assert!(found.starts_with(TREE), "{found}");
        std::fs::write(&path, "no database at all, in no way whatever").unwrap();
        assert!(find_damage(&path, LIMIT).is_some());
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(find_damage(&path, LIMIT).is_some());
    }

    #[test]
    fn rows_against_the_rules_and_a_check_that_was_not_done_are_none() {
        let rules = "CREATE TABLE u(a); INSERT INTO u VALUES (NULL);
            PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE u(a NOT NULL)' WHERE name = 'u';";
        let (_dir, path) = database(&format!("{ROWS}{rules}"));
        assert_eq!(find_damage(&path, LIMIT), None);
        assert_eq!(find_damage(&path, Duration::ZERO), None);
    }
}
