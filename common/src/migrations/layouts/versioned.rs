//! refinery and flyway: `V1__name.sql`, looked for in all directories below. What only flyway knows,
//! repeatable and baseline migrations, is chosen by its history.

use std::path::Path;

use walkdir::WalkDir;

use super::flyway::{self, History, pack};
use super::{Text, migration};
use crate::migrations::directory::{Reading, number, read_text};
use crate::migrations::migration::{Migration, REPEATABLE};

/// What tells the two apart.
#[derive(Clone, Copy)]
pub(super) enum Tool<'a> {
    Refinery,
    Flyway(&'a History),
}

struct Name<'a> {
    letter: char,
    version: &'a str,
    title: &'a str,
    ending: &'a str,
}

fn parse(file: &str) -> Option<Name<'_>> {
    let base = file.rsplit('/').next().unwrap_or(file);
    let letter = base.chars().next().filter(|letter| "VURB".contains(*letter))?;
    let (version, rest) = base[1..].split_once("__")?;
    let (title, ending) = rest.split_once('.')?;
    let is_version = |c: char| c.is_ascii_digit() || c == '.' || c == '_';
    let fits = version.chars().all(is_version) && version.is_empty() == (letter == 'R');
    fits.then_some(Name { letter, version, title, ending })
}

pub(super) fn is_name(file: &str) -> bool {
    parse(file).is_some()
}

/// Whether only flyway knows such a file.
pub(super) fn is_flyway_only(file: &str) -> bool {
    parse(file).is_some_and(|name| {
        matches!(name.letter, 'R' | 'B')
            || name.version.contains(['.', '_'])
            || ["java", "kt", "sql.conf"].contains(&name.ending)
    })
}

pub(super) fn read(dir: &Path, tool: Tool<'_>, reading: &mut Reading) {
    let mut files: Vec<String> = WalkDir::new(dir)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| Some(entry.path().strip_prefix(dir).ok()?.to_string_lossy().into_owned()))
        .collect();
    // Those without a version run in the order of their titles.
    files.sort_by_cached_key(|file| (parse(file).map(|name| name.title.to_owned()), file.clone()));
    let folder = Folder { dir, tool, baseline: tool.baseline(&files), files: &files };
    for (place, file) in (0..).zip(&files) {
        match parse(file) {
            Some(name) if folder.passes_over(file, &name, reading) => {}
            Some(name) => folder.read_one(place, file, &name, reading),
            None if matches!(tool, Tool::Flyway(_)) && flyway::is_callback(file) => {
                reading.refuse(
                    file,
                    "it is a callback, which flyway runs each time; what it makes belongs into a repeatable migration, R__name.sql",
                );
            }
            None => reading.ignored.push(file.clone()),
        }
    }
}

impl Tool<'_> {
    /// The version up to which one file stands for all.
    fn baseline(self, files: &[String]) -> Option<i64> {
        let Self::Flyway(history) = self else { return None };
        let names = files.iter().filter_map(|file| parse(file));
        let known = names.filter(|name| name.letter == 'B' && name.ending == "sql");
        let mut versions = known.filter_map(|name| pack(&name.version.replace('_', ".")).ok());
        if history.has_begun {
            versions.find(|version| history.baseline == Some(*version))
        } else {
            versions.max()
        }
    }
}

/// A directory with all files below it.
struct Folder<'a> {
    dir: &'a Path,
    tool: Tool<'a>,
    baseline: Option<i64>,
    files: &'a [String],
}

impl Folder<'_> {
    /// Whether flyway itself would not run the file: it belongs to another one, or its time is over.
    fn passes_over(&self, file: &str, name: &Name<'_>, reading: &mut Reading) -> bool {
        let Tool::Flyway(history) = self.tool else { return false };
        let version = || pack(&name.version.replace('_', ".")).ok();
        match (name.letter, name.ending) {
            ('U', "sql") | (_, "sql.conf") => true,
            ('B', "sql") if version().is_some() && version() != self.baseline => {
                reading.ignored.push(file.to_owned());
                true
            }
            ('V', "sql") => {
                version().is_some_and(|version| self.baseline.is_some_and(|last| version <= last))
            }
            ('R', "sql") => {
                read_text(&self.dir.join(file)).is_ok_and(|text| history.has_run(name.title, &text))
            }
            _ => false,
        }
    }

    fn read_one(&self, place: i64, file: &str, name: &Name<'_>, reading: &mut Reading) {
        if let Some(reason) = objection(self.tool, name) {
            return reading.refuse(file, reason);
        }
        let made = match self.tool {
            Tool::Refinery => self.read_refinery(file, name),
            Tool::Flyway(_) => self.read_flyway(place, file, name),
        };
        reading.take(made.map_err(|reason| format!("{file}: {reason}")));
    }

    fn read_refinery(&self, file: &str, name: &Name<'_>) -> Result<Migration, String> {
        let text = read_text(&self.dir.join(file))?;
        let version = number(name.version)?;
        let original = Text { file: file.to_owned(), text: text.clone() };
        migration((version, version.to_string(), name.title), original, text, None)
    }

    fn read_flyway(&self, place: i64, file: &str, name: &Name<'_>) -> Result<Migration, String> {
        let text = flyway::read(&self.dir.join(file))?;
        let label = name.version.replace('_', ".");
        let version = if name.letter == 'R' { REPEATABLE + place } else { pack(&label)? };
        let repeats = |other: &str| {
            parse(other).is_some_and(|other| {
                other.letter == 'R' && other.ending == "sql" && other.title == name.title
            })
        };
        if name.letter == 'R' && self.files.iter().filter(|other| repeats(other)).count() > 1 {
            return Err("another repeatable migration has the same title; rename one of them".into());
        }
        let original = Text { file: file.to_owned(), text: text.clone() };
        let mut made = migration((version, label, name.title), original, text, self.undo(name)?)?;
        made.directives.no_transaction |= flyway::outside(&self.dir.join(format!("{file}.conf")))?;
        if made.is_repeatable() && made.directives.no_transaction {
            return Err("it is repeatable and not in a transaction; make it a versioned migration".into());
        }
        Ok(made)
    }

    fn undo(&self, name: &Name<'_>) -> Result<Option<Text>, String> {
        let undoes =
            |other: Name<'_>| other.letter == 'U' && other.version == name.version && other.ending == "sql";
        let found = self.files.iter().find(|file| name.letter == 'V' && parse(file).is_some_and(undoes));
        found
            .map(|file| Ok(Text { file: file.clone(), text: flyway::read(&self.dir.join(file))? }))
            .transpose()
    }
}

fn objection(tool: Tool<'_>, name: &Name<'_>) -> Option<&'static str> {
    match (name.letter, name.ending) {
        (_, "rs" | "java" | "kt" | "class" | "py" | "sh" | "ps1") => {
            Some("it is compiled into the app or a program, which alone can run it; write it in SQL")
        }
        ('R' | 'B', _) if matches!(tool, Tool::Refinery) => {
            Some("refinery has no such files, flyway has: say whose they are in migrate.toml")
        }
        (_, "sql") if matches!(tool, Tool::Refinery) && name.version.contains(['.', '_']) => {
            Some("its number is not whole; rename it")
        }
        (_, "sql") => None,
        _ => Some("its ending is not .sql; move it away"),
    }
}
