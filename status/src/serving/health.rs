//! Whether an environment works: its instance answers its health path, and its database opens.

use std::path::Path;
use std::time::Duration;

use axum::http::StatusCode;
use common::config::Config;
use common::database;
use common::http;
use common::instance::Instance;
use common::layout::Place;
use common::report::Problem;
use common::supervisor::{Condition, Supervisor};
use serde::Serialize;

use super::source::Source;

const PROBE: Duration = Duration::from_secs(2);

/// The members of `/_deploy/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Health {
    pub(crate) environment: String,
    /// `healthy` or `unhealthy`.
    pub(crate) status: &'static str,
    /// `ok`, also while somebody has it for himself; `unreadable`, or `none` where the environment has no
    /// database.
    pub(crate) database: &'static str,
    /// `ok`, `failing` (it answers 400 or above), `silent`, `stopped`, or `none` when nothing serves.
    pub(crate) service: &'static str,
}

impl Health {
    /// Asks instance and database.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(crate) fn probe(source: &Source, name: &str) -> Result<Self, Problem> {
        let setting = source.setting();
        let serving = source.ask(|ledger| ledger.map_or(Ok(None), |ledger| ledger.serving(name)))?;
        let place = Place::new(&setting.config, name);
        let instance = serving.and_then(|row| Instance::read(&place, row.slot?));
        let service = instance.map_or("none", |instance| service(&setting.config, &place, &instance));
        let database = database(&setting.config, &place);
        let is_well = service == "ok" && matches!(database, "ok" | "none");
        let status = if is_well { "healthy" } else { "unhealthy" };
        Ok(Self { environment: name.to_owned(), status, database, service })
    }

    pub(crate) fn code(&self) -> StatusCode {
        if self.status == "healthy" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }
}

fn service(config: &Config, place: &Place, instance: &Instance) -> &'static str {
    let Some(settings) = config.environments.get(place.environment()) else { return "none" };
    let condition = Supervisor::of(settings).condition(place, instance.slot);
    if !matches!(condition, Condition::Running { .. } | Condition::Orphaned { .. }) {
        return "stopped";
    }
    match http::get(&instance.address, &config.app.health, PROBE) {
        Ok(answer) if answer.status < 400 => "ok",
        Ok(_) => "failing",
        Err(_) => "silent",
    }
}

fn database(config: &Config, place: &Place) -> &'static str {
    let settings = config.environments.get(place.environment());
    match settings.and_then(|settings| place.database(settings)) {
        None => "none",
        Some(path) if !path.exists() => "none",
        Some(path) => readable(&path),
    }
}

fn readable(path: &Path) -> &'static str {
    match database::open_untouched(path) {
        Err(problem) if !problem.retryable => "unreadable",
        _ => "ok",
    }
}
