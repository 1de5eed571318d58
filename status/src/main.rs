//! `status`: what serves, since when, whether it is healthy, and whether it is what git says.
//!
//! Takes no lock and writes nothing, apart from the verbs that say so: `notifications` sends what
//! waits, `watching` keeps what it sees. `facts` gathers what is known of environments, `uptime`
//! what the watch has kept of them, `words` says it to people, `presentation` puts it into the
//! report, `serving` answers over HTTP, and `dashboard` is the pages among these answers.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arguments;
mod dashboard;
mod errors;
mod facts;
mod notifications;
mod presentation;
mod serving;
mod uptime;
mod watching;
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
    refuse_environment(arguments.verb.as_ref(), asked)?;
    run.begin(asked.unwrap_or("all"), arguments.verb.as_ref().and_then(Verb::deployment));
    match &arguments.verb {
        Some(Verb::Watch(options)) => return watching::run(run, &arguments.shared, asked, options),
        Some(Verb::Serve(options)) => return serving::serve(run, config, options.listen),
        _ => {}
    }
    let ledger = Ledger::open_read_only(&config)?;
    match &arguments.verb {
        Some(Verb::Deliver(options)) if ledger.is_some() => {
            notifications::deliver(run, &config, !options.due)
        }
        Some(Verb::Deliver(_) | Verb::Watch(_) | Verb::Serve(_)) => Ok(()),
        Some(Verb::History(wanted)) => presentation::history(run, ledger.as_ref(), &names, wanted),
        Some(Verb::Show(wanted)) => presentation::show(run, &config, ledger.as_ref(), asked, &wanted.id),
        Some(Verb::Errors(options)) => errors::tell(run, &config, ledger.as_ref(), &names, options),
        Some(Verb::Uptime) => uptime::tell(run, ledger.as_ref(), &names),
        None => {
            let asks_for_all = matches!(asked, None | Some("all"));
            presentation::present(run, &config, ledger.as_ref(), &names, asks_for_all)
        }
    }
}

/// Some verbs are for all environments at once.
fn refuse_environment(verb: Option<&Verb>, asked: Option<&str>) -> Result<(), Problem> {
    match (verb, asked.filter(|name| *name != "all")) {
        (Some(Verb::Deliver(_)), Some(_)) => {
            Err(Problem::usage("deliver takes no environment").hint("status deliver"))
        }
        (Some(Verb::Serve(_)), Some(name)) => {
            let title = format!("one server answers for all environments, not for '{name}' alone");
            Err(Problem::usage(title).hint("status serve"))
        }
        _ => Ok(()),
    }
}

fn environments(config: &Config, asked: Option<&str>) -> Result<Vec<String>, Problem> {
    match asked {
        None | Some("all") => Ok(config.environments.keys().cloned().collect()),
        Some(name) => config.environment(name).map(|_| vec![name.to_owned()]),
    }
}
