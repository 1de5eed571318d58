//! Reads a directory of `NNN_name.up.sql` and `NNN_name.down.sql` files; whatever fits no rule is
//! a problem, never skipped.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::report::{OrProblem, Problem, quoted};

const UP: &str = ".up.sql";
const DOWN: &str = ".down.sql";

/// One migration of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The number before the first underscore.
    pub version: i64,
    pub name: String,
    /// SQL text, without a byte order mark.
    pub up: String,
    pub down: Option<String>,
    /// Of the up text, see [`checksum`].
    pub checksum: String,
    /// File name of the up text.
    pub file: String,
}

impl Migration {
    /// File name of the down text.
    pub fn down_file(&self) -> String {
        self.file.replace(UP, DOWN)
    }
}

/// Reads all migrations in `dir`, lowest version first. No directory means no migrations.
///
/// # Errors
/// `migration-files`: one line per file that cannot be used, with its remedy.
pub fn read(dir: &Path) -> Result<Vec<Migration>, Problem> {
    let mut found = BTreeMap::new();
    let mut refused = Vec::new();
    for name in list(dir)? {
        if let Err(reason) = take_file(dir, &name, &mut found) {
            refused.push(format!("{name}: {reason}"));
        }
    }
    let mut migrations = Vec::with_capacity(found.len());
    for (version, pair) in found {
        match pair.into_migration(version) {
            Ok(migration) => migrations.push(migration),
            Err(reason) => refused.push(reason),
        }
    }
    if refused.is_empty() {
        return Ok(migrations);
    }
    let title = match refused.as_slice() {
        [one] => format!("a file in {} cannot be used: {one}", dir.display()),
        several => format!("{} files in {} cannot be used", several.len(), dir.display()),
    };
    Err(Problem::new("migration-files", title)
        .detail(refused.join("\n"))
        .hint(format!("ls -l {}", quoted(dir.display()))))
}

/// Up and down file names of the migration that `migrate new NAME` makes after `last`.
pub fn template_names(last: Option<&Migration>, name: &str) -> (String, String) {
    let width = last.and_then(|last| last.file.find('_')).unwrap_or(0).max(3);
    let stem = format!("{:0width$}_{name}", last.map_or(1, |last| last.version + 1));
    (format!("{stem}{UP}"), format!("{stem}{DOWN}"))
}

/// Hex SHA-256 that a change of line endings, byte order mark or trailing blanks leaves as it is.
pub fn checksum(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches([' ', '\t'])).collect();
    crate::hex(&Sha256::digest(lines.join("\n").trim_end_matches('\n')))
}

#[derive(Default)]
struct Pair {
    up: Option<Text>,
    down: Option<Text>,
}

struct Text {
    name: String,
    file: String,
    sql: String,
}

impl Pair {
    fn into_migration(self, version: i64) -> Result<Migration, String> {
        match (self.up, self.down) {
            (Some(up), down) => {
                if let Some(down) = down.as_ref().filter(|down| down.name != up.name) {
                    return Err(format!(
                        "{}: it has the number of {}; rename it to {}{DOWN}",
                        down.file,
                        up.file,
                        up.file.trim_end_matches(UP)
                    ));
                }
                Ok(Migration {
                    version,
                    checksum: checksum(&up.sql),
                    name: up.name,
                    up: up.sql,
                    down: down.map(|down| down.sql),
                    file: up.file,
                })
            }
            (None, down) => {
                let file = down.map_or_else(String::new, |down| down.file);
                Err(format!("{file}: it has no up file; add {}{UP}", file.trim_end_matches(DOWN)))
            }
        }
    }
}

fn list(dir: &Path) -> Result<Vec<String>, Problem> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let unreadable = || format!("cannot read {}", dir.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).or_problem("migration-files", unreadable)? {
        let name = entry.or_problem("migration-files", unreadable)?.file_name();
        let name = name.to_string_lossy().into_owned();
        // A directory without migrations stays in git by such a file alone.
        if name != ".gitkeep" {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn take_file(dir: &Path, file: &str, found: &mut BTreeMap<i64, Pair>) -> Result<(), String> {
    let (stem, is_up) = match (file.strip_suffix(UP), file.strip_suffix(DOWN)) {
        (Some(stem), _) => (stem, true),
        (None, Some(stem)) => (stem, false),
        (None, None) => {
            return Err("its name is not NNN_name.up.sql or NNN_name.down.sql; rename or move it".into());
        }
    };
    let (version, name) = split_stem(stem)?;
    let sql = read_text(&dir.join(file))?;
    let pair = found.entry(version).or_default();
    let slot = if is_up { &mut pair.up } else { &mut pair.down };
    if let Some(other) = slot {
        return Err(format!("{} has the same number; give one of them the next free number", other.file));
    }
    *slot = Some(Text { name: name.to_owned(), file: file.to_owned(), sql });
    Ok(())
}

fn split_stem(stem: &str) -> Result<(i64, &str), String> {
    let (digits, name) =
        stem.split_once('_').ok_or("its name has no underscore; rename it to NNN_name.up.sql")?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its name does not begin with a number; rename it to NNN_name.up.sql".into());
    }
    if name.is_empty() {
        return Err("its name ends after the number; rename it to NNN_name.up.sql".into());
    }
    match digits.parse() {
        Ok(0) => Err("number 0 means 'before all migrations'; begin with 1".into()),
        Ok(version) => Ok((version, name)),
        Err(_) => Err("its number is too large; use at most 18 digits".into()),
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        format!("byte {} is not UTF-8; convert it with iconv -t UTF-8", error.utf8_error().valid_up_to())
    })?;
    let sql = text.trim_start_matches('\u{feff}');
    if sql.trim().is_empty() {
        return Err("it is empty; write its statements or delete it".into());
    }
    // SQLite would take a zero byte for the end of the text and skip the rest.
    if sql.contains('\0') {
        return Err("it contains a zero byte; save it as plain text".into());
    }
    Ok(sql.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        assert_eq!((found[1].name.as_str(), found[1].up.as_str()), ("b_b", "SELECT 2;"));
        assert_eq!(found[1].down.as_deref(), Some("SELECT -2;"));
        assert_eq!(found[1].down_file(), "002_b_b.down.sql");
        assert!(read(&dir.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn every_file_that_fits_no_rule_is_named_with_a_remedy() {
        let cases: [(&str, &[u8], &str); 10] = [
            ("README.md", b"x", "rename or move it"),
            ("001_users.py", b"x", "NNN_name.up.sql"),
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
        assert_eq!(template_names(found.last(), "b").0, "0042_b.up.sql");
        assert_eq!(template_names(None, "b").1, "001_b.down.sql");
    }

    proptest! {
        #[test]
        fn the_checksum_ignores_line_endings_marks_and_trailing_blanks(
            lines in prop::collection::vec("[a-z;' -]{0,12}[a-z;]", 1..8),
            ends in prop::collection::vec(("[ \t]{0,3}", prop::sample::select(vec!["\n", "\r\n", "\r"])), 8),
            mark in any::<bool>(),
            tail in "[ \r\n\t]{0,6}",
        ) {
            let plain = lines.join("\n");
            let mut other = String::from(if mark { "\u{feff}" } else { "" });
            for (number, (line, (blanks, end))) in lines.iter().zip(&ends).enumerate() {
                other.push_str(line);
                other.push_str(blanks);
                if number + 1 < lines.len() {
                    other.push_str(end);
                }
            }
            other.push_str(&tail);
            prop_assert_eq!(checksum(&plain), checksum(&other));
        }

        #[test]
        fn the_checksum_notices_every_other_change(text in "[a-z ]{1,20}x", at in 0usize..20, letter in "[A-Z]") {
            let mut other = text.clone();
            other.insert_str(at.min(text.len()), &letter);
            prop_assert_ne!(checksum(&text), checksum(&other));
        }
    }
}
