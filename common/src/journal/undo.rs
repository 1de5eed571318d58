//! The undo of each kind of entry. Every one may be repeated, and may find nothing to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Undo;
use crate::durable;
use crate::exec::Sibling;
use crate::fault;
use crate::gateway::Target;
use crate::handover;
use crate::ledger::Deployment;
use crate::release;
use crate::report::{OrProblem, Problem};
use crate::site::Site;

const DATA_LIMIT: Duration = Duration::from_secs(600);
/// What SQLite may keep beside a database file.
const SIDECARS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Undoes one entry; the text returned says what is worth knowing.
pub(super) fn apply(site: &Site, deployment: &Deployment, undo: &Undo) -> Result<Option<String>, Problem> {
    match undo {
        Undo::RemoveRelease { release } => release::discard(&site.place, release).map(|()| None),
        Undo::RemoveDatabase => remove_database(site, deployment),
        Undo::UndoMigrations { grew } => undo_migrations(site, deployment, *grew),
        Undo::StopInstance { slot } => {
            let retired = handover::retire(site, *slot)?;
            Ok(retired.killed.then(|| format!("the instance in {slot} refused to end and was killed")))
        }
        Undo::PointGateway { deployment: earlier } => {
            let cut = point_gateway(site, deployment, earlier.as_deref())?;
            Ok((cut > 0).then(|| format!("{cut} requests were cut at the drain limit")))
        }
    }
}

/// Gives how many requests of the failed deployment were cut.
fn point_gateway(site: &Site, failed: &Deployment, earlier: Option<&str>) -> Result<u64, Problem> {
    match earlier {
        Some(id) => {
            let row = site.ledger.deployment(id)?.ok_or_else(|| {
                Problem::new("ledger-unreadable", format!("the ledger has no deployment {id}"))
                    .hint("status all")
            })?;
            let instance = handover::revive(site, &row)?;
            site.gateway.ensure()?;
            site.gateway.switch(Some(&Target::from(&instance)))?;
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
        Err(problem) if grew && problem.kind == "migration-irreversible" => {
            Ok(Some("kept: there is no way back, and old code lives on with what was added".into()))
        }
        other => other.map(|()| None),
    }
}

/// A database that did not exist before is taken away whole by a later undo.
fn goes_with_the_database(site: &Site, deployment: &Deployment) -> Result<bool, Problem> {
    let open = site.ledger.journal_open(&deployment.id)?;
    let undos = open.iter().filter_map(|row| serde_json::from_str::<Undo>(&row.undo).ok());
    Ok(undos.into_iter().any(|undo| undo == Undo::RemoveDatabase))
}

fn run(site: &Site, tool: &'static str, args: &[&str]) -> Result<(), Problem> {
    site.run_sibling(&Sibling::find(tool)?, args, DATA_LIMIT)?.verdict()
}

/// A first deployment's database: removed when no user ever reached it, else set aside.
fn remove_database(site: &Site, deployment: &Deployment) -> Result<Option<String>, Problem> {
    let Some(path) = site.place.database(site.settings()) else { return Ok(None) };
    let aside =
        deployment.serving_ms.is_some().then(|| with_suffix(&path, &format!(".failed-{}", deployment.id)));
    for suffix in SIDECARS {
        let file = with_suffix(&path, suffix);
        if !file.exists() {
            continue;
        }
        match &aside {
            Some(target) => durable::rename(&file, &with_suffix(target, suffix)),
            None => fs::remove_file(&file).and_then(|()| durable::sync_dir(path.parent().unwrap_or(&path))),
        }
        .or_problem("state-unwritable", || format!("cannot take {} away", file.display()))?;
    }
    Ok(aside.filter(|target| target.exists()).map(|target| format!("set aside as {}", target.display())))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
