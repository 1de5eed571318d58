//! Whether the schema has lost what an older release needs: migrations of `phase: after` that it
//! does not know. Traffic alone cannot go back beyond them.

use common::database::open_read_only;
use common::ledger::Deployment;
use common::migrations::{Applied, Source, read_applied};
use common::report::{OrProblem, Problem};
use common::site::Site;

/// # Errors
/// `schema-incompatible`, before anything is changed.
pub(crate) fn refuse(site: &Site, target: &Deployment) -> Result<(), Problem> {
    let Some(path) = site.place.database(site.settings()).filter(|path| path.exists()) else { return Ok(()) };
    let db = open_read_only(&path)?;
    let contracted: Vec<Applied> = read_applied(&db)?.into_iter().filter(|row| row.after).collect();
    if contracted.is_empty() {
        return Ok(());
    }
    let known = files(site, target)?;
    let is_unknown = |row: &&Applied| !known.migrations.iter().any(|file| file.version == row.version);
    let Some(first) = contracted.iter().filter(is_unknown).min_by_key(|row| row.sequence) else {
        return Ok(());
    };
    let environment = &site.environment;
    Err(Problem::new("schema-incompatible", format!("{} cannot live without what migration {}_{} took away", target.id, first.version, first.name))
        .detail("nothing was changed; the schema has to go back first, to which the release that serves must agree. Back up before, and look at what the way back keeps")
        .hint(format!("migrate {environment} down --to {}   # after: backup {environment} create", first.version - 1)))
}

/// The target's migrations, from git when its directory was pruned.
fn files(site: &Site, target: &Deployment) -> Result<Source, Problem> {
    let known =
        target.release.as_deref().map(|release| site.place.release(release)).filter(|dir| dir.is_dir());
    if let Some(dir) = known {
        return Source::read(&dir, None);
    }
    let scratch =
        tempfile::tempdir().or_problem("checkout-failed", || "cannot make a temporary directory".into())?;
    site.repository()?.export(&target.revision, scratch.path())?;
    Source::read(scratch.path(), None)
}
