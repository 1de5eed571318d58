//! refinery and flyway: `V1__name.sql`, looked for in all directories below.

use std::path::Path;

use walkdir::WalkDir;

use super::{Text, migration};
use crate::migrations::directory::{Reading, number, read_text};

/// What tells the two apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Refinery,
    Flyway,
}

pub(super) const REFINERY: Tool = Tool::Refinery;
pub(super) const FLYWAY: Tool = Tool::Flyway;

/// flyway runs them at certain moments by their name alone.
const CALLBACKS: [&str; 8] = [
    "beforeMigrate",
    "afterMigrate",
    "beforeEach",
    "afterEach",
    "beforeVersioned",
    "afterVersioned",
    "beforeConnect",
    "createSchema",
];
/// The parts of a dotted version are packed into one number: room for the second and the third.
const ROOM: [i64; 2] = [1000, 100];

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

pub(super) fn read(dir: &Path, tool: Tool, reading: &mut Reading) {
    let mut files: Vec<String> = WalkDir::new(dir)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| Some(entry.path().strip_prefix(dir).ok()?.to_string_lossy().into_owned()))
        .collect();
    files.sort();
    let undo = |version: &str| {
        let same = |name: &Name<'_>| name.letter == 'U' && name.version == version && name.ending == "sql";
        files.iter().find(|file| parse(file).is_some_and(|name| same(&name)))
    };
    for file in &files {
        match parse(file) {
            Some(name) if tool == Tool::Flyway && name.letter == 'U' && name.ending == "sql" => {}
            Some(name) if tool == Tool::Flyway && name.ending == "sql.conf" => {}
            Some(name) => read_one(dir, tool, (file, &name), undo(name.version), reading),
            None if CALLBACKS.iter().any(|callback| file.contains(callback)) => {
                reading
                    .refuse(file, "it is a callback, which only flyway runs; make it a versioned migration");
            }
            None => reading.ignored.push(file.clone()),
        }
    }
}

fn read_one(
    dir: &Path,
    tool: Tool,
    (file, name): (&String, &Name<'_>),
    undo: Option<&String>,
    reading: &mut Reading,
) {
    if let Some(reason) = objection(tool, name) {
        return reading.refuse(file, reason);
    }
    let made = || {
        let text = checked(tool, &dir.join(file))?;
        let undo = undo.filter(|_| tool == Tool::Flyway);
        let down =
            undo.map(|file| checked(tool, &dir.join(file)).map(|text| Text { file: file.clone(), text }));
        let label = name.version.replace('_', ".");
        let version = if tool == Tool::Flyway { pack(&label)? } else { number(name.version)? };
        let original = Text { file: file.clone(), text: text.clone() };
        let label = if tool == Tool::Flyway { label } else { version.to_string() };
        let mut made = migration((version, label, name.title), original, text, down.transpose()?)?;
        if tool == Tool::Flyway {
            made.directives.no_transaction |= outside(&dir.join(format!("{file}.conf")))?;
        }
        Ok(made)
    };
    reading.take(made().map_err(|reason: String| format!("{file}: {reason}")));
}

fn objection(tool: Tool, name: &Name<'_>) -> Option<&'static str> {
    match (name.letter, name.ending) {
        (_, "rs" | "java" | "kt" | "class" | "py" | "sh" | "ps1") => {
            Some("it is compiled into the app or a program, which alone can run it; write it in SQL")
        }
        ('R', _) => {
            Some("it is repeatable: flyway runs it whenever it changes; make it a versioned migration")
        }
        ('B', _) => Some(
            "it is a baseline migration of flyway; record it with `migrate ENV baseline`, and move it away",
        ),
        (_, "sql") if tool == Tool::Refinery && name.version.contains(['.', '_']) => {
            Some("its number is not whole; rename it")
        }
        (_, "sql") => None,
        _ => Some("its ending is not .sql; move it away"),
    }
}

fn checked(tool: Tool, path: &Path) -> Result<String, String> {
    let text = read_text(path)?;
    if tool == Tool::Flyway && text.contains("${") {
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
    if packed == 0 { Err("number 0 means 'before all migrations'; begin with 1".into()) } else { Ok(packed) }
}

/// Whether the configuration beside a file takes it out of the transaction.
fn outside(conf: &Path) -> Result<bool, String> {
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
