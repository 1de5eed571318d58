//! `migrate new NAME`: the files of the next migration, in the work tree and in the layout that is
//! there.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use common::cli::Run;
use common::config::Config;
use common::migrations::{Layout, Source, template_stem};
use common::report::{OrProblem, Problem};

const UP: &str = "\
-- What this migration does, and why.
-- All pending migrations run in one transaction with foreign keys off; they are checked before
-- it commits. Rows may only vanish when a line says:  approve: destructive
";
const DOWN: &str = "\
-- Takes back what the up file does. Without a way back, delete this file and write into the
-- up file:  irreversible: the reason
";

/// Makes the files and names them in the report.
///
/// # Errors
/// Usage for a name that is none; those of [`Source::read`]; `migration-files` when they cannot be
/// written.
pub(crate) fn create(run: &mut Run, config: &Config, name: &str, python: bool) -> Result<(), Problem> {
    let name = plain_name(name)?;
    let source = Source::read(config.root(), None)?;
    if python && source.layout != Layout::Own {
        return Err(Problem::usage(format!("{} has no migrations in Python", source.layout.word()))
            .hint(format!("migrate new {name}")));
    }
    let mut created = Vec::new();
    for (file, text) in files(&source, &name, python) {
        let path = source.dir.join(file);
        let dir = path.parent().unwrap_or(&source.dir);
        fs::create_dir_all(dir).or_problem("migration-files", || format!("cannot make {}", dir.display()))?;
        write_new(&path, &text)?;
        created.push(path);
    }
    run.detail("created", created);
    Ok(())
}

fn files(source: &Source, name: &str, python: bool) -> Vec<(String, String)> {
    let stem = template_stem(source.migrations.last(), name);
    let both = |up: &str, down: &str| format!("{up}\n{UP}\n{down}\n{DOWN}");
    let pair = |up: String, down: String| vec![(up, UP.to_owned()), (down, DOWN.to_owned())];
    match source.layout {
        Layout::Own if python => vec![(format!("{stem}.py"), script(name))],
        Layout::Own | Layout::Sqlx | Layout::GolangMigrate => {
            pair(format!("{stem}.up.sql"), format!("{stem}.down.sql"))
        }
        Layout::Plain => vec![(format!("{stem}.sql"), UP.to_owned())],
        Layout::Dbmate => vec![(format!("{stem}.sql"), both("-- migrate:up", "-- migrate:down"))],
        Layout::Goose => vec![(format!("{stem}.sql"), both("-- +goose Up", "-- +goose Down"))],
        Layout::Diesel => pair(format!("{stem}/up.sql"), format!("{stem}/down.sql")),
        Layout::Refinery => vec![(format!("V{}__{name}.sql", next(source)), UP.to_owned())],
        Layout::Flyway => {
            let number = next(source);
            pair(format!("V{number}__{name}.sql"), format!("U{number}__{name}.sql"))
        }
    }
}

/// The number after the first part of the last label.
fn next(source: &Source) -> i64 {
    let label = source.migrations.last().and_then(|last| last.label.split('.').next()?.parse::<i64>().ok());
    label.unwrap_or(0) + 1
}

fn script(name: &str) -> String {
    let day = common::report::now().strftime("%Y-%m-%d").to_string();
    format!(
        "\"\"\"\nMigration: {name}\nDate: {day}\n\"\"\"\n\n\ndef up(db):\n    raise NotImplementedError(\"db.execute(...)\")\n\n\ndef down(db):\n    raise NotImplementedError(\"db.execute(...)\")\n"
    )
}

/// Lower-case words joined by underscores.
fn plain_name(name: &str) -> Result<String, Problem> {
    let plain = name.trim().to_lowercase().replace([' ', '-'], "_");
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if plain.chars().all(fits) && plain.chars().any(|c| c.is_ascii_alphanumeric()) {
        return Ok(plain);
    }
    Err(Problem::usage(format!("'{name}' is no name for a migration"))
        .detail("letters, digits and '_' only")
        .hint("migrate new add_email"))
}

/// Writes a file that must not exist.
///
/// # Errors
/// `migration-files`.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), Problem> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .or_problem("migration-files", || format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_words_with_underscores() {
        assert_eq!(plain_name("Add user-email").unwrap(), "add_user_email");
        for bad in ["", "../x", "é", "--"] {
            assert!(plain_name(bad).is_err(), "{bad}");
        }
    }
}
