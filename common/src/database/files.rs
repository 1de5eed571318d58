//! The names of a database on disk: the main file, what `SQLite` keeps beside it, and the file that
//! it becomes when another takes its place.

use std::path::{Path, PathBuf};

/// What follows the main file's name; the main file itself first.
const SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// The main file and what `SQLite` may lay beside it; the same order for every database.
pub fn files_of(database: &Path) -> [PathBuf; 4] {
    SUFFIXES.map(|suffix| with_suffix(database, suffix))
}

/// Where a database stays that another one takes the place of; `stamp` tells when or why.
pub fn aside(database: &Path, stamp: &str) -> PathBuf {
    with_suffix(database, &format!(".aside-{stamp}"))
}

/// The path with something behind its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
