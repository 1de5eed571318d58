//! `schema.sql`, the schema that a release expects, beside its migrations: written on request, and
//! compared with what a database has.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::cli::Run;
use common::database::open_read_only;
use common::migrations::Layout;
use common::report::{OrProblem, Problem, quoted};
use rusqlite::Connection;

use crate::content::{Shape, compare_shapes, shape};
use crate::scene::Scene;

const FILE: &str = "schema.sql";
const HEAD: &str = "-- The schema after all migrations, written by `migrate ENV schema`.\n";

/// Writes the schema of the environment's database into the work tree.
///
/// # Errors
/// `database-missing`, `migration-files` when it cannot be written.
pub(crate) fn write(run: &mut Run, scene: &Scene) -> Result<(), Problem> {
    let environment = scene.environment();
    let Some(database) = scene.database.as_ref().filter(|path| path.exists()) else {
        return Err(Problem::new("database-missing", format!("{environment} has no database yet"))
            .hint(format!("migrate {environment} up")));
    };
    let text = dump(&open_read_only(database)?)
        .or_problem("database-unreadable", || "cannot read the schema".into())?;
    let file = scene.config.root().join(FILE);
    std::fs::write(&file, text)
        .or_problem("migration-files", || format!("cannot write {}", file.display()))?;
    run.detail("written", [file]);
    Ok(())
}

/// One sentence per object in which a database with this shape differs from the release's file.
///
/// # Errors
/// `schema-drift` when the file is no schema.
pub(crate) fn drift(root: &Path, found: &Shape) -> Result<Vec<String>, Problem> {
    let file = root.join(FILE);
    if !file.exists() {
        return Ok(Vec::new());
    }
    let expected = read(&file).or_problem("schema-drift", || format!("{} is no schema", file.display()))?;
    Ok(compare_shapes(&expected, found))
}

/// # Errors
/// `schema-drift` naming every object that differs.
pub(crate) fn check(root: &Path, db: &Connection, environment: &str) -> Result<(), Problem> {
    let found = shape(db).or_problem("database-unreadable", || "cannot read the schema".into())?;
    let drift = drift(root, &found)?;
    if drift.is_empty() {
        return Ok(());
    }
    let file: PathBuf = root.join(FILE);
    Err(Problem::new("schema-drift", format!("the database of {environment} is not what {FILE} says"))
        .detail(drift.join("\n"))
        .hint(format!(
            "sqlite3 -readonly {} .schema   # compare with {}",
            quoted(db.path().unwrap_or_default()),
            quoted(file.display())
        )))
}

fn read(file: &Path) -> Result<Shape, Box<dyn std::error::Error>> {
    let db = Connection::open_in_memory()?;
    db.execute_batch(&std::fs::read_to_string(file)?)?;
    Ok(shape(&db)?)
}

/// Tables first, in the order of their names, so that the file changes only where the schema does.
fn dump(db: &Connection) -> rusqlite::Result<String> {
    let mut list = db.prepare(
        "SELECT sql, tbl_name FROM main.sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         AND tbl_name <> 'migrations'
         ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'view' THEN 1 WHEN 'index' THEN 2 ELSE 3 END, name",
    )?;
    let mut text = String::from(HEAD);
    let mut rows = list.query([])?;
    while let Some(row) = rows.next()? {
        let (sql, table): (String, String) = (row.get(0)?, row.get(1)?);
        if !Layout::FOREIGN.iter().any(|layout| layout.table() == Some(table.as_str())) {
            let _ = writeln!(text, "\n{sql};");
        }
    }
    Ok(text)
}
