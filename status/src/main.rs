//! `status`: what serves, since when, whether it is healthy, and whether it is what git says.
//!
//! Takes no lock and writes nothing, apart from the verbs that say so: `notifications` sends what
//! waits, `watching` keeps what it sees. `facts` gathers what is known of one environment, `uptime`
//! what the watch has kept of it, `words` says it to people.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod errors;
mod facts;
mod notifications;
mod schema;
mod uptime;
mod watching;
mod words;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use common::cli::{self, Grammar, Run, Shared};
use common::config::Config;
use common::ledger::Ledger;
use common::report::{Outcome, Problem};

/// Say what serves, since when, and whether it is healthy
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    /// An environment, or `all` (the default)
    #[arg(value_name = "ENV")]
    environment: Option<String>,
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    verb: Option<Verb>,
}

impl Grammar for Arguments {
    fn shared(&self) -> &Shared {
        &self.shared
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List past deployments, newest first
    History(History),
    /// Say how much of the time it was up, and how fast it answered
    Uptime,
    /// List the errors in the logs of the instances, new ones first
    Errors(errors::Errors),
    /// Look again and again, keep what is seen, and tell changes
    Watch(watching::Watch),
    /// Send the notifications that could not be delivered yet
    Deliver(Deliver),
}

#[derive(Debug, Args)]
struct Deliver {
    /// Only those whose time to be tried again has come
    #[arg(long, hide = true)]
    due: bool,
}

#[derive(Debug, Args)]
struct History {
    /// How many to list
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
}

fn main() -> ExitCode {
    cli::main::<Arguments>("status", story)
}

fn story(arguments: Arguments, run: &mut Run) -> Result<(), Problem> {
    let config = arguments.shared.load()?;
    let asked = arguments.environment.as_deref();
    let names = environments(&config, asked)?;
    if let (Some(Verb::Deliver(_)), Some(_)) = (&arguments.verb, asked) {
        return Err(Problem::usage("deliver takes no environment").hint("status deliver"));
    }
    run.begin(asked.unwrap_or("all"), None);
    if let Some(Verb::Watch(options)) = &arguments.verb {
        return watching::run(run, &arguments.shared, asked, options);
    }
    let ledger = Ledger::open_read_only(&config)?;
    match &arguments.verb {
        Some(Verb::Deliver(options)) if ledger.is_some() => {
            notifications::deliver(run, &config, !options.due)
        }
        Some(Verb::Deliver(_) | Verb::Watch(_)) => Ok(()),
        Some(Verb::History(options)) => history(run, ledger.as_ref(), &names, options),
        Some(Verb::Errors(options)) => errors::tell(run, &config, ledger.as_ref(), &names, options),
        Some(Verb::Uptime) => uptime::tell(run, ledger.as_ref(), &names),
        None => present(run, &config, ledger.as_ref(), &names, matches!(asked, None | Some("all"))),
    }
}

fn environments(config: &Config, asked: Option<&str>) -> Result<Vec<String>, Problem> {
    match asked {
        None | Some("all") => Ok(config.environments.keys().cloned().collect()),
        Some(name) => config.environment(name).map(|_| vec![name.to_owned()]),
    }
}

/// Unhealthy means exit 1: status tells the truth to scripts too.
fn present(
    run: &mut Run,
    config: &Config,
    ledger: Option<&Ledger>,
    names: &[String],
    asks_for_all: bool,
) -> Result<(), Problem> {
    let mut first_unhealthy = None;
    for name in names {
        let facts = facts::gather(config, ledger, name)?;
        if let [_] = names {
            run.report.serving.clone_from(&facts.revision);
            run.report.deployment.clone_from(&facts.deployment);
        }
        let looked_at = names.len() == 1 || !facts.is_untouched();
        if let Some(trouble) = facts.trouble().filter(|_| looked_at) {
            let problem = Problem::new("unhealthy", format!("'{name}' {trouble}")).hint(facts.advice());
            first_unhealthy.get_or_insert(problem);
        }
        for line in words::of_environment(name, &facts) {
            run.tell(line);
        }
        run.detail(name, facts);
    }
    if asks_for_all {
        let found = facts::unconfigured(config);
        for environment in &found {
            run.tell(environment.words());
        }
        first_unhealthy =
            first_unhealthy.or(found.iter().find_map(|environment| environment.trouble(config)));
        if !found.is_empty() {
            run.detail("unconfigured", found);
        }
    }
    match first_unhealthy {
        Some(problem) => {
            run.report.worsen(Outcome::Failed);
            Err(problem)
        }
        None => Ok(()),
    }
}

fn history(
    run: &mut Run,
    ledger: Option<&Ledger>,
    names: &[String],
    options: &History,
) -> Result<(), Problem> {
    for name in names {
        let rows = ledger.map(|ledger| ledger.history(name, options.limit)).transpose()?.unwrap_or_default();
        for row in &rows {
            run.tell(words::of_event(row));
        }
        run.detail(name, rows.iter().map(facts::event).collect::<Vec<_>>());
    }
    Ok(())
}
