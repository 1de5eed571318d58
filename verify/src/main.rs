//! `verify`: proves that the release which should serve does serve, and answers rightly.
//!
//! Reads only, but for the verification that it records in the ledger. What could not be checked
//! is `unverified`, never `failed`: only a finding may lead to a rollback.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arguments;
mod checks;
mod crawl;
mod discovery;
mod finding;
mod http;
mod init;
mod program;
mod record;
mod rendering;
mod signature;
mod stages;
mod subject;

use std::process::ExitCode;
use std::time::Duration;

use common::cli::{self, Run};
use common::config::Config;
use common::evidence;
use common::layout::Place;
use common::ledger::Ledger;
use common::lock::Lock;
use common::recovery;
use common::report::{Outcome, Problem};
use serde_json::json;

use crate::arguments::{Args, Verb};
use crate::rendering::Renderings;
use crate::stages::Results;
use crate::subject::Subject;

fn main() -> ExitCode {
    cli::main::<Args>("verify", story)
}

fn story(args: Args, run: &mut Run) -> Result<(), Problem> {
    if let Some(Verb::Init(options)) = &args.verb {
        return init::run(&args, options, run);
    }
    let named = args.environment.is_some();
    if !named {
        run.follow(cli::read_report("verify")?);
        if run.report.outcome != Outcome::Succeeded {
            return Ok(());
        }
    }
    verify(&args, run).or_else(|problem| {
        run.report.worsen(Outcome::Unverified);
        run.report.problem.get_or_insert(problem);
        Ok(())
    })
}

/// Errors here are what kept the checks from being made; findings conclude the report instead.
fn verify(args: &Args, run: &mut Run) -> Result<(), Problem> {
    let config = args.shared.load()?;
    recover(args, &config, run)?;
    let subject = find(args, &config, run)?;
    let renderings = Renderings::open(args)?;
    args.sign.as_deref().map_or(Ok(()), evidence::check_key)?;
    run.hide(&subject.secrets);
    if let Some(environment) = &args.environment {
        run.begin(environment, Some(&subject.instance.deployment));
    }
    run.report.release = Some(subject.revision());
    run.report.serving.clone_from(&subject.serving);
    run.detail("after", subject.last_verification);
    let mut results = stages::run_all(run, &subject, &args.only)?;
    let problem = results.problem.take();
    tell(args, &results, run);
    run.conclude(problem);
    let signed = if args.is_partial() { Ok(()) } else { attest(args, &config, &subject, run) };
    renderings.write(&run.shown())?;
    signed
}

/// A full run is kept in the ledger; what was kept there as passed may be signed.
fn attest(args: &Args, config: &Config, subject: &Subject, run: &mut Run) -> Result<(), Problem> {
    let kept = record::keep(config, subject, run);
    match &args.sign {
        Some(key) if run.report.success => signature::add(config, subject, run, key, kept),
        _ => Ok(()),
    }
}

/// Finishes what a crash left, unless another command is at work or has started us. A service that
/// is merely down stays so: that is for the checks to find.
fn recover(args: &Args, config: &Config, run: &Run) -> Result<(), Problem> {
    let environment = args.environment.as_deref().or(run.report.environment.as_deref());
    let Some(environment) = environment.filter(|_| args.slot.is_none()) else { return Ok(()) };
    let unfinished =
        Ledger::open_read_only(config)?.map(|ledger| ledger.unfinished(environment)).transpose()?;
    if unfinished.is_none_or(|rows| rows.is_empty()) {
        return Ok(());
    }
    let place = Place::new(config, environment);
    let Ok(lock) = Lock::take(&place, &format!("verify {environment}"), Duration::ZERO) else {
        return Ok(());
    };
    let (_lock, recovered) = recovery::recover_under(config, environment, "verify", lock)?;
    recovered.notes.iter().for_each(|note| cli::warn(note));
    Ok(())
}

fn find(args: &Args, config: &Config, run: &Run) -> Result<Subject, Problem> {
    if let Some(environment) = &args.environment {
        return Subject::find(config, environment, args.slot);
    }
    let environment = run.report.environment.as_deref().ok_or_else(|| {
        Problem::usage("the report on stdin names no environment").hint("deploy dev | verify")
    })?;
    let subject = Subject::find(config, environment, args.slot)?;
    subject.expect(config, run.report.deployment.as_deref())?;
    Ok(subject)
}

fn tell(args: &Args, results: &Results, run: &mut Run) {
    run.detail("partial", args.is_partial());
    if let Some(slot) = args.slot {
        run.detail("slot", slot);
    }
    if let Some(verdict) = results.verdict {
        run.detail("verdict", verdict);
    }
    if let Some(migrations) = results.migrations {
        run.detail("migrations", migrations);
    }
    for (name, facts) in &results.facts {
        run.detail(name, facts);
    }
    let counts = json!({"passed": results.passed, "failed": results.failed, "skipped": results.skipped});
    run.detail("counts", counts);
    run.detail("stages", &results.stages);
}
