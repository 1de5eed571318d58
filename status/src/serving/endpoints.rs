//! The endpoints that answer in JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use common::config::Config;
use common::ledger::{Deployment, Selection};
use common::report::{Problem, VERSION};
use common::secrets::Secrets;
use serde::Serialize;
use serde_json::{Value, json};

use super::asked::Asked;
use super::caller::View;
use super::health::Health;
use super::refusal::Refusal;
use super::snapshot::Seen;
use super::{Server, aside};
use crate::arguments::{since, state};
use crate::facts::{self, Shown};

/// So many rows come without being asked for, and so many at most.
const ROWS: u32 = 20;
const MOST_ROWS: u32 = 1000;

type Answer = Result<Response, Refusal>;

/// One environment's value by itself, or those of all in a list.
fn one_or_all(asked: &Asked, mut values: Vec<Value>) -> Value {
    match (&asked.only, values.len()) {
        (Some(_), 1) => values.remove(0),
        _ => json!({"environments": values}),
    }
}

pub(crate) async fn status(State(server): State<Arc<Server>>, asked: Asked) -> Answer {
    let view = asked.of("status", &[])?;
    let snapshot = server.snapshot().await.map_err(|problem| broken(&problem, view))?;
    let told = snapshot.of(&asked.names).map(|seen| of_environment(seen, view)).collect();
    Ok(Json(one_or_all(&asked, told)).into_response())
}

fn of_environment(seen: &Seen, view: View) -> Value {
    let facts = &seen.facts;
    let applied: Vec<i64> = facts.migrations.applied.iter().map(|done| done.version).collect();
    let trouble = facts.trouble();
    let mut told = json!({
        "environment": facts.environment,
        "git_branch": facts.branch,
        "git_commit": facts.revision,
        "deployed_at": facts.serving_since,
        "service_status": if trouble.is_none() { "healthy" } else { "unhealthy" },
        "database_version": applied.iter().max(),
        "migrations_applied": applied,
        "deployment": facts.deployment,
        "state": facts.state,
        "deploying": facts.lock.is_some(),
    });
    if view == View::Full {
        told["trouble"] = json!(trouble);
        told["figures"] = json!(seen.figures);
        told["facts"] = json!(facts);
    }
    told
}

pub(crate) async fn health(State(server): State<Arc<Server>>, asked: Asked) -> Answer {
    let view = asked.of("health", &[])?;
    let mut found = Vec::new();
    for name in &asked.names {
        found.push(server.health(name).await.map_err(|problem| broken(&problem, view))?);
    }
    let worst = found.iter().map(|health| health.code()).max().unwrap_or(StatusCode::OK);
    let values: Vec<&Health> = found.iter().map(AsRef::as_ref).collect();
    if let (Some(_), [one]) = (&asked.only, &values[..]) {
        return Ok((worst, Json(one)).into_response());
    }
    let status = if worst == StatusCode::OK { "healthy" } else { "unhealthy" };
    Ok((worst, Json(json!({"status": status, "environments": values}))).into_response())
}

pub(crate) async fn version(State(server): State<Arc<Server>>, asked: Asked) -> Answer {
    let view = asked.of("version", &[])?;
    let snapshot = server.snapshot().await.map_err(|problem| broken(&problem, view))?;
    let serving = snapshot.of(&asked.names).map(|seen| {
        let facts = &seen.facts;
        json!({"environment": facts.environment, "revision": facts.revision, "subject": facts.subject})
    });
    let told = json!({
        "product": "agent-deploy",
        "version": env!("CARGO_PKG_VERSION"),
        "contract": VERSION,
        "serving": serving.collect::<Vec<_>>(),
    });
    Ok(Json(told).into_response())
}

pub(crate) async fn migrations(State(server): State<Arc<Server>>, asked: Asked) -> Answer {
    let view = asked.of("migrations", &[])?;
    let snapshot = server.snapshot().await.map_err(|problem| broken(&problem, view))?;
    let told = snapshot.of(&asked.names).map(|seen| {
        let facts = &seen.facts;
        let database = facts.database.as_ref();
        json!({
            "environment": facts.environment,
            "standing": database.and_then(|database| database["migrations"].as_str()),
            "applied": facts.migrations.applied,
            "pending": facts.migrations.pending,
            "deferred": facts.migrations.deferred,
        })
    });
    Ok(Json(one_or_all(&asked, told.collect())).into_response())
}

pub(crate) async fn deployments(State(server): State<Arc<Server>>, asked: Asked) -> Answer {
    let view = asked.of("deployments", &["state", "since", "limit"])?;
    let wanted = Selection {
        state: asked.parameter("state", state)?,
        since_ms: asked.parameter("since", since)?,
        limit: asked.parameter("limit", limit)?.unwrap_or(ROWS),
    };
    let names = asked.names;
    let rows = server.ask(move |ledger| {
        let Some(ledger) = ledger else { return Ok(Vec::new()) };
        let rows: Result<Vec<_>, _> = names.iter().map(|name| ledger.history(name, &wanted)).collect();
        rows.map(|rows| rows.concat())
    });
    let mut rows: Vec<Deployment> = rows.await.map_err(|problem| broken(&problem, view))?;
    let by_time = wanted.since_ms.is_some();
    rows.sort_by_key(|row| std::cmp::Reverse((if by_time { row.started_ms } else { 0 }, row.number)));
    rows.truncate(wanted.limit as usize);
    let told: Vec<Value> = rows.iter().map(|row| of_row(row, view)).collect();
    Ok(Json(json!({"deployments": told})).into_response())
}

fn limit(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST_ROWS).contains(number));
    number.ok_or_else(|| format!("a number from 1 to {MOST_ROWS}"))
}

pub(crate) async fn deployment(State(server): State<Arc<Server>>, asked: Asked) -> Answer {
    let view = asked.of("deployments", &[])?;
    let shown = shown(&server, &asked, view).await?;
    let mut told = json!({"deployment": of_row(&shown.row, view)});
    told["steps"] = shown.steps.iter().map(|timed| of_step(timed, view)).collect();
    if view == View::Full {
        told["log"] = json!(shown.log);
        told["report"] = json!(shown.report);
    }
    Ok(Json(told).into_response())
}

/// The deployment that the path names, when it is one that this asker may see; its log without any
/// secret.
///
/// # Errors
/// 404; 503 when the ledger cannot be read.
pub(crate) async fn shown(server: &Arc<Server>, asked: &Asked, view: View) -> Result<Shown, Refusal> {
    let id = asked.part("id").to_owned();
    let unknown = Refusal::no_deployment(&id);
    let found = server.ask(move |ledger| Ok(facts::show(ledger, None, &id)));
    let found = found.await.map_err(|problem| broken(&problem, view))?;
    let shown = match found {
        Ok(shown) if asked.names.contains(&shown.row.environment) => shown,
        Err(problem) if problem.kind != "usage" => return Err(broken(&problem, view)),
        _ => return Err(unknown),
    };
    if view == View::Public {
        return Ok(shown);
    }
    let setting = Arc::clone(&asked.setting);
    let read = aside(move || with_log(&setting.config, shown));
    read.await.map_err(|problem| broken(&problem, view))
}

/// A command of the operator's may have to be asked for what is secret now; without it no log is shown.
fn with_log(config: &Config, mut shown: Shown) -> Shown {
    let settings = config.environments.get(&shown.row.environment);
    if let Some(secrets) = settings.and_then(|settings| Secrets::of(config, settings).ok()) {
        shown.read_log(&secrets);
    }
    shown
}

/// Who did it, why and where its log lies are not for everybody.
pub(crate) fn of_row(row: &Deployment, view: View) -> Value {
    without(facts::event(row), &["who", "forced_reason", "log_file"], view)
}

/// Nor is what a step worked on, and what programs said of it.
pub(crate) fn of_step(step: &impl Serialize, view: View) -> Value {
    without(json!(step), &["target", "problem"], view)
}

fn without(mut told: Value, members: &[&str], view: View) -> Value {
    if let (View::Public, Some(known)) = (view, told.as_object_mut()) {
        known.retain(|name, _| !members.contains(&name.as_str()));
    }
    told
}

pub(crate) fn broken(problem: &Problem, view: View) -> Refusal {
    Refusal::broken(problem, view == View::Full)
}
