//! `deploy [ENV] confirm`: a person or program says that the release may stay.

use std::time::Duration;

use common::cli::Run;
use common::config::Config;
use common::layout::Place;
use common::ledger::{self, Deployment, Ledger};
use common::recovery;
use common::report::Problem;
use common::site::enter;

use crate::attempt::release_of;

/// Confirms what waits in `environment`, or the only thing that waits anywhere.
///
/// # Errors
/// `nothing-to-confirm`; `locked` when the ledger is lost and a run still works; usage when several wait and none is named.
pub(crate) fn run(run: &mut Run, config: &Config, environment: Option<&str>) -> Result<(), Problem> {
    let row = waiting(config, environment)?;
    run.begin(&row.environment, Some(&row.id));
    run.report.release = Some(release_of(&row));
    let confirmed = run.step("confirm", || {
        if Ledger::open(config)?.confirm(&row.id)? { Ok(()) } else { Err(nothing(&row.environment)) }
    });
    // Its own run may be dead: then what is left of it, forward or back, is ours to do.
    let place = Place::new(config, &row.environment);
    let what = format!("deploy {} confirm", row.environment);
    if let Ok((lock, sound)) = enter(config, &place, &what, Duration::ZERO) {
        let (_lock, recovered) = recovery::recover_under(config, &row.environment, "deploy", lock, sound)?;
        recovered.notes.iter().for_each(|note| run.note(note));
    }
    confirmed?;
    run.report.serving = Some(row.revision);
    Ok(())
}

fn waiting(config: &Config, environment: Option<&str>) -> Result<Deployment, Problem> {
    let names: Vec<&str> = match environment {
        Some(name) => config.environment(name).map(|_| vec![name])?,
        None => config.environments.keys().map(String::as_str).collect(),
    };
    drop(ledger::ensure(config, Duration::ZERO)?);
    let Some(ledger) = Ledger::open_read_only(config)? else {
        return Err(nothing(environment.unwrap_or("all")));
    };
    let mut rows = Vec::new();
    for name in &names {
        rows.extend(ledger.awaiting(name)?);
    }
    if rows.len() > 1 {
        let waiting: Vec<&str> = rows.iter().map(|row| row.environment.as_str()).collect();
        return Err(Problem::usage("several deployments wait to be confirmed")
            .detail(waiting.join(", "))
            .hint(format!("deploy {} confirm", waiting[0])));
    }
    rows.pop().ok_or_else(|| nothing(environment.unwrap_or("all")))
}

fn nothing(environment: &str) -> Problem {
    Problem::new("nothing-to-confirm", "no deployment waits to be confirmed")
        .detail("it was confirmed already, or its time was up and it went back")
        .hint(format!("status {environment}"))
}
