//! The undo of each kind of entry. Every one may be repeated, and may find nothing to do.

use std::path::Path;
use std::time::Duration;

use super::Undo;
use crate::backups;
use crate::database::{self, with_suffix};
use crate::durable;
use crate::exec::Sibling;
use crate::fault;
use crate::gateway::Target;
use crate::handover;
use crate::ledger::Deployment;
use crate::release;
use crate::report::{OrProblem, Problem, quoted};
use crate::site::Site;
use crate::standstill;

const DATA_LIMIT: Duration = Duration::from_secs(600);

/// Undoes one entry; the text returned says what is worth knowing.
pub(super) fn apply(site: &Site, deployment: &Deployment, undo: &Undo) -> Result<Option<String>, Problem> {
    match undo {
        Undo::RemoveRelease { release } => release::discard(&site.place, release).map(|()| None),
        Undo::RemoveDatabase => remove_database(site, deployment),
        Undo::UndoMigrations { grew } => undo_migrations(site, deployment, *grew),
        Undo::RedoMigrations { release } => redo_migrations(site, deployment, release),
        Undo::PutBackDatabase { release } => put_back_database(site, deployment, release),
        Undo::StopInstance { slot } => {
            let retired = handover::retire(site, *slot)?;
            if !is_alone(site, deployment)? && site.ledger.serving(&site.environment)?.is_none() {
                site.supervisor.give_back(&site.place)?;
            }
            let killed = format!("the instance in {slot} refused to end and was killed");
            let cut = format!("{} requests were cut when it ended", retired.requests_cut);
            Ok(match (retired.killed, retired.requests_cut) {
                (true, 0) => Some(killed),
                (true, _) => Some(format!("{killed}; {cut}")),
                (false, 0) => None,
                (false, _) => Some(cut),
            })
        }
        Undo::PointGateway { deployment: earlier } => {
            let cut = if is_alone(site, deployment)? {
                close(site, deployment)?
            } else {
                point_gateway(site, deployment, earlier.as_deref())?
            };
            Ok((cut > 0).then(|| format!("{cut} requests were cut at the drain limit")))
        }
        Undo::Resume { deployment: earlier } => {
            standstill::resume(site, &known(site, earlier)?)?;
            fault::point("undo.after-resume");
            site.ledger.restore_serving(&site.environment, &deployment.id, Some(earlier)).map(|()| None)
        }
    }
}

/// Gives how many requests of the failed deployment were cut.
fn point_gateway(site: &Site, failed: &Deployment, earlier: Option<&str>) -> Result<u64, Problem> {
    match earlier {
        Some(id) => {
            let target = Target::from(&handover::revive(site, &known(site, id)?)?);
            // What keeps an nginx from switching must not keep us from seeing that it never did.
            if !site.gateway.has_never_left(&target) {
                site.gateway.ensure()?;
                handover::enable_both(site)?;
                site.gateway.switch(Some(&target))?;
            }
        }
        None if site.gateway.status().is_some() => site.gateway.switch(None)?,
        None => {}
    }
    fault::point("undo.after-switch");
    site.ledger.restore_serving(&site.environment, &failed.id, earlier)?;
    handover::enable_serving(site)?;
    if site.gateway.status().is_none() {
        return Ok(0);
    }
    handover::drain(site, &failed.id).map(|drained| drained.requests_cut)
}

/// Requests wait until the release before is back. Gives how many were cut.
fn close(site: &Site, failed: &Deployment) -> Result<u64, Problem> {
    let halted = standstill::begin(site, failed)?;
    site.ledger.restore_serving(&site.environment, &failed.id, None)?;
    Ok(halted.drained.requests_cut)
}

/// Whether the release before had to end before this one began.
fn is_alone(site: &Site, deployment: &Deployment) -> Result<bool, Problem> {
    Ok(open(site, deployment)?.iter().any(|undo| matches!(undo, Undo::Resume { .. })))
}

fn known(site: &Site, id: &str) -> Result<Deployment, Problem> {
    site.ledger.deployment(id)?.ok_or_else(|| {
        Problem::new("ledger-unreadable", format!("the ledger has no deployment {id}")).hint("status all")
    })
}

/// Whether a failed undo leaves a schema that the release before could not live with, so that it must
/// not be started. The deployment's own release can: it is brought back when it was placed.
pub(super) fn is_stuck(site: &Site, deployment: &Deployment, undo: &Undo) -> Result<bool, Problem> {
    let is_schema = matches!(
        undo,
        Undo::UndoMigrations { grew: false } | Undo::RedoMigrations { .. } | Undo::PutBackDatabase { .. }
    );
    if !is_schema || !is_alone(site, deployment)? {
        return Ok(false);
    }
    // An app that is started without its database makes an empty one.
    let is_there = site.place.database(site.settings()).is_none_or(|path| path.exists());
    if deployment.release.is_some() && deployment.slot.is_some() && is_there {
        standstill::resume(site, deployment)?;
        site.ledger.set_serving(&site.environment, &deployment.id)?;
    }
    Ok(true)
}

/// After cutover users may have written to what grew, so it stays: the schema is ahead. What goes
/// all the same is kept in a protected snapshot first.
fn undo_migrations(site: &Site, deployment: &Deployment, grew: bool) -> Result<Option<String>, Problem> {
    let reached = deployment.serving_ms.is_some();
    if goes_with_the_database(site, deployment)? {
        return Ok(None);
    }
    if grew && reached {
        return Ok(Some("kept: old code lives on with what the migrations added".into()));
    }
    if reached {
        run(
            site,
            "backup",
            &["create", "--reason", "pre-rollback", "--protect", "--deployment", &deployment.id],
        )?;
    }
    match run(site, "migrate", &["down", "--deployment", &deployment.id]) {
        Err(problem) if problem.kind != "migration-irreversible" => Err(problem),
        Err(_) if grew => {
            Ok(Some("kept: there is no way back, and old code lives on with what was added".into()))
        }
        Err(_) if !reached && is_alone(site, deployment)? => restore(site, deployment),
        Err(problem) => undo_in_place(site, deployment, problem),
        Ok(()) => Ok(None),
    }
}

/// Without a text that undoes them, from the backup before them, with all that was written since.
fn undo_in_place(site: &Site, deployment: &Deployment, why: Problem) -> Result<Option<String>, Problem> {
    let Some(backup) = backups::taken_for(&site.place, &deployment.id, Some("deploy"))? else {
        return Err(why);
    };
    let backup = backup.manifest.id;
    let words = ["down", "--deployment", &deployment.id, "--backup", &backup, "--in-place"];
    run(site, "migrate", &words)?;
    Ok(Some(format!("undone in place, from backup {backup}: what was written since is kept")))
}

/// What was written since the way back stays; what the way back took is in the protected snapshot.
fn redo_migrations(site: &Site, deployment: &Deployment, release: &str) -> Result<Option<String>, Problem> {
    if deployment.serving_ms.is_none() {
        return restore(site, deployment);
    }
    run(site, "migrate", &["up", "--release", release]).map(|()| None)
}

/// What users wrote to the salvaged database since stays; until they could, it was as damaged as
/// it is put back. Each file but the main one goes first, so that a repetition knows how far it came.
fn put_back_database(site: &Site, deployment: &Deployment, release: &str) -> Result<Option<String>, Problem> {
    if deployment.serving_ms.is_some() {
        return run(site, "migrate", &["up", "--release", release]).map(|()| None);
    }
    let Some(path) = site.place.database(site.settings()) else { return Ok(None) };
    let aside = database::aside(&path, &deployment.id);
    if !aside.exists() {
        return Ok(None);
    }
    let salvaged = with_suffix(&path, &format!(".failed-{}", deployment.id));
    if path.exists() && salvaged.exists() {
        return Err(Problem::new("state-unwritable", format!("{} was made again meanwhile", path.display()))
            .detail(format!(
                "the damaged database is {}, the salvaged one {}",
                aside.display(),
                salvaged.display()
            ))
            .hint(format!("ls -la {}", quoted(path.parent().unwrap_or(&path).display()))));
    }
    if path.exists() {
        move_files(&path, &salvaged)?;
    }
    move_files(&aside, &path)?;
    Ok(Some(format!("the damaged database is back; the salvaged one is {}", salvaged.display())))
}

/// Moves what `SQLite` keeps beside a database, and the main file last.
fn move_files(from: &Path, to: &Path) -> Result<(), Problem> {
    for (file, target) in database::files_of(from).iter().zip(&database::files_of(to)).rev() {
        if file.exists() {
            durable::rename(file, target)
                .or_problem("state-unwritable", || format!("cannot move {}", file.display()))?;
        }
    }
    Ok(())
}

/// The snapshot was taken when nothing ran any more, so nothing has been written since.
fn restore(site: &Site, deployment: &Deployment) -> Result<Option<String>, Problem> {
    let backup = backups::taken_for(&site.place, &deployment.id, None)?.ok_or_else(|| {
        Problem::new("no-backup", "the migrations have no way back, and there is no backup from before them")
            .hint(format!("backup {} list", site.environment))
    })?;
    run(site, "backup", &["restore", &backup.manifest.id, "--discard-writes"])?;
    Ok(Some(format!("restored from backup {}: nothing had been written since", backup.manifest.id)))
}

/// A database that did not exist before is taken away whole by a later undo.
fn goes_with_the_database(site: &Site, deployment: &Deployment) -> Result<bool, Problem> {
    Ok(open(site, deployment)?.contains(&Undo::RemoveDatabase))
}

/// What still has to be undone.
fn open(site: &Site, deployment: &Deployment) -> Result<Vec<Undo>, Problem> {
    let rows = site.ledger.journal_open(&deployment.id)?;
    Ok(rows.iter().filter_map(|row| serde_json::from_str(&row.undo).ok()).collect())
}

fn run(site: &Site, tool: &'static str, args: &[&str]) -> Result<(), Problem> {
    site.run_sibling(&Sibling::find(tool)?, args, DATA_LIMIT)?.verdict()
}

/// A first deployment's database: removed when no user ever reached it, else set aside.
fn remove_database(site: &Site, deployment: &Deployment) -> Result<Option<String>, Problem> {
    let Some(path) = site.place.database(site.settings()) else { return Ok(None) };
    let aside =
        deployment.serving_ms.is_some().then(|| with_suffix(&path, &format!(".failed-{}", deployment.id)));
    if let Some(target) = &aside {
        move_files(&path, target)?;
    } else {
        for file in database::files_of(&path).iter().filter(|file| file.exists()) {
            durable::remove(file)
                .or_problem("state-unwritable", || format!("cannot remove {}", file.display()))?;
        }
    }
    Ok(aside.filter(|target| target.exists()).map(|target| format!("set aside as {}", target.display())))
}
