//! How the files of a release stand to the rows of a database.

use std::collections::{HashMap, HashSet};

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
    /// In the files, not applied, waiting until the release before is retired.
    pub deferred: Vec<Migration>,
    /// Squashed files of which the database has a part only.
    pub half_squashed: Vec<Migration>,
}

impl Standing {
    /// One word for the whole: `current`, `pending`, `ahead` or `inconsistent`.
    pub fn word(&self) -> &'static str {
        let faults = [&self.edited, &self.out_of_order, &self.half_squashed];
        if faults.iter().any(|list| !list.is_empty()) || !self.missing_file.is_empty() {
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
        self.check_squashed()
    }

    fn sort(&mut self) {
        for list in [&mut self.applied, &mut self.ahead, &mut self.missing_file] {
            list.sort_by_key(|applied| applied.version);
        }
        let files = [
            &mut self.pending,
            &mut self.edited,
            &mut self.out_of_order,
            &mut self.deferred,
            &mut self.half_squashed,
        ];
        for list in files {
            list.sort_by_key(|migration| migration.version);
        }
    }

    fn check_squashed(&self) -> Result<(), Problem> {
        let Some(first) = self.half_squashed.first() else { return Ok(()) };
        let title = format!("the database has only some of what {} stands for", first.file);
        let wanted: Vec<String> = first.directives.squashes.iter().map(ToString::to_string).collect();
        Err(Problem::new("migration-squashed", title)
            .detail(format!(
                "first bring it to version {} with a release from before the squash, which has the files {}",
                first.version,
                wanted.join(", ")
            ))
            .hint(format!("git log --oneline -- {}", quoted(format!("migrations/{}", first.file)))))
    }
}

/// Compares the files of a release with the rows of a database; both in any order.
pub fn compare(files: &[Migration], applied: &[Applied]) -> Standing {
    let mut standing = Standing::default();
    let newest_file = files.iter().filter_map(Migration::number).max().unwrap_or(0);
    let newest_applied = applied.iter().map(|applied| applied.version).max().unwrap_or(0);
    let rows: HashMap<i64, &Applied> = applied.iter().map(|row| (row.version, row)).collect();
    let has = |version: i64| rows.get(&version);
    let known: HashSet<i64> = files.iter().map(|migration| migration.version).collect();
    let covered: HashSet<i64> =
        files.iter().flat_map(|migration| migration.directives.squashes.iter().copied()).collect();
    for row in applied {
        let list = match row.version {
            version if known.contains(&version) => &mut standing.applied,
            version if covered.contains(&version) => &mut standing.applied,
            version if version > newest_file => &mut standing.ahead,
            _ => &mut standing.missing_file,
        };
        list.push(row.clone());
    }
    for migration in files {
        let squashes = &migration.directives.squashes;
        let part = squashes.iter().filter(|version| has(**version).is_some()).count();
        let list = match has(migration.version) {
            Some(row) if row.checksum == migration.checksum => continue,
            Some(_) if part > 1 && part == squashes.len() => continue,
            Some(_) => &mut standing.edited,
            None if part > 0 => &mut standing.half_squashed,
            None if migration.directives.after => &mut standing.deferred,
            None if migration.version < newest_applied => &mut standing.out_of_order,
            None => &mut standing.pending,
        };
        list.push(migration.clone());
    }
    standing.sort();
    standing
}

fn names<'a>(files: impl Iterator<Item = &'a str>) -> String {
    files.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Text};
    use super::*;

    fn file(version: i64) -> Migration {
        with_text(version, &format!("SELECT {version};"))
    }

    fn with_text(version: i64, text: &str) -> Migration {
        let up = Text { file: format!("{version:03}_n.up.sql"), text: text.into() };
        Migration::of_files(version, "n", Kind::Sql, up, None).unwrap()
    }

    fn row(version: i64) -> Applied {
        Applied { version, name: "n".into(), checksum: file(version).checksum, ..Applied::default() }
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
        let edited = with_text(1, "other");
        let problem = compare(&[edited], &[row(1)]).check("dev").unwrap_err();
        assert_eq!(problem.kind, "migration-edited");
    }

    #[test]
    fn what_waits_for_its_phase_is_neither_pending_nor_out_of_order() {
        let files = [file(1), with_text(2, "-- phase: after\nSELECT 2;"), file(3)];
        let found = compare(&files, &[row(1), row(3)]);
        assert_eq!((found.word(), found.deferred.len()), ("current", 1));
        found.check("dev").unwrap();
        assert_eq!(compare(&files, &[row(1)]).pending, [file(3)]);
    }

    #[test]
    fn a_squashed_file_stands_for_all_of_its_versions_or_none() {
        let squashed = with_text(3, "-- squashes: 1 2 3\nSELECT 9;");
        let files = [squashed.clone(), file(4)];
        assert_eq!(compare(&files, &[]).pending.len(), 2);
        let whole = compare(&files, &[row(1), row(2), row(3)]);
        assert_eq!((whole.word(), whole.pending.as_slice()), ("pending", &[file(4)][..]));
        let part = compare(&files, &[row(1), row(2)]);
        assert_eq!(part.check("dev").unwrap_err().kind, "migration-squashed");
        let fresh = Applied { checksum: squashed.checksum.clone(), ..row(3) };
        assert_eq!(compare(&files, &[fresh]).word(), "pending");
    }
}
