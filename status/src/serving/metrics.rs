//! The same facts as numbers, in the text format of Prometheus. Every name begins with `deploy_`.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use common::ledger;
use jiff::Timestamp;
use serde_json::Value;

use super::Server;
use super::asked::Asked;
use super::endpoints::broken;
use super::refusal::Refusal;
use super::snapshot::{Seen, Snapshot};

const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rows of the ledger by state, of each environment.
type Counts = Vec<(String, Vec<(ledger::State, u64)>)>;
/// Name, type, meaning, and the value of an environment, when it has one.
type Metric = (&'static str, &'static str, &'static str, fn(&Seen) -> Option<f64>);

const METRICS: [Metric; 18] = [
    ("healthy", "gauge", "1 when the environment works", |seen| {
        Some(f64::from(seen.facts.trouble().is_none()))
    }),
    ("serving_since_seconds", "gauge", "when what serves began to", |seen| {
        moment(seen.facts.serving_since.as_deref()?)
    }),
    ("instance_uptime_seconds", "gauge", "how long the instance runs", |seen| {
        Some(number(seen.facts.instance.as_ref(), "uptime_ms")? / 1000.0)
    }),
    ("instance_restarts_total", "counter", "how often it was started again", |seen| {
        number(seen.facts.instance.as_ref(), "restarts")
    }),
    ("gateway_requests_total", "counter", "requests since the gateway began", |seen| {
        Some(float(seen.facts.gateway.as_ref()?.requests?))
    }),
    ("gateway_failed_total", "counter", "requests that it could not bring to the app", |seen| {
        Some(float(seen.facts.gateway.as_ref()?.failed?))
    }),
    ("gateway_server_errors_total", "counter", "answers of 500 and above", |seen| {
        Some(float(seen.facts.gateway.as_ref()?.server_errors?))
    }),
    ("gateway_requests_cut_total", "counter", "requests that a drain cut", |seen| {
        Some(float(seen.facts.gateway.as_ref()?.requests_cut?))
    }),
    ("gateway_in_flight", "gauge", "requests under way", |seen| {
        Some(float(seen.facts.gateway.as_ref()?.in_flight?))
    }),
    ("deploying", "gauge", "1 while a command works on it", |seen| {
        Some(f64::from(seen.facts.lock.is_some()))
    }),
    ("unfinished", "gauge", "runs that were cut off", |seen| Some(float(seen.facts.unfinished.len() as u64))),
    ("migrations_pending", "gauge", "migrations that are not applied", |seen| {
        number(seen.facts.database.as_ref(), "pending")
    }),
    ("database_version", "gauge", "the newest applied migration", |seen| {
        number(seen.facts.database.as_ref(), "version")
    }),
    ("last_verification_passed", "gauge", "1 when the newest verification passed", |seen| {
        seen.facts.last_verification.as_ref().map(|found| f64::from(found["passed"] == true))
    }),
    ("last_verification_duration_seconds", "gauge", "how long it took", |seen| {
        Some(number(seen.facts.last_verification.as_ref(), "duration_ms")? / 1000.0)
    }),
    ("last_backup_seconds", "gauge", "when the newest backup was made", |seen| {
        moment(seen.facts.last_backup.as_ref()?["at"].as_str()?)
    }),
    ("success_ratio", "gauge", "of the newest hundred deployments", |seen| seen.figures.success_rate),
    ("rollback_duration_seconds", "gauge", "median of the newest hundred rollbacks", |seen| {
        seen.figures.rollback_ms.map(|taken| signed(taken) / 1000.0)
    }),
];

pub(super) async fn metrics(State(server): State<Arc<Server>>, asked: Asked) -> Result<Response, Refusal> {
    let view = asked.of("metrics", &[])?;
    let snapshot = server.snapshot().await.map_err(|problem| broken(&problem, view))?;
    let names = asked.names.clone();
    let counts = server.ask(move |known| {
        let Some(ledger) = known else { return Ok(Counts::new()) };
        names.into_iter().map(|name| ledger.counts(&name).map(|counts| (name, counts))).collect()
    });
    let counts = counts.await.map_err(|problem| broken(&problem, view))?;
    Ok(([(CONTENT_TYPE, FORMAT)], render(&snapshot, &asked.names, &counts)).into_response())
}

fn render(snapshot: &Snapshot, names: &[String], counts: &Counts) -> String {
    let mut text = String::new();
    for (name, kind, meaning, value) in METRICS {
        let found = snapshot.of(names).filter_map(|seen| Some((seen, value(seen)?)));
        let lines: Vec<String> =
            found.map(|(seen, value)| format!("deploy_{name}{{{}}} {value}\n", label(seen))).collect();
        section(&mut text, name, kind, meaning, &lines);
    }
    let serving = snapshot.of(names).filter_map(|seen| {
        let (facts, label) = (&seen.facts, label(seen));
        let (revision, state) = (facts.revision.as_ref()?, facts.state.as_ref()?);
        Some(format!("deploy_serving_info{{{label},revision=\"{revision}\",state=\"{state}\"}} 1\n"))
    });
    let lines: Vec<String> = serving.collect();
    section(&mut text, "serving_info", "gauge", "what serves", &lines);
    let lines = counts.iter().flat_map(|(name, counts)| {
        let line = move |(state, count): &(ledger::State, u64)| {
            format!("deploy_deployments{{environment=\"{name}\",state=\"{}\"}} {count}\n", state.word())
        };
        counts.iter().map(line)
    });
    let lines: Vec<String> = lines.collect();
    section(&mut text, "deployments", "gauge", "rows of the ledger by state", &lines);
    let free = snapshot.environments.iter().find_map(|seen| seen.facts.free_bytes);
    let lines: Vec<String> =
        free.map(|free| format!("deploy_state_free_bytes {free}\n")).into_iter().collect();
    section(&mut text, "state_free_bytes", "gauge", "room on the disk of the state directory", &lines);
    text
}

fn section(text: &mut String, name: &str, kind: &str, meaning: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ =
            write!(text, "# HELP deploy_{name} {meaning}\n# TYPE deploy_{name} {kind}\n{}", lines.concat());
    }
}

fn label(seen: &Seen) -> String {
    format!("environment=\"{}\"", seen.facts.environment)
}

fn number(facts: Option<&Value>, name: &str) -> Option<f64> {
    facts?[name].as_f64()
}

fn moment(time: &str) -> Option<f64> {
    time.parse::<Timestamp>().ok().map(|at| signed(at.as_millisecond()) / 1000.0)
}

/// Counts and milliseconds stay below 2^53.
#[allow(clippy::cast_precision_loss)]
fn float(count: u64) -> f64 {
    count as f64
}

#[allow(clippy::cast_precision_loss)]
fn signed(number: i64) -> f64 {
    number as f64
}
