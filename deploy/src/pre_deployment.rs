//! Stage 1: the gates, and how what serves now is doing. Nothing is changed here.

use common::cli::Run;
use common::config::Config;
use common::http;
use common::report::Problem;
use common::status_server;

use crate::attempt::Attempt;
use crate::evidence::{self, Asked, Sought};
use crate::gates;

pub(crate) fn run(attempt: &mut Attempt<'_>, asked: &Asked) -> Result<(), Problem> {
    keep_status_server(attempt.run, &attempt.site.config);
    attempt.step("gate.branch", |_, source| gates::branch(source))?;
    attempt.step("gate.clean-tree", |_, source| gates::clean(source))?;
    if attempt.source.has_remote {
        attempt.step("gate.in-sync", |_, source| gates::in_sync(source))?;
    } else {
        attempt.skip("gate.in-sync", "the repository has no remote");
    }
    if attempt.site.settings().promote_from.is_some() {
        pass_evidence(attempt, asked)?;
    }
    attempt.step("gate.disk-space", |site, _| gates::disk(&site.config, &site.place))?;
    attempt.step("gate.requirements", |site, _| gates::requirements(&site.config))?;
    let previous = attempt.previous.clone();
    attempt.step("gate.database", |site, _| {
        gates::database(&site.config, &site.place, previous.as_ref(), Some(&site.ledger))
    })?;
    attempt.step("gate.supervisor", |site, _| site.supervisor.check(&site.place))?;
    attempt.step("gate.public-address", |site, _| gates::public_address(site))?;
    record_health(attempt);
    Ok(())
}

/// Whoever looks on should see this deployment too; without it everything else still works.
pub(crate) fn keep_status_server(run: &Run, config: &Config) {
    if let Err(problem) = status_server::ensure(config) {
        run.warn(&format!("the status server does not run: {problem}"));
    }
}

/// So that a reader can tell what was broken before from what broke now.
fn record_health(attempt: &mut Attempt<'_>) {
    if attempt.previous.is_none() {
        return;
    }
    let settings = attempt.site.settings();
    let address = settings.listen.reachable().into();
    let health = http::get(&address, &attempt.site.config.app.health, std::time::Duration::from_secs(5))
        .map(|answer| answer.status);
    let health = health.map_or_else(serde_json::Value::from, serde_json::Value::from);
    attempt.run.detail("health_before", health);
}

/// A forced deployment is marked before anything of it exists.
fn pass_evidence(attempt: &mut Attempt<'_>, asked: &Asked) -> Result<(), Problem> {
    let site = &attempt.site;
    let sought = Sought {
        config: &site.config,
        environment: &site.environment,
        settings: site.settings(),
        ledger: Some(&site.ledger),
        source: &attempt.source,
    };
    let forced = evidence::gate(attempt.run, asked, &sought);
    attempt.record_last_step();
    let Some(reason) = forced? else { return Ok(()) };
    attempt.run.detail("forced_reason", reason);
    attempt.site.ledger.set_forced(&attempt.id, &attempt.site.secrets.hide(reason))
}
