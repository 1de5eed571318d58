//! `status`: what serves, since when, whether it is healthy, and whether it is what git says.
//!
//! Reads only: takes no lock, writes nothing. `facts` gathers what is known of environments,
//! `words` says it to people, `presentation` puts it into the report, `serving` answers over HTTP, and
//! `dashboard` is the pages among these answers.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arguments;
mod dashboard;
mod facts;
mod presentation;
mod serving;
mod words;

use std::process::ExitCode;

use arguments::{Arguments, Verb};
use common::cli::{self, Run};
use common::config::Config;
use common::ledger::Ledger;
use common::report::Problem;

fn main() -> ExitCode {
    cli::main::<Arguments>("status", story)
}

fn story(arguments: Arguments, run: &mut Run) -> Result<(), Problem> {
    let config = arguments.shared.load()?;
    let asked = arguments.environment.as_deref();
    let names = environments(&config, asked)?;
    if let (Some(Verb::Serve(_)), Some(name)) = (&arguments.verb, asked.filter(|name| *name != "all")) {
        return Err(Problem::usage(format!(
            "one server answers for all environments, not for '{name}' alone"
        ))
        .hint("status serve"));
    }
    let shown = arguments.verb.as_ref().and_then(Verb::deployment);
    run.begin(asked.unwrap_or("all"), shown);
    if let Some(Verb::Serve(options)) = &arguments.verb {
        return serving::serve(run, config, options.listen);
    }
    let ledger = Ledger::open_read_only(&config)?;
    match &arguments.verb {
        Some(Verb::History(wanted)) => presentation::history(run, ledger.as_ref(), &names, wanted),
        Some(Verb::Show(wanted)) => presentation::show(run, &config, ledger.as_ref(), asked, &wanted.id),
        Some(Verb::Serve(_)) | None => {
            let asks_for_all = matches!(asked, None | Some("all"));
            presentation::present(run, &config, ledger.as_ref(), &names, asks_for_all)
        }
    }
}

fn environments(config: &Config, asked: Option<&str>) -> Result<Vec<String>, Problem> {
    match asked {
        None | Some("all") => Ok(config.environments.keys().cloned().collect()),
        Some(name) => config.environment(name).map(|_| vec![name.to_owned()]),
    }
}
