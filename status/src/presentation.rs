//! What the report of `status` says: environments, their history, one deployment.

use common::cli::Run;
use common::config::Config;
use common::ledger::Ledger;
use common::report::{Outcome, Problem};
use common::secrets::Secrets;

use crate::arguments::History;
use crate::facts::{self, Facts};
use crate::words;

/// Unhealthy means exit 1: status tells the truth to scripts too.
///
/// # Errors
/// `unhealthy`, of the first environment that is.
pub(crate) fn present(
    run: &mut Run,
    config: &Config,
    ledger: Option<&Ledger>,
    names: &[String],
    asks_for_all: bool,
) -> Result<(), Problem> {
    let mut first_unhealthy = None;
    for facts in facts::gather(config, ledger, names)? {
        let problem = tell(run, facts, names.len() == 1);
        first_unhealthy = first_unhealthy.or(problem);
    }
    if asks_for_all {
        let left = tell_unconfigured(run, config);
        first_unhealthy = first_unhealthy.or(left);
    }
    match first_unhealthy {
        Some(problem) => {
            run.report.worsen(Outcome::Failed);
            Err(problem)
        }
        None => Ok(()),
    }
}

/// One environment; what is wrong with it.
fn tell(run: &mut Run, facts: Facts, is_alone: bool) -> Option<Problem> {
    let name = facts.environment.clone();
    if is_alone {
        run.report.serving.clone_from(&facts.revision);
        run.report.deployment.clone_from(&facts.deployment);
    }
    let looked_at = is_alone || !facts.is_untouched();
    let trouble = facts.trouble().filter(|_| looked_at);
    let problem =
        trouble.map(|trouble| Problem::new("unhealthy", format!("'{name}' {trouble}")).hint(facts.advice()));
    for line in words::of_environment(&name, &facts) {
        run.tell(line);
    }
    run.detail(&name, facts);
    problem
}

fn tell_unconfigured(run: &mut Run, config: &Config) -> Option<Problem> {
    let found = facts::unconfigured(config);
    for environment in &found {
        run.tell(environment.words());
    }
    let problem = found.iter().find_map(|environment| environment.trouble(config));
    if !found.is_empty() {
        run.detail("unconfigured", found);
    }
    problem
}

/// Rows of each environment, and how its deployments go.
///
/// # Errors
/// Those of the ledger.
pub(crate) fn history(
    run: &mut Run,
    ledger: Option<&Ledger>,
    names: &[String],
    wanted: &History,
) -> Result<(), Problem> {
    let mut figures = serde_json::Map::new();
    for name in names {
        let Some(ledger) = ledger else {
            run.detail(name, Vec::<()>::new());
            continue;
        };
        let rows = ledger.history(name, &wanted.selection())?;
        for row in &rows {
            run.tell(words::of_event(row));
        }
        let found = ledger.figures(name)?;
        if let Some(line) = words::of_figures(name, &found) {
            run.tell(line);
        }
        figures.insert(name.clone(), serde_json::to_value(found).unwrap_or_default());
        run.detail(name, rows.iter().map(facts::event).collect::<Vec<_>>());
    }
    run.detail("figures", figures);
    Ok(())
}

/// One deployment.
///
/// # Errors
/// Usage (exit 2) when there is none of that id.
pub(crate) fn show(
    run: &mut Run,
    config: &Config,
    ledger: Option<&Ledger>,
    environment: Option<&str>,
    id: &str,
) -> Result<(), Problem> {
    let environment = environment.filter(|name| *name != "all");
    let mut shown = facts::show(ledger, environment, id)?;
    // What programs printed may hold a secret, and only who may read them can take them out.
    match config.environment(&shown.row.environment).and_then(|settings| Secrets::of(config, settings)) {
        Ok(secrets) => {
            run.hide(&secrets);
            shown.read_log(&secrets);
        }
        Err(problem) => run.warn(&format!("the log is left out: {problem}")),
    }
    for line in words::of_shown(&shown) {
        run.tell(line);
    }
    run.detail("shown", shown);
    Ok(())
}
