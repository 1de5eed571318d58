//! A directory of migrations while it is read: its names, its texts, and what cannot be used.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};

use super::Migration;
use crate::report::{OrProblem, Problem, quoted};

/// Most files are no larger.
const USUAL_BYTES: usize = 8 * 1024;
const LARGE_BYTES: u64 = 1024 * 1024;

/// What was read so far; every refusal is kept, so that one run names them all.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) found: Vec<Migration>,
    pub(super) refused: Vec<String>,
    /// Files that the layout's own tool passes over as well.
    pub(super) ignored: Vec<String>,
    texts: Texts,
}

/// Texts of files by their names, or why there is none.
pub(super) type Texts = HashMap<String, Result<String, String>>;

impl Reading {
    pub(super) fn with(texts: Texts) -> Self {
        Self { texts, ..Self::default() }
    }

    /// The text of a file in `dir`, from the disk where it was not read ahead.
    pub(super) fn text(&mut self, dir: &Path, file: &str) -> Result<String, String> {
        self.texts.remove(file).unwrap_or_else(|| read_text(&dir.join(file)))
    }

    pub(super) fn refuse(&mut self, file: &str, reason: impl AsRef<str>) {
        self.refused.push(format!("{file}: {}", reason.as_ref()));
    }

    pub(super) fn take(&mut self, migration: Result<Migration, String>) {
        match migration {
            Ok(migration) => self.found.push(migration),
            Err(reason) => self.refused.push(reason),
        }
    }

    /// Lowest version first, each once.
    ///
    /// # Errors
    /// `migration-files`: one line per file that cannot be used, with its remedy.
    pub(super) fn finish(mut self, dir: &Path) -> Result<(Vec<Migration>, Vec<String>), Problem> {
        self.found.sort_by_key(|migration| migration.version);
        for pair in self.found.windows(2).filter(|pair| pair[0].version == pair[1].version) {
            self.refused.push(format!(
                "{}: {} has the same number; give one of them the next free number",
                pair[1].file, pair[0].file
            ));
        }
        let title = match self.refused.as_slice() {
            [] => return Ok((self.found, self.ignored)),
            [one] => format!("a file in {} cannot be used: {one}", dir.display()),
            several => format!("{} files in {} cannot be used", several.len(), dir.display()),
        };
        Err(Problem::new("migration-files", title)
            .detail(self.refused.join("\n"))
            .hint(format!("ls -l {}", quoted(dir.display()))))
    }
}

/// Names in `dir`, sorted; none when there is no such directory.
pub(super) fn list(dir: &Path) -> Result<Vec<String>, Problem> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let unreadable = || format!("cannot read {}", dir.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).or_problem("migration-files", unreadable)? {
        let name = entry.or_problem("migration-files", unreadable)?.file_name();
        let name = name.to_string_lossy().into_owned();
        // A directory without migrations stays in git by such a file alone; Python leaves the other.
        if name != ".gitkeep" && name != "__pycache__" {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The texts of those that begin with a number: whatever the layout is, they will be needed. Not of
/// large ones, which may be something else, and which [`Reading::text`] reads where they are not.
pub(super) fn read_ahead(dir: &Path, names: &[String]) -> Texts {
    let is_text = |name: &&String| {
        name.starts_with(|first: char| first.is_ascii_digit())
            && (ends_in(name, "sql") || ends_in(name, "py"))
    };
    let Ok(dir) = File::open(dir) else { return Texts::new() };
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    let mut read = |name: &String| {
        bytes.clear();
        // A pipe that nobody writes to would keep us for ever.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = openat(&dir, name.as_str(), flags, Mode::empty());
        // Whoever takes a part does not ask for the size first: there are thousands.
        let read = opened
            .map_err(io::Error::from)
            .and_then(|file| File::from(file).take(LARGE_BYTES).read_to_end(&mut bytes));
        let is_whole = (bytes.len() as u64) < LARGE_BYTES;
        is_whole.then(|| (name.clone(), text_of(read.map(|_| bytes.as_slice()))))
    };
    names.iter().filter(is_text).filter_map(&mut read).collect()
}

/// The text of a file, which must hold something.
pub(super) fn read_text(path: &Path) -> Result<String, String> {
    text_of(fs::read(path).as_deref())
}

fn text_of<E: Display>(bytes: Result<&[u8], E>) -> Result<String, String> {
    let bytes = bytes.map_err(|error| format!("cannot be read: {error}"))?;
    let text = str::from_utf8(bytes).map_err(|error| {
        format!("byte {} is not UTF-8; convert it with iconv -t UTF-8", error.valid_up_to())
    })?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err("it is empty; write its statements or delete it".into());
    }
    // SQLite would take a zero byte for the end of the text and skip the rest.
    if text.contains('\0') {
        return Err("it contains a zero byte; save it as plain text".into());
    }
    Ok(text.to_owned())
}

/// Whether `ending` is what stands behind the last dot of a name.
pub(super) fn ends_in(file: &str, ending: &str) -> bool {
    Path::new(file).extension().is_some_and(|found| found == ending)
}

/// The number that a name begins with.
pub(super) fn number(digits: &str) -> Result<i64, String> {
    match digits.parse() {
        Ok(0) => Err("number 0 means 'before all migrations'; begin with 1".into()),
        Ok(version) => Ok(version),
        Err(_) => Err("its number is too large; use at most 18 digits".into()),
    }
}

/// `001_name` in two.
pub(super) fn split_stem(stem: &str) -> Result<(i64, &str), String> {
    let (digits, name) =
        stem.split_once('_').ok_or("its name has no underscore; rename it to NNN_name.up.sql")?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its name does not begin with a number; rename it to NNN_name.up.sql".into());
    }
    if name.is_empty() {
        return Err("its name ends after the number; rename it to NNN_name.up.sql".into());
    }
    Ok((number(digits)?, name))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, mkfifoat};

    use super::*;

    #[test]
    fn neither_a_pipe_nor_a_large_file_is_waited_for_or_kept() {
        let dir = tempfile::tempdir().unwrap();
        let large = "-".repeat(2 << 20);
        fs::write(dir.path().join("1_small.sql"), "SELECT 1;").unwrap();
        fs::write(dir.path().join("2_large.sql"), &large).unwrap();
        mkfifoat(CWD, dir.path().join("3_pipe.sql"), Mode::RWXU).unwrap();
        let mut texts = read_ahead(dir.path(), &list(dir.path()).unwrap());
        assert_eq!(texts.remove("1_small.sql"), Some(Ok("SELECT 1;".into())));
        assert!(texts.remove("3_pipe.sql").unwrap().unwrap_err().contains("empty"));
        assert!(texts.is_empty());
        assert_eq!(Reading::with(texts).text(dir.path(), "2_large.sql"), Ok(large));
    }
}
