//! The backup that a damaged database is salvaged upon: the newest one that the target can live with.

use std::time::Duration;

use common::backups;
use common::exec::Sibling;
use common::report::Problem;
use common::scratch::Scratch;
use common::site::Site;

use crate::ladder::{self, Fit};

/// How long unpacking a backup may take.
const UNPACKING: Duration = Duration::from_secs(600);

/// Unpacks verified backups, newest first, until one suits `release`; gives its id.
///
/// # Errors
/// `database-damaged`: none does.
pub(crate) fn find_backup(site: &Site, release: &str, damage: &str) -> Result<String, Problem> {
    let mut reasons = Vec::new();
    for backup in backups::list(&site.place)?.backups {
        let id = backup.manifest.id;
        let unsuited = if backup.manifest.verified.holds() {
            why_not(site, release, &id).unwrap_or_else(|problem| Some(problem.to_string()))
        } else {
            Some("it was never proved".into())
        };
        match unsuited {
            None => return Ok(id),
            Some(why) => reasons.push(format!("backup {id}: {why}")),
        }
    }
    let environment = &site.environment;
    reasons.insert(0, damage.to_owned());
    Err(Problem::new("database-damaged", "the database is damaged, and no backup suits the release")
        .detail(reasons.join("\n"))
        .hint(format!("backup {environment} list   # then: backup {environment} restore ID --salvage")))
}

/// Why `release` cannot live with the content of a backup.
fn why_not(site: &Site, release: &str, id: &str) -> Result<Option<String>, Problem> {
    let scratch = Scratch::make(&site.place.root())?;
    let file = scratch.file("backup.db");
    let words = ["extract", id, &file.display().to_string()];
    site.run_sibling(&Sibling::find("backup")?, &words, UNPACKING)?.verdict()?;
    Ok(match ladder::compare(site, release, &file)?.1 {
        Fit::Lives => None,
        Fit::Behind { file } => Some(format!("it lacks the migration {file}")),
        Fit::Changed(row) => Some(format!("the release cannot live with its migration {}", row.version)),
        Fit::Doubtful(row) => Some(format!("nothing tells what its migration {} did", row.version)),
    })
}
