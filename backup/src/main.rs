//! `backup [ENV] [create|list|restore ID|verify ID|prune|export|send]`: snapshots of an environment's
//! database that are proved before they count, and the way back from them.
//!
//! The story in a page: which verb, on which environment. `creation` makes a backup,
//! `restoration` puts one back, `verification` checks one, `retention` says which may go, `provisional`
//! and `readable` complete what nobody waited for, `second` brings copies to another place.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod archive;
mod arguments;
mod content;
mod creation;
mod difference;
mod draft;
mod export;
mod files;
mod further;
mod listing;
mod operation;
mod overwriting;
mod pages;
mod proof;
mod provenance;
mod provisional;
mod readable;
mod replacement;
mod restoration;
mod retention;
mod salvaging;
mod second;
mod site;
mod space;
mod verification;

use std::process::ExitCode;

use common::cli::{self, Run};
use common::lock::Lock;
use common::report::Problem;

use arguments::{Args, CreateOptions, MANUAL, Verb, Wait};
use creation::Request;
use site::Site;

fn main() -> ExitCode {
    cli::main::<Args>("backup", story)
}

fn story(args: Args, run: &mut Run) -> Result<(), Problem> {
    let verb = args.verb.unwrap_or(Verb::Create(args.create));
    let Some(environment) = args.environment else {
        return match verb {
            Verb::Create(options) => continue_report(&args.shared, options, run),
            other => Err(Problem::usage(format!("'{}' needs an environment", other.name()))
                .hint(format!("backup dev {}", other.name()))),
        };
    };
    let config = args.shared.load()?;
    let site = Site::open(&config, &environment, run)?;
    perform(verb, run, &site)
}

fn perform(verb: Verb, run: &mut Run, site: &Site<'_>) -> Result<(), Problem> {
    match verb {
        Verb::Create(options) => {
            run.begin(site.name(), options.deployment.as_deref());
            create(run, site, options)
        }
        Verb::List => listing::list(run, site),
        Verb::Restore { id, discard_writes, salvage, deployment, second, wait } => {
            let request = restoration::Request {
                id: &id,
                discard_writes,
                salvage,
                deployment: deployment.as_deref(),
                second,
                wait: wait.limit(),
            };
            restoration::restore(run, site, &request)
        }
        Verb::Verify { id, second } => verification::verify(run, site, &id, second),
        Verb::Extract { id, file } => verification::extract(run, site, &id, &file),
        Verb::Prune { dry_run, wait } => {
            let lock = begin(run, site, "backup prune", wait)?;
            retention::prune(run, site, dry_run)?;
            if !dry_run {
                second::follow(run, site, &lock);
            }
            Ok(())
        }
        Verb::Export { wait } => {
            let _lock = begin(run, site, "backup export", wait)?;
            readable::export(run, site)
        }
        Verb::Send { wait } => {
            let lock = begin(run, site, "backup send", wait)?;
            second::send(run, site, &lock)
        }
    }
}

fn begin(run: &mut Run, site: &Site<'_>, purpose: &str, wait: Wait) -> Result<Lock, Problem> {
    run.begin(site.name(), None);
    site.lock(purpose, wait.limit())
}

/// The tool before this one names the environment; what it could not do stays undone.
fn continue_report(shared: &cli::Shared, mut options: CreateOptions, run: &mut Run) -> Result<(), Problem> {
    run.follow(cli::read_report("backup")?);
    if !run.report.success {
        return Ok(());
    }
    let environment = run.report.environment.clone().ok_or_else(|| {
        Problem::usage("the report on stdin names no environment").hint("deploy dev | verify | rollback")
    })?;
    let config = shared.load()?;
    let site = Site::open(&config, &environment, run)?;
    if options.deployment.is_none() {
        options.deployment = site.named_by_report(run.report.deployment.as_deref())?;
    }
    create(run, &site, options)
}

fn create(run: &mut Run, site: &Site<'_>, options: CreateOptions) -> Result<(), Problem> {
    let lock = site.lock("backup create", options.wait.limit())?;
    let request =
        Request { reason: &options.reason, protect: options.protect, deployment: options.deployment };
    let Some(backup) = creation::create(run, site, &request)? else { return Ok(()) };
    creation::describe(run, &backup);
    retention::follow_creation(run, site);
    if options.reason == MANUAL {
        second::follow(run, site, &lock);
    } else {
        second::postpone(run, site);
    }
    Ok(())
}
