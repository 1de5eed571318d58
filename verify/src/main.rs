//! `verify`: proves that the release which should serve does serve, and answers rightly.
//!
//! Reads only, but for the verification that it records in the ledger. What could not be checked
//! is `unverified`, never `failed`: only a finding may lead to a rollback.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arguments;
mod browser;
mod checks;
mod crawl;
mod discovery;
mod explain;
mod finding;
mod http;
mod init;
mod leaving;
mod past;
mod picture;
mod program;
mod record;
mod regressions;
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
use common::ledger::{Ledger, Sound};
use common::lock::Lock;
use common::recovery;
use common::report::{Outcome, Problem};
use serde_json::json;

use crate::arguments::{Args, Verb};
use crate::past::{Leaving, Past};
use crate::rendering::Renderings;
use crate::stages::{Results, Stage};
use crate::subject::Subject;

fn main() -> ExitCode {
    cli::main::<Args>("verify", story)
}

fn story(args: Args, run: &mut Run) -> Result<(), Problem> {
    if let Some(Verb::Init(options)) = &args.verb {
        return init::run(&args, options, run);
    }
    if !args.approve.is_empty() {
        return approve(&args, run);
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
    let mut subject = find(args, &config, run)?;
    let renderings = Renderings::open(args)?;
    args.sign.as_deref().map_or(Ok(()), evidence::check_key)?;
    run.hide(&subject.secrets);
    if let Some(environment) = &args.environment {
        run.begin(environment, Some(&subject.instance.deployment));
    }
    run.report.release = Some(subject.revision());
    run.report.serving.clone_from(&subject.serving);
    run.detail("after", subject.last_verification);
    let mut results = check(args, &mut subject, run)?;
    let problem = results.problem.take();
    tell(args, &subject, &results, run);
    run.conclude(problem);
    let lines = match &results.explanation {
        Some(explanation) => explanation.lines(),
        None => rendering::for_people(&results.stages, &rendering::own_steps(&run.shown())),
    };
    for line in lines {
        run.tell(line);
    }
    let leaving = leaving::gather(&subject, results);
    if !run.report.success && args.explain.is_none() {
        let compared = args.only.is_empty() || args.only.contains(&Stage::Regressions);
        leaving::keep_failed(&subject, &leaving, compared, run);
    }
    let signed = if args.is_partial() { Ok(()) } else { attest(args, &config, &subject, &leaving, run) };
    if renderings.are_wanted() {
        renderings.write(&run.shown(), &leaving)?;
    }
    signed
}

fn check(args: &Args, subject: &mut Subject, run: &mut Run) -> Result<Results, Problem> {
    let Some(id) = &args.explain else { return stages::run_all(run, subject, &args.only) };
    let stage = explain::focus(&mut subject.checks, id, subject.place.environment())?;
    subject.explains = true;
    stages::run_one(run, subject, stage, id)
}

/// Accepts changes that earlier runs found; nothing is checked.
fn approve(args: &Args, run: &mut Run) -> Result<(), Problem> {
    let config = args.shared.load()?;
    let environment = args.environment.as_deref().unwrap_or_default();
    config.environment(environment)?;
    run.begin(environment, None);
    let place = Place::new(&config, environment);
    let approved = regressions::approve(&place, &args.approve, &Past::of(&place).failed())?;
    for approval in &approved {
        run.tell(format!("approved    {}", approval.sentence));
        run.tell(format!("            on {} pages of {}", approval.pages.len(), approval.tree));
    }
    run.detail("approved", approved);
    Ok(())
}

/// A full run is kept in the ledger; what was kept there as passed may be signed.
fn attest(
    args: &Args,
    config: &Config,
    subject: &Subject,
    leaving: &Leaving,
    run: &mut Run,
) -> Result<(), Problem> {
    let kept = record::keep(config, subject, leaving, run);
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
    let (_lock, recovered) = recovery::recover_under(config, environment, "verify", lock, Sound::default())?;
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

fn tell(args: &Args, subject: &Subject, results: &Results, run: &mut Run) {
    run.detail("partial", args.is_partial());
    if let Some(slot) = args.slot {
        run.detail("slot", slot);
    }
    if let Some(verdict) = results.verdict {
        run.detail("verdict", verdict);
    }
    if let Some(migrations) = results.database.migrations {
        run.detail("migrations", migrations);
    }
    for (name, facts) in &results.facts {
        run.detail(name, facts);
    }
    let counts = json!({"passed": results.passed, "failed": results.failed, "skipped": results.skipped});
    run.detail("counts", counts);
    run.detail("stages", &results.stages);
    if let Some(explanation) = &results.explanation {
        run.detail("explained", explanation);
    }
    if !results.looks.is_empty() {
        run.detail("browser", &results.looks);
    }
    if let Some(before) = subject.earlier.as_ref().filter(|_| !results.answered.is_empty()) {
        let (deployment, revision, recorded_at) = (&before.deployment, &before.revision, &before.recorded_at);
        let baseline = json!({"deployment": deployment, "revision": revision, "recorded_at": recorded_at});
        run.detail("regressions", results.comparison.told(baseline));
    }
}
