//! `deploy ENV`: makes a revision serve, or leaves everything as it was.
//!
//! The story is below, one stage a module: `pre_deployment` gates, `deployment` builds, migrates
//! (`schema`) and starts, `verification` proves and cuts over, `watch` looks on, `confirmation` waits
//! for a person if asked to, `post_deployment` tags and tidies up. An `Attempt` carries what they
//! share and undoes it all when one of them fails.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arguments;
mod attempt;
mod confirmation;
mod contract;
mod deployment;
mod doctor;
mod evidence;
mod gates;
mod hooks;
mod init;
mod merge;
mod nginx;
mod plan;
mod post_deployment;
mod pre_deployment;
mod schema;
mod siblings;
mod source;
mod standstill;
mod test_gate;
mod verification;
mod watch;

use std::process::ExitCode;

use arguments::{Arguments, DeployOptions, Verb};
use attempt::Attempt;
use common::chores;
use common::cli::{self, Run};
use common::handover;
use common::ledger::{Deployment, State};
use common::notify;
use common::recovery;
use common::report::Problem;
use common::site::Site;
use evidence::Asked;
use source::Source;

fn main() -> ExitCode {
    cli::main::<Arguments>("deploy", story)
}

fn story(arguments: Arguments, run: &mut Run) -> Result<(), Problem> {
    match (&arguments.verb, &arguments.environment) {
        (Some(Verb::Init(options)), None) => match &options.nginx {
            Some(environment) => nginx::introduce(run, &arguments.shared.load()?, environment),
            None => init::run(run, options),
        },
        (Some(Verb::Doctor), environment) => doctor::run(run, &arguments, environment.as_deref()),
        (Some(Verb::Confirm(options)), environment) => {
            confirm(run, &arguments, environment.as_deref(), options.guard.as_deref())
        }
        (Some(Verb::Hooks(verb)), None) => hooks::run(run, &arguments.shared, verb),
        (None, Some(environment)) => deploy(run, &arguments, environment),
        (Some(Verb::Init(_)), Some(_)) => {
            Err(Problem::usage("init takes no environment").hint("deploy init"))
        }
        (Some(Verb::Hooks(_)), Some(_)) => {
            Err(Problem::usage("hooks takes no environment").hint("deploy hooks install"))
        }
        (None, None) => Err(Problem::usage("deploy needs an environment").hint("deploy dev")),
    }
}

fn deploy(run: &mut Run, arguments: &Arguments, environment: &str) -> Result<(), Problem> {
    let options = &arguments.options;
    let config = arguments.shared.load()?;
    let evidence = Asked::read(&config, environment, options)?;
    if options.plan {
        let source = Source::choose(&config, environment, options)?;
        return plan::tell(run, &config, environment, &source, options, &evidence);
    }
    run.report.environment = Some(environment.to_owned());
    let site = Site::open(config, environment, "deploy", options.wait())?;
    let source = Source::choose(&site.config, environment, options)?;
    if let Some(serving) = needless(&site, &source, options)? {
        tell_needless(run, &site, &serving)?;
        run.warn_all(&chores::retry(&site));
        run.warn_all(&notify::send_soon(&site.config, &site.ledger));
        return Ok(());
    }
    let mut attempt = Attempt::begin(run, site, source)?;
    let result = stages(&mut attempt, options, &evidence);
    attempt.end(result)
}

fn confirm(
    run: &mut Run,
    arguments: &Arguments,
    environment: Option<&str>,
    guarded: Option<&str>,
) -> Result<(), Problem> {
    let config = arguments.shared.load()?;
    match (environment, guarded) {
        (Some(environment), Some(id)) => confirmation::watch(run, &config, environment, id),
        _ => confirmation::answer(run, &config, environment),
    }
}

fn stages(attempt: &mut Attempt<'_>, options: &DeployOptions, evidence: &Asked) -> Result<(), Problem> {
    pre_deployment::run(attempt, evidence)?;
    deployment::run(attempt, options)?;
    confirmation::prepare(attempt, options)?;
    verification::run(attempt, options)?;
    confirmation::run(attempt, options)?;
    post_deployment::run(attempt, options.contract);
    Ok(())
}

/// The deployment that serves the asked-for revision already, verified and undisturbed.
fn needless(site: &Site, source: &Source, options: &DeployOptions) -> Result<Option<Deployment>, Problem> {
    if options.again || options.contract || !site.ledger.unfinished(&site.environment)?.is_empty() {
        return Ok(None);
    }
    let serving = site.ledger.serving(&site.environment)?.filter(|serving| {
        serving.revision == source.revision
            && serving.state == State::Verified
            && handover::serves(site, serving)
            && gates::work_tree(source).is_ok()
    });
    Ok(serving)
}

fn tell_needless(run: &mut Run, site: &Site, serving: &Deployment) -> Result<(), Problem> {
    run.begin(&serving.environment, Some(&serving.id));
    let notes = recovery::tend(&site.ledger, &site.gateway, &site.environment)?;
    if !notes.is_empty() {
        for note in &notes {
            cli::warn(note);
        }
        run.detail("recovered", notes);
    }
    run.report.serving = Some(serving.revision.clone());
    run.report.release = Some(attempt::release_of(serving));
    pre_deployment::keep_status_server(run, &site.config);
    run.skip("deploy", "this revision serves already and is verified; --again deploys it all the same");
    Ok(())
}
