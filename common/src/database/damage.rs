//! Whether a database is damaged: looked for in bounded time, beside its writers. What the app's
//! own rules forbid (a NULL, a CHECK) is no damage.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// Steps of `SQLite`'s machine between two looks at the clock.
const STEPS: i32 = 10_000;
/// What a finding about the tree of pages begins with; others are about rows or unused pages.
const TREE: &str = "Tree ";

/// The first damage that is found within `limit`, in `SQLite`'s words.
pub fn find_damage(path: &Path, limit: Duration) -> Option<String> {
    match look(path, limit) {
        Ok(findings) => findings.lines().find(|line| line.starts_with(TREE)).map(str::to_owned),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Some(error.to_string()),
            _ => None,
        },
    }
}

fn look(path: &Path, limit: Duration) -> rusqlite::Result<String> {
    let mut db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let end = Instant::now() + limit;
    db.progress_handler(STEPS, Some(move || Instant::now() > end))?;
    let mut check = db.prepare("PRAGMA quick_check(10)")?;
    let mut rows = check.query([])?;
    let mut findings = String::new();
    while let Some(row) = rows.next()? {
        findings.push_str(&row.get::<_, String>(0)?);
        findings.push('\n');
    }
    Ok(findings)
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
