//! How the files of a release stand to the rows of a database.

use super::{Applied, Migration};
use crate::report::{Problem, quoted};

/// The outcome of the comparison; every list is in the order of versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Applied and in the files, unedited or not.
    pub applied: Vec<Applied>,
    /// In the files, not applied, newer than everything applied.
    pub pending: Vec<Migration>,
    /// Applied with another text than the file has now.
    pub edited: Vec<Migration>,
    /// Applied and newer than every file: the database is ahead of the release, which is legal
    /// after a rollback that kept the schema.
    pub ahead: Vec<Applied>,
    /// Applied, without a file, although the release has newer files.
    pub missing_file: Vec<Applied>,
    /// In the files, not applied, older than something applied.
    pub out_of_order: Vec<Migration>,
}

impl Standing {
    /// One word for the whole: `current`, `pending`, `ahead` or `inconsistent`.
    pub fn word(&self) -> &'static str {
        if !(self.edited.is_empty() && self.missing_file.is_empty() && self.out_of_order.is_empty()) {
            "inconsistent"
        } else if !self.pending.is_empty() {
            "pending"
        } else if self.ahead.is_empty() {
            "current"
        } else {
            "ahead"
        }
    }

    /// Refuses what must not be built upon; `environment` is for the hint.
    ///
    /// # Errors
    /// `migration-edited`, `migration-missing`, `migration-out-of-order`.
    pub fn check(&self, environment: &str) -> Result<(), Problem> {
        if let Some(first) = self.edited.first() {
            return Err(Problem::new(
                "migration-edited",
                format!("{} was edited after it was applied", first.file),
            )
            .detail(format!(
                "{}; restore the file and put the change into a new migration",
                names(self.edited.iter().map(|migration| migration.file.as_str()))
            ))
            .hint(format!("git log -p -- {}", quoted(format!("migrations/{}", first.file)))));
        }
        if let Some(first) = self.missing_file.first() {
            let title =
                format!("migration {}_{} is applied, but its file is gone", first.version, first.name);
            return Err(Problem::new("migration-missing", title)
                .detail(format!(
                    "newer files exist; bring the file back, or undo it: migrate {environment} down --to {}",
                    first.version - 1
                ))
                .hint(format!(
                    "git log --all -- {}",
                    quoted(format!("migrations/*{}_{}.up.sql", first.version, first.name))
                )));
        }
        if let Some(first) = self.out_of_order.first() {
            let newest =
                self.applied.iter().chain(&self.ahead).map(|applied| applied.version).max().unwrap_or(0);
            let title = format!("{} is older than what is applied", first.file);
            return Err(Problem::new("migration-out-of-order", title)
                .detail(format!(
                    "{}; version {newest} is applied already: give it the next free number",
                    names(self.out_of_order.iter().map(|migration| migration.file.as_str()))
                ))
                .hint(format!("migrate new {}   # then move the statements there", quoted(&first.name))));
        }
        Ok(())
    }
}

/// Compares the files of a release with the rows of a database; both in any order.
pub fn compare(files: &[Migration], applied: &[Applied]) -> Standing {
    let mut standing = Standing::default();
    let newest_file = files.iter().map(|migration| migration.version).max().unwrap_or(0);
    let newest_applied = applied.iter().map(|applied| applied.version).max().unwrap_or(0);
    for row in applied {
        let list = match files.iter().find(|migration| migration.version == row.version) {
            Some(_) => &mut standing.applied,
            None if row.version > newest_file => &mut standing.ahead,
            None => &mut standing.missing_file,
        };
        list.push(row.clone());
    }
    for migration in files {
        let list = match applied.iter().find(|row| row.version == migration.version) {
            Some(row) if row.checksum == migration.checksum => continue,
            Some(_) => &mut standing.edited,
            None if migration.version < newest_applied => &mut standing.out_of_order,
            None => &mut standing.pending,
        };
        list.push(migration.clone());
    }
    for list in [&mut standing.applied, &mut standing.ahead, &mut standing.missing_file] {
        list.sort_by_key(|applied| applied.version);
    }
    for list in [&mut standing.pending, &mut standing.edited, &mut standing.out_of_order] {
        list.sort_by_key(|migration| migration.version);
    }
    standing
}

fn names<'a>(files: impl Iterator<Item = &'a str>) -> String {
    files.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::checksum;
    use super::*;

    fn file(version: i64) -> Migration {
        let up = format!("SELECT {version};");
        Migration {
            version,
            name: "n".into(),
            checksum: checksum(&up),
            up,
            down: None,
            file: format!("{version:03}_n.up.sql"),
        }
    }

    fn row(version: i64) -> Applied {
        Applied {
            version,
            name: "n".into(),
            checksum: file(version).checksum,
            down: None,
            applied_at: String::new(),
            duration_ms: 0,
            deployment: None,
            tool_version: String::new(),
        }
    }

    fn standing(files: &[i64], applied: &[i64]) -> Standing {
        let files: Vec<_> = files.iter().map(|version| file(*version)).collect();
        let applied: Vec<_> = applied.iter().map(|version| row(*version)).collect();
        compare(&files, &applied)
    }

    #[test]
    fn the_four_standings() {
        for (files, applied, word) in [
            (&[][..], &[][..], "current"),
            (&[1, 2], &[1, 2], "current"),
            (&[2, 1, 3], &[1], "pending"),
            (&[1], &[1, 2, 3], "ahead"),
            (&[], &[1], "ahead"),
        ] {
            let found = standing(files, applied);
            assert_eq!(found.word(), word, "{files:?} {applied:?}");
            found.check("dev").unwrap();
        }
        assert_eq!(standing(&[2, 1, 3], &[1]).pending, [file(2), file(3)]);
    }

    #[test]
    fn what_must_not_be_built_upon_is_named() {
        for (files, applied, kind) in [
            (&[1, 3][..], &[1, 2][..], "migration-missing"),
            (&[1, 2], &[2], "migration-out-of-order"),
            (&[1, 2], &[1, 5], "migration-out-of-order"),
        ] {
            let found = standing(files, applied);
            assert_eq!(found.word(), "inconsistent");
            let problem = found.check("dev").unwrap_err();
            assert_eq!(problem.kind, kind, "{files:?} {applied:?}");
            assert!(problem.hint.is_some());
        }
        let edited = Migration { checksum: checksum("other"), ..file(1) };
        let problem = compare(&[edited], &[row(1)]).check("dev").unwrap_err();
        assert_eq!(problem.kind, "migration-edited");
    }
}
