//! The layouts of other tools, read as they are: which files, which sections, which markers.
//!
//! What only the other tool could run (compiled migrations, placeholders) is refused here, before
//! anything is touched.

mod diesel;
pub(super) mod flyway;
mod sections;
mod versioned;

use std::path::Path;

use rusqlite::Connection;
use serde::Deserialize;

use super::directory::{Reading, Texts, ends_in};
use super::files::{Rules, read_pairs};
use super::{Kind, Migration, Text};
use crate::report::Problem;

/// Who wrote a directory of migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Ours, SQL and Python.
    Own,
    Plain,
    Dbmate,
    Sqlx,
    Diesel,
    GolangMigrate,
    Goose,
    Refinery,
    Flyway,
}

impl Layout {
    /// All of other tools that have a tracking table.
    pub const FOREIGN: [Self; 7] = [
        Self::Dbmate,
        Self::Sqlx,
        Self::Diesel,
        Self::GolangMigrate,
        Self::Goose,
        Self::Refinery,
        Self::Flyway,
    ];

    /// As `migrate.toml` names it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Plain => "plain",
            Self::Dbmate => "dbmate",
            Self::Sqlx => "sqlx",
            Self::Diesel => "diesel",
            Self::GolangMigrate => "golang-migrate",
            Self::Goose => "goose",
            Self::Refinery => "refinery",
            Self::Flyway => "flyway",
        }
    }

    /// The tracking table of its tool.
    pub fn table(self) -> Option<&'static str> {
        match self {
            Self::Own | Self::Plain => None,
            Self::Dbmate | Self::GolangMigrate => Some("schema_migrations"),
            Self::Sqlx => Some("_sqlx_migrations"),
            Self::Diesel => Some("__diesel_schema_migrations"),
            Self::Goose => Some("goose_db_version"),
            Self::Refinery => Some("refinery_schema_history"),
            Self::Flyway => Some("flyway_schema_history"),
        }
    }

    /// The version that its tool writes as `label`.
    pub(super) fn version_of(self, label: &str) -> Option<i64> {
        match self {
            Self::Flyway => flyway::pack(&label.replace('_', ".")).ok(),
            Self::Diesel => label.replace('-', "").parse().ok(),
            _ => label.parse().ok(),
        }
    }

    /// Whether its tool has worked on `db`: the table is there, with that tool's columns.
    pub fn owns_table(self, db: &Connection) -> bool {
        let Some(table) = self.table() else { return false };
        let column = if self == Self::GolangMigrate { "dirty" } else { "version" };
        let query = "SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2";
        db.query_row(query, [table, column], |row| row.get::<_, i64>(0)).is_ok_and(|count| count > 0)
    }

    /// What the files alone say. Pairs and single files look alike in several tools: they count as
    /// ours until a tracking table says otherwise. `None`: two tools read them differently.
    pub(super) fn of_files(dir: &Path, names: &[String]) -> Option<Self> {
        let sql = |name: &&String| ends_in(name, "sql");
        let is_directory = |name: &&String| !ends_in(name, "sql") && !ends_in(name, "py");
        if names.iter().filter(is_directory).any(|name| dir.join(name).join("up.sql").is_file()) {
            return Some(Self::Diesel);
        }
        if names.iter().any(|name| name.ends_with(".up.sql") || ends_in(name, "py")) {
            return Some(Self::Own);
        }
        let compiled = [".go", ".rs", ".java", ".kt"];
        if names.iter().any(|name| versioned::is_name(name) && !ends_in(name, "rs")) {
            let undone = names.iter().any(|name| versioned::is_flyway_only(name));
            return undone.then_some(Self::Flyway);
        }
        if names.iter().any(|name| versioned::is_name(name)) {
            return Some(Self::Refinery);
        }
        if let Some(marked) = names.iter().filter(sql).find_map(|name| sections::layout_of(&dir.join(name))) {
            return Some(marked);
        }
        let is_compiled = |name: &String| compiled.iter().any(|end| name.ends_with(end));
        match names.iter().find(sql) {
            Some(_) => Some(Self::Plain),
            None if names.iter().any(is_compiled) => Some(Self::Goose),
            None => Some(Self::Own),
        }
    }

    /// Reads `dir`, which has these names, by the rules of this layout; `texts` are those that were read
    /// ahead. The second list has files that its tool ignores.
    ///
    /// # Errors
    /// `migration-files`.
    pub(super) fn read(
        self,
        dir: &Path,
        names: &[String],
        texts: Texts,
        history: &flyway::History,
    ) -> Result<(Vec<Migration>, Vec<String>), Problem> {
        let mut reading = Reading::with(texts);
        match self {
            Self::Own => read_pairs(dir, names, Rules::OWN, &mut reading),
            Self::Plain => read_pairs(dir, names, Rules::PLAIN, &mut reading),
            Self::Sqlx => read_pairs(dir, names, Rules::SQLX, &mut reading),
            Self::GolangMigrate => read_pairs(dir, names, Rules::GOLANG_MIGRATE, &mut reading),
            Self::Dbmate => sections::read(dir, names, sections::DBMATE, &mut reading),
            Self::Goose => sections::read(dir, names, sections::GOOSE, &mut reading),
            Self::Diesel => diesel::read(dir, names, &mut reading),
            Self::Refinery => versioned::read(dir, versioned::Tool::Refinery, &mut reading),
            Self::Flyway => versioned::read(dir, versioned::Tool::Flyway(history), &mut reading),
        }
        reading.finish(dir)
    }
}

/// A migration whose tool has no directives of ours, from texts that were cut out of files.
fn migration(
    (version, label, name): (i64, String, &str),
    original: Text,
    up: String,
    down: Option<Text>,
) -> Result<Migration, String> {
    let file = original.file.clone();
    let cut = Text { file, text: up };
    let whole = original.text;
    let mut made = Migration::of_files(version, name, Kind::Sql, cut, down)?;
    made.label = label;
    made.checksum = super::checksum(&whole);
    made.original = whole.into();
    Ok(made)
}
