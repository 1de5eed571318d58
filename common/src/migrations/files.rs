//! Pairs of files: our own `NNN_name.up.sql` and `NNN_name.down.sql`, `NNN_name.py` with both
//! directions, and the pairs of other tools. In our own layout whatever fits no rule is a problem.

use std::collections::BTreeMap;
use std::path::Path;

use super::directory::{Reading, split_stem};
use super::{Kind, Migration, Text};

const UP: &str = ".up.sql";
const DOWN: &str = ".down.sql";

/// Which files belong to a layout of pairs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// A file that fits no rule is refused, else passed over.
    strict: bool,
    /// `NNN_name.py`.
    python: bool,
    /// `NNN_name.sql`, up only.
    single: bool,
    /// `.up.sql` and `.down.sql`.
    pairs: bool,
}

impl Rules {
    pub(super) const OWN: Self = Self { strict: true, python: true, single: false, pairs: true };
    pub(super) const PLAIN: Self = Self { strict: true, python: false, single: true, pairs: false };
    pub(super) const SQLX: Self = Self { strict: false, python: false, single: true, pairs: true };
    pub(super) const GOLANG_MIGRATE: Self = Self { strict: false, python: false, single: false, pairs: true };

    /// Stem and part of a file name; none when it belongs to nothing.
    fn part(self, file: &str) -> Option<(&str, Part)> {
        let ending = |ending, part| file.strip_suffix(ending).map(|stem| (stem, part));
        let pair = ending(UP, Part::Up).or_else(|| ending(DOWN, Part::Down)).filter(|_| self.pairs);
        pair.or_else(|| ending(".sql", Part::Up).filter(|(stem, _)| self.single && !stem.contains('.')))
            .or_else(|| ending(".py", Part::Module).filter(|_| self.python))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Up,
    Down,
    Module,
}

#[derive(Default)]
struct Pair<'a> {
    name: &'a str,
    up: Option<Text>,
    down: Option<(&'a str, Text)>,
    kind: Kind,
}

/// Reads the pairs among `names`.
pub(super) fn read_pairs(dir: &Path, names: &[String], rules: Rules, reading: &mut Reading) {
    let mut pairs: BTreeMap<i64, Pair<'_>> = BTreeMap::new();
    for file in names {
        match rules.part(file) {
            Some((stem, part)) => match split_stem(stem) {
                Ok(split) => reading
                    .text(dir, file)
                    .and_then(|text| take_file(text, file, split, part, &mut pairs))
                    .unwrap_or_else(|reason| reading.refuse(file, reason)),
                Err(reason) if rules.strict => reading.refuse(file, reason),
                Err(_) => reading.ignored.push(file.clone()),
            },
            None if rules.strict => reading.refuse(file, expected(rules)),
            None => reading.ignored.push(file.clone()),
        }
    }
    for (version, pair) in pairs {
        reading.take(pair.into_migration(version));
    }
}

fn expected(rules: Rules) -> &'static str {
    if rules.pairs {
        "its name is not NNN_name.up.sql, NNN_name.down.sql or NNN_name.py; rename or move it"
    } else {
        "its name is not NNN_name.sql; rename or move it"
    }
}

fn take_file<'a>(
    text: String,
    file: &str,
    (version, name): (i64, &'a str),
    part: Part,
    pairs: &mut BTreeMap<i64, Pair<'a>>,
) -> Result<(), String> {
    let text = Text { file: file.to_owned(), text };
    let pair = pairs.entry(version).or_default();
    let taken = match part {
        Part::Down => pair.down.as_ref().map(|(_, other)| other),
        Part::Up | Part::Module => pair.up.as_ref(),
    };
    if let Some(other) = taken {
        return Err(format!("{} has the same number; give one of them the next free number", other.file));
    }
    match part {
        Part::Up => (pair.name, pair.up) = (name, Some(text)),
        Part::Down => pair.down = Some((name, text)),
        Part::Module => {
            pair.kind = Kind::Python;
            pair.down = has_down(&text.text).then(|| (name, text.clone()));
            (pair.name, pair.up) = (name, Some(text));
        }
    }
    Ok(())
}

/// Whether a module defines `down`; what it does with it is Python's to say.
fn has_down(module: &str) -> bool {
    let defines = |line: &str| {
        line.strip_prefix("def down").is_some_and(|rest| rest.trim_start().starts_with('('))
            || line.strip_prefix("down").is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    module.lines().any(defines)
}

impl Pair<'_> {
    fn into_migration(self, version: i64) -> Result<Migration, String> {
        let Some(up) = self.up else {
            let file = self.down.map_or_else(String::new, |(_, down)| down.file);
            return Err(format!("{file}: it has no up file; add {}{UP}", file.trim_end_matches(DOWN)));
        };
        if let Some((_, down)) = self.down.as_ref().filter(|(name, _)| *name != self.name) {
            let stem = up.file.trim_end_matches(UP);
            return Err(format!(
                "{}: it has the number of {}; rename it to {stem}{DOWN}",
                down.file, up.file
            ));
        }
        Migration::of_files(version, self.name, self.kind, up, self.down.map(|(_, down)| down))
    }
}

/// `NNN_name` of the migration that follows `last`.
pub fn template_stem(last: Option<&Migration>, name: &str) -> String {
    let width = last.and_then(|last| last.file.find('_')).unwrap_or(0).max(3);
    format!("{:0width$}_{name}", last.map_or(1, |last| last.version + 1))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::directory::list;
    use super::*;

    fn read(dir: &Path) -> Result<Vec<Migration>, crate::report::Problem> {
        let mut reading = Reading::default();
        read_pairs(dir, &list(dir)?, Rules::OWN, &mut reading);
        reading.finish(dir).map(|(found, _)| found)
    }

    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    #[test]
    fn versions_are_numbers_in_natural_order() {
        let dir = directory(&[
            ("10_c.up.sql", b"SELECT 3;"),
            ("002_b_b.up.sql", b"\xef\xbb\xbfSELECT 2;"),
            ("002_b_b.down.sql", b"SELECT -2;"),
            ("1_a.up.sql", b"SELECT 1;"),
            (".gitkeep", b""),
        ]);
        let found = read(dir.path()).unwrap();
        let versions: Vec<_> = found.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, [1, 2, 10]);
        assert_eq!((found[1].name.as_str(), &*found[1].up), ("b_b", "SELECT 2;"));
        assert_eq!(found[1].down.as_deref(), Some("SELECT -2;"));
        assert_eq!(found[1].down_file, "002_b_b.down.sql");
        assert!(read(&dir.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn every_file_that_fits_no_rule_is_named_with_a_remedy() {
        let cases: [(&str, &[u8], &str); 10] = [
            ("README.md", b"x", "rename or move it"),
            ("001_users.txt", b"x", "NNN_name.up.sql"),
            ("x_users.up.sql", b"x", "does not begin with a number"),
            ("001.up.sql", b"x", "no underscore"),
            ("001_.up.sql", b"x", "ends after the number"),
            ("000_a.up.sql", b"x", "begin with 1"),
            ("99999999999999999999_a.up.sql", b"x", "too large"),
            ("001_a.up.sql", b" \r\n\t", "it is empty"),
            ("001_a.up.sql", b"a\xffb", "byte 1 is not UTF-8"),
            ("001_a.up.sql", b"a\0b", "zero byte"),
        ];
        for (name, bytes, remedy) in cases {
            let problem = read(directory(&[(name, bytes)]).path()).unwrap_err();
            assert_eq!(problem.kind, "migration-files");
            assert!(problem.title.contains(name) && problem.title.contains(remedy), "{problem}");
            assert!(problem.hint.is_some());
        }
    }

    #[test]
    fn python_files_hold_both_directions_and_stand_beside_sql() {
        let python = "def up(db):\n    pass\n\n\ndef down(db):\n    pass\n";
        let dir = directory(&[("001_a.py", python.as_bytes()), ("002_b.up.sql", b"SELECT 1;")]);
        let found = read(dir.path()).unwrap();
        assert_eq!((found[0].kind, found[0].down.as_deref()), (Kind::Python, Some(python)));
        assert_eq!(found[1].kind, Kind::Sql);
        let up_only = directory(&[("001_a.py", b"def up(db): pass")]);
        assert_eq!(read(up_only.path()).unwrap()[0].down, None);
        let both = directory(&[("001_a.py", b"def up(db): pass"), ("001_a.up.sql", b"SELECT 1")]);
        assert!(read(both.path()).unwrap_err().title.contains("has the same number"));
    }

    #[test]
    fn numbers_taken_twice_and_downs_without_an_up_are_refused() {
        let dir = directory(&[("1_a.up.sql", b"x"), ("01_b.up.sql", b"x"), ("2_c.down.sql", b"x")]);
        let problem = read(dir.path()).unwrap_err();
        assert!(problem.title.starts_with("2 files in"), "{problem}");
        let detail = problem.detail.unwrap();
        assert!(detail.contains("1_a.up.sql: 01_b.up.sql has the same number"), "{detail}");
        assert!(detail.contains("2_c.down.sql: it has no up file; add 2_c.up.sql"), "{detail}");
        let other = read(directory(&[("1_a.up.sql", b"x"), ("1_b.down.sql", b"x")]).path()).unwrap_err();
        assert!(other.title.contains("rename it to 1_a.down.sql"), "{other}");
    }

    #[test]
    fn the_next_template_continues_number_and_width() {
        let dir = directory(&[("0041_a.up.sql", b"x")]);
        let found = read(dir.path()).unwrap();
        assert_eq!(template_stem(found.last(), "b"), "0042_b");
        assert_eq!(template_stem(None, "b"), "001_b");
    }
}
