//! Whose a database is. Each record of a migration names the environment, so that a command meant
//! for one cannot work on the file of another, whatever path the configuration has.

use rusqlite::Connection;

use common::migrations::{Applied, read_applied};
use common::report::Problem;

use crate::job::prepare_table;
use crate::statements::sql_problem;

/// # Errors
/// `wrong-database`.
pub(crate) fn check(applied: &[Applied], environment: &str) -> Result<(), Problem> {
    let newest = applied.iter().max_by_key(|row| (row.sequence, row.version));
    let Some(owner) = newest.and_then(|row| row.environment.as_deref()) else { return Ok(()) };
    if owner == environment {
        return Ok(());
    }
    Err(Problem::new("wrong-database", format!("this database belongs to {owner}, not to {environment}"))
        .detail(format!("the path in the configuration is wrong, or it is a copy; a copy that is meant for {environment}: migrate {environment} baseline --take-over"))
        .hint("grep -n database deploy.toml"))
}

/// Makes a database that was copied from another environment this one's.
///
/// # Errors
/// `database-busy`, `migration-failed`.
pub(crate) fn take_over(db: &Connection, environment: &str) -> Result<(), Problem> {
    if read_applied(db)?.is_empty() {
        return Ok(());
    }
    let write = || {
        prepare_table(db)?;
        db.execute("UPDATE main.migrations SET environment = ?1", [environment]).map(drop)
    };
    write().map_err(|error| sql_problem(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_record_says_whose_it_is() {
        let row = |version, sequence, environment: Option<&str>| Applied {
            version,
            sequence,
            environment: environment.map(str::to_owned),
            ..Applied::default()
        };
        check(&[], "dev").unwrap();
        check(&[row(1, 0, None)], "dev").unwrap();
        check(&[row(1, 2, Some("dev")), row(2, 1, Some("prod"))], "dev").unwrap();
        let problem = check(&[row(1, 1, Some("dev")), row(2, 2, Some("prod"))], "dev").unwrap_err();
        assert_eq!((problem.kind.as_str(), problem.hint.is_some()), ("wrong-database", true));
    }
}
