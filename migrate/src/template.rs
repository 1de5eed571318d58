//! `migrate new NAME`: the two files of the next migration, in the work tree.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use common::cli::Run;
use common::config::Config;
use common::migrations::{read, template_names};
use common::report::{OrProblem, Problem};

use crate::scene::work_tree;

const UP: &str = "\
-- What this migration does, and why.
-- All pending migrations run in one transaction with foreign keys off; they are checked before
-- it commits. Rows may only vanish when a line says:  approve: destructive
";
const DOWN: &str = "\
-- Takes back what the up file does. Delete this file if there is no way back.
";

/// Makes both files and names them in the report.
///
/// # Errors
/// Usage for a name that is none; those of [`read`]; `migration-files` when they cannot be written.
pub(crate) fn create(run: &mut Run, config: &Config, name: &str) -> Result<(), Problem> {
    let name = plain_name(name)?;
    let dir = work_tree(config);
    let existing = read(&dir)?;
    let (up, down) = template_names(existing.last(), &name);
    fs::create_dir_all(&dir).or_problem("migration-files", || format!("cannot make {}", dir.display()))?;
    write_new(&dir.join(&up), UP)?;
    write_new(&dir.join(&down), DOWN)?;
    run.detail("created", [dir.join(up), dir.join(down)]);
    Ok(())
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

fn write_new(path: &Path, text: &str) -> Result<(), Problem> {
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
