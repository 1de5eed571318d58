//! The migrations of one release: where they lie, whose layout it is, and what a database says is
//! applied of them.
//!
//! `migrate.toml` beside `migrations/` may name directory, layout and table; it travels with the
//! release, as they do. What it does not say is found from the files and the tracking tables.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::Deserialize;

use super::directory::{Texts, ends_in, list, read_ahead};
use super::layouts::flyway::History;
use super::{Applied, Layout, Mark, Migration, foreign, read_applied};
use crate::report::{OrProblem, Problem, quoted};

/// Where a release says what it wants.
pub const SETTINGS_FILE: &str = "migrate.toml";

/// The keys of `migrate.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Below the release's top.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    #[serde(default)]
    pub layout: Option<Layout>,
    /// The tracking table of the layout's own tool.
    #[serde(default)]
    pub table: Option<String>,
}

/// All migrations of a release.
#[derive(Debug, Clone)]
pub struct Source {
    /// Top of the release or of the work tree.
    pub root: PathBuf,
    pub dir: PathBuf,
    pub layout: Layout,
    /// The other tool's table, when the layout has one.
    pub table: Option<String>,
    pub migrations: Vec<Migration>,
    /// Files that the layout's own tool passes over as well.
    pub ignored: Vec<String>,
}

/// The files of a release, read before it is known whose layout they are in.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    settings: Settings,
    dir: PathBuf,
    names: Vec<String>,
    texts: Texts,
}

impl Files {
    /// Reads the directory of migrations of the release at `root`; what cannot be read in it is said by
    /// [`Source::of`].
    ///
    /// # Errors
    /// `migration-files`; configuration (exit 2) for `migrate.toml`.
    pub fn read(root: &Path) -> Result<Self, Problem> {
        let settings = read_settings(&root.join(SETTINGS_FILE))?;
        let dir = find_directory(root, &settings)?;
        let names = list(&dir)?;
        let texts = read_ahead(&dir, &names);
        Ok(Self { root: root.to_path_buf(), settings, dir, names, texts })
    }
}

impl Source {
    /// Reads the migrations of the release at `root`; `database` helps to tell layouts apart.
    ///
    /// # Errors
    /// `migration-files`, `layout-unclear`; configuration (exit 2) for `migrate.toml`.
    pub fn read(root: &Path, database: Option<&Connection>) -> Result<Self, Problem> {
        Self::of(Files::read(root)?, database)
    }

    /// The migrations in `files`; `database` helps to tell layouts apart.
    ///
    /// # Errors
    /// `migration-files`, `layout-unclear`.
    pub fn of(files: Files, database: Option<&Connection>) -> Result<Self, Problem> {
        let Files { root, settings, dir, names, texts } = files;
        let layout = match settings.layout {
            Some(layout) => layout,
            None => detect(&dir, &names, database)?,
        };
        let table = layout.table().map(|table| settings.table.unwrap_or_else(|| table.to_owned()));
        let history = match (layout, database) {
            (Layout::Flyway, Some(db)) => History::read(db, table.as_deref().unwrap_or_default())?,
            _ => History::default(),
        };
        let (migrations, ignored) = layout.read(&dir, &names, texts, &history)?;
        Ok(Self { root, dir, layout, table, migrations, ignored })
    }

    /// The directory of the migrations of the release at `root`; it need not exist.
    ///
    /// # Errors
    /// Configuration (exit 2) for `migrate.toml`.
    pub fn directory(root: &Path) -> Result<PathBuf, Problem> {
        find_directory(root, &read_settings(&root.join(SETTINGS_FILE))?)
    }

    /// A source of which only the records of a database are known.
    pub fn without_files(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            dir: root.join("migrations"),
            layout: Layout::Own,
            table: None,
            migrations: Vec::new(),
            ignored: Vec::new(),
        }
    }

    /// What the layout's own tool has marked; none when it never ran here.
    ///
    /// # Errors
    /// `tracking-table-dirty`, `database-unreadable`.
    pub fn marks(&self, db: &Connection) -> Result<Option<Vec<Mark>>, Problem> {
        match &self.table {
            Some(table) => foreign::read(db, self.layout, table),
            None => Ok(None),
        }
    }

    /// What is applied: our own records, corrected by the other tool's table where there is one.
    ///
    /// # Errors
    /// Those of [`read_applied`] and [`Source::marks`].
    pub fn applied(&self, db: &Connection) -> Result<Vec<Applied>, Problem> {
        let own = read_applied(db)?;
        let Some(marks) = self.marks(db)? else { return Ok(own) };
        let versions = |covers: bool| {
            let chosen = marks.iter().filter(move |mark| mark.covers == covers);
            chosen.filter_map(|mark| self.version_of(&mark.label)).filter(|version| *version > 0)
        };
        let (marked, covered): (HashSet<i64>, i64) =
            (versions(false).collect(), versions(true).max().unwrap_or(0));
        let is_marked = |version: i64| version <= covered || marked.contains(&version);
        let mut applied: BTreeMap<i64, Applied> =
            own.into_iter().filter(|row| is_marked(row.version)).map(|row| (row.version, row)).collect();
        for file in self.migrations.iter().filter(|file| is_marked(file.version)) {
            applied.entry(file.version).or_insert_with(|| Applied {
                version: file.version,
                name: file.name.clone(),
                checksum: file.checksum.clone(),
                kind: file.kind,
                ..Applied::default()
            });
        }
        for version in marked {
            applied.entry(version).or_insert_with(|| Applied { version, ..Applied::default() });
        }
        Ok(applied.into_values().collect())
    }

    /// The version that the layout writes as `label`.
    pub fn version_of(&self, label: &str) -> Option<i64> {
        self.layout.version_of(label)
    }
}

fn read_settings(file: &Path) -> Result<Settings, Problem> {
    if !file.exists() {
        return Ok(Settings::default());
    }
    let shown = file.display();
    let text = fs::read_to_string(file).or_problem("configuration", || format!("cannot read {shown}"))?;
    toml::from_str(&text).map_err(|error: toml::de::Error| {
        let line =
            error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        Problem::configuration(format!(
            "{shown}:{line}: {}",
            error.message().lines().next().unwrap_or_default()
        ))
        .hint(format!("sed -n {line}p {}", quoted(&shown)))
    })
}

fn find_directory(root: &Path, settings: &Settings) -> Result<PathBuf, Problem> {
    let wanted = settings.directory.as_deref().unwrap_or(Path::new("migrations"));
    let is_below =
        wanted.is_relative() && !wanted.components().any(|part| part == std::path::Component::ParentDir);
    if !is_below {
        return Err(Problem::configuration(format!(
            "directory '{}' of migrate.toml is not inside the release",
            wanted.display()
        ))
        .hint("grep -n directory migrate.toml"));
    }
    let dir = root.join(wanted);
    if settings.directory.is_some() && !dir.is_dir() {
        return Err(Problem::configuration(format!(
            "there is no directory {}, which migrate.toml names",
            dir.display()
        ))
        .hint("grep -n directory migrate.toml"));
    }
    Ok(dir)
}

/// By the files; where two tools read the same files, by the table that is in the database.
fn detect(dir: &Path, names: &[String], database: Option<&Connection>) -> Result<Layout, Problem> {
    let found = Layout::of_files(dir, names);
    let has = |layout: Layout| database.is_some_and(|db| layout.owns_table(db));
    let candidates: &[Layout] = match found {
        Some(Layout::Own) if !names.iter().any(|name| ends_in(name, "py")) => {
            &[Layout::Sqlx, Layout::GolangMigrate]
        }
        Some(Layout::Plain) => &[Layout::Sqlx],
        None => &[Layout::Refinery, Layout::Flyway],
        Some(sure) => return Ok(sure),
    };
    if let Some(layout) = candidates.iter().copied().find(|layout| has(*layout)) {
        return Ok(layout);
    }
    found.ok_or_else(|| {
        Problem::new("layout-unclear", format!("both refinery and flyway name their files as in {}", dir.display()))
            .detail("nothing says whose they are: write layout = \"refinery\" or layout = \"flyway\" into migrate.toml")
            .hint("echo 'layout = \"refinery\"' >> migrate.toml")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Layout; 9] = [
        Layout::Own,
        Layout::Plain,
        Layout::Dbmate,
        Layout::Sqlx,
        Layout::Diesel,
        Layout::GolangMigrate,
        Layout::Goose,
        Layout::Refinery,
        Layout::Flyway,
    ];

    fn name() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "V",
            "U",
            "R",
            "B",
            "1",
            "02",
            "20240101120000",
            "99999999999999999999",
            ".",
            "_",
            "__",
            "-",
            "a",
            "é",
            ".up",
            ".down",
            ".sql",
            ".py",
            ".go",
            ".rs",
            ".java",
            ".conf",
            "up.sql",
            "metadata.toml",
            " ",
            "'",
        ]);
        let pieces = prop::collection::vec(piece, 1..7).prop_map(|pieces| pieces.concat());
        prop_oneof![4 => pieces, 1 => "[^/\\x00]{1,20}", 1 => "[VURB1]?[^/\\x00]{0,6}\\.(up\\.|down\\.)?sql"]
            .prop_filter("a name", |name| !name.chars().all(|c| c == '.'))
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let line = prop::sample::select(vec![
            "SELECT 1;",
            "-- migrate:up",
            "-- migrate:up transaction:false",
            "-- migrate:down",
            "-- +goose Up",
            "-- +goose Down",
            "-- +goose StatementBegin",
            "-- +GOOSE NO TRANSACTION",
            "-- +goose ENVSUB ON",
            "-- phase: after",
            "-- phase: x",
            "-- irreversible:",
            "-- irreversible: why",
            "-- approve: destructive",
            "-- no-transaction",
            "-- squashes: 1 2 x",
            "${p}",
            "\u{feff}",
            "\0",
            "é",
            "def up(db):",
            "def down(db):",
            "run_in_transaction = false",
            "executeInTransaction=false",
            "",
            "'",
            "/*",
            "\r",
        ]);
        let lines = prop::collection::vec(line, 0..6).prop_map(|lines| lines.join("\n").into_bytes());
        prop_oneof![4 => lines, 1 => prop::collection::vec(any::<u8>(), 0..400)]
    }

    proptest! {
        /// Files of any name and content: no layout panics, and none passes over a file in silence.
        #[test]
        fn every_file_is_a_migration_or_refused_or_said_to_be_ignored(
            files in prop::collection::vec((any::<bool>(), name(), text()), 0..5),
        ) {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("migrations");
            fs::create_dir(&dir).unwrap();
            for (nested, name, bytes) in &files {
                let parent = if *nested { dir.join("1_n") } else { dir.clone() };
                let _ = fs::create_dir_all(&parent).and_then(|()| fs::write(parent.join(name), bytes));
            }
            for layout in ALL {
                fs::write(root.path().join(SETTINGS_FILE), format!("layout = \"{}\"", layout.word())).unwrap();
                match Source::read(root.path(), None) {
                    Ok(source) => {
                        for migration in &source.migrations {
                            prop_assert!(migration.version > 0 && !migration.up.is_empty());
                        }
                        let told = source.migrations.len() * 2 + source.ignored.len();
                        prop_assert!(told > 0 || list(&dir).unwrap().is_empty() || layout != Layout::Own);
                    }
                    Err(problem) => prop_assert!(problem.hint.is_some(), "{problem}"),
                }
            }
            fs::remove_file(root.path().join(SETTINGS_FILE)).unwrap();
            let _ = Source::read(root.path(), None);
        }
    }
}
