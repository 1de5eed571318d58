//! What only flyway knows: dotted versions, its checksum, its history, callbacks and configuration
//! beside a file.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::Connection;

use crate::migrations::directory::read_text;
use crate::migrations::migration::REPEATABLE;
use crate::migrations::read_applied;
use crate::report::{OrProblem, Problem};

/// The parts of a dotted version are packed into one number: room for the second and the third.
const ROOM: [i64; 2] = [1000, 100];

/// What flyway's table says beside the versions that are applied.
#[derive(Debug, Default)]
pub(in crate::migrations) struct History {
    /// Something was applied already: a baseline comes too late.
    pub(super) has_begun: bool,
    /// The version of the baseline migration that began it.
    pub(super) baseline: Option<i64>,
    /// The newest checksum of each repeatable migration, by its title.
    repeated: HashMap<String, Option<i64>>,
}

impl History {
    /// # Errors
    /// `database-unreadable`, `tracking-table-foreign`.
    pub(in crate::migrations) fn read(db: &Connection, table: &str) -> Result<Self, Problem> {
        let mut history = Self { has_begun: !read_applied(db)?.is_empty(), ..Self::default() };
        history
            .read_table(db, table)
            .or_problem("database-unreadable", || format!("cannot read the table {table} of flyway"))?;
        Ok(history)
    }

    fn read_table(&mut self, db: &Connection, table: &str) -> rusqlite::Result<()> {
        let exists = "SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND name = ?1";
        if db.query_row(exists, [table], |row| row.get::<_, i64>(0))? == 0 {
            return Ok(());
        }
        let mut list = db.prepare(&format!(
            "SELECT version, description, type, checksum FROM \"{}\" WHERE success ORDER BY installed_rank",
            table.replace('"', "\"\"")
        ))?;
        let mut rows = list.query([])?;
        while let Some(row) = rows.next()? {
            let (version, kind): (Option<String>, String) = (row.get(0)?, row.get(2)?);
            if let Some(version) = version {
                self.has_begun = true;
                let version = pack(&version.replace('_', ".")).ok();
                self.baseline = version.filter(|_| kind == "SQL_BASELINE").or(self.baseline);
            } else {
                let noted: Option<i64> = row.get(3)?;
                self.repeated.insert(row.get(1)?, noted.filter(|_| kind == "SQL"));
            }
        }
        Ok(())
    }

    /// Whether a repeatable migration has run with this very text.
    pub(super) fn has_run(&self, title: &str, text: &str) -> bool {
        let noted = self.repeated.get(&title.replace('_', " ")).copied().flatten();
        noted == Some(i64::from(checksum(text)))
    }
}

/// What flyway notes of a file: the lines without their ends, as a signed number.
pub fn checksum(text: &str) -> i32 {
    let mut hasher = crc32fast::Hasher::new();
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let lines = text.strip_suffix('\n').unwrap_or(&text);
    for line in lines.split('\n') {
        hasher.update(line.as_bytes());
    }
    hasher.finalize().cast_signed()
}

/// Whether flyway runs the file at a certain moment of applying, by its name alone; those of its
/// other commands have no such moment here.
pub(super) fn is_callback(file: &str) -> bool {
    let base = file.rsplit('/').next().unwrap_or(file);
    let event = base.split(['.', '_']).next().unwrap_or(base);
    let moment = event.strip_prefix("before").or_else(|| event.strip_prefix("after"));
    let applies = |moment: &str| {
        let subjects = ["Migrate", "EachMigrate", "Versioned", "Repeatables", "Connect"];
        subjects.iter().any(|subject| moment.starts_with(subject)) && !moment.ends_with("Error")
    };
    moment.map_or(event == "createSchema", applies)
}

/// The text of a file that flyway would not have to fill in first.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let text = read_text(path)?;
    if text.contains("${") {
        return Err("it has a placeholder '${…}', which only flyway fills in; write the value into it".into());
    }
    Ok(text)
}

/// `1.2` as one number that sorts as flyway does.
pub(super) fn pack(label: &str) -> Result<i64, String> {
    let parts: Vec<&str> = label.split('.').collect();
    if parts.len() > 3 {
        return Err("its version has more than three parts; rename it".into());
    }
    let part = |at: usize| {
        parts
            .get(at)
            .map_or(Ok(0), |part| part.parse::<i64>())
            .map_err(|_| "its version is no number".to_owned())
    };
    let mut packed = part(0)?;
    for (at, room) in (1..).zip(ROOM) {
        let part = part(at)?;
        if part >= room {
            return Err(format!("part {} of its version is above {}; rename it", at + 1, room - 1));
        }
        let next = packed.checked_mul(room).and_then(|packed| packed.checked_add(part));
        packed = next.ok_or("its number is too large")?;
    }
    match packed {
        0 => Err("number 0 means 'before all migrations'; begin with 1".into()),
        REPEATABLE.. => Err("its number is too large".into()),
        _ => Ok(packed),
    }
}

/// Whether the configuration beside a file takes it out of the transaction.
pub(super) fn outside(conf: &Path) -> Result<bool, String> {
    if !conf.exists() {
        return Ok(false);
    }
    let text = std::fs::read_to_string(conf).map_err(|error| format!("its .conf: {error}"))?;
    let mut outside = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("executeInTransaction", value)) => outside = value == "false",
            _ => return Err(format!("its .conf has '{line}', which only flyway knows")),
        }
    }
    Ok(outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_endings_and_marks_do_not_change_the_checksum() {
        assert_eq!(checksum("SELECT 1;\nSELECT 2;\n"), checksum("\u{feff}SELECT 1;\r\nSELECT 2;"));
        // zlib.crc32(b"SELECT 1;SELECT 2;") as a signed number.
        assert_eq!(checksum("SELECT 1;\nSELECT 2;"), -1_665_099_012);
    }

    #[test]
    fn callbacks_are_known_by_the_moment_that_they_are_meant_for() {
        for file in [
            "afterMigrate.sql",
            "sub/beforeEachMigrate__log.sql",
            "afterVersioned.sql",
            "createSchema.sql",
            "afterMigrateApplied.sql",
        ] {
            assert!(is_callback(file), "{file}");
        }
        for file in [
            "afterClean.sql",
            "beforeValidate.sql",
            "afterMigrateError.sql",
            "before.sql",
            "README.md",
            "beforehand.sql",
        ] {
            assert!(!is_callback(file), "{file}");
        }
    }
}
