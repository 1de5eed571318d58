//! The stages in their order, what each depends on, and how one that failed stops the others.

mod browser;
mod capped;
mod commands;
mod content;
mod database;
mod errors;
mod expectation;
mod files;
mod forms;
mod identity;
mod links;
mod pages;
mod regressions;
mod routes;
mod service;
mod sight;
mod submission;
mod visiting;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::cli::Run;
use common::identity::Verdict;
use common::interrupt;
use common::report::{Problem, Status, Step};
use serde::Serialize;
use serde_json::Value;

pub(crate) use sight::Sight;

pub(crate) use browser::Look;

use crate::explain::Explanation;
use crate::regressions::{Answered, Comparison};
use crate::subject::Subject;

pub(crate) const TOOL: &str = "verify";
/// How long any one request may take unless its check grants more.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// A stage of the verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// The instance and the gateway run and answer.
    Service,
    /// What answers is the expected release, on the right database.
    Identity,
    /// Files of the release are what they were meant to be.
    Files,
    /// The database is whole and migrated, and has what it must have.
    Database,
    /// Each route answers as its check says.
    Routes,
    /// No page shows what none may show.
    Content,
    /// Every link inside the app leads somewhere.
    Links,
    /// Every form leads to something that takes it.
    Forms,
    /// No page errs in a browser, and all of it loads.
    Browser,
    /// Nothing is lost that the release before had.
    Regressions,
    /// Programs of the release find nothing.
    Commands,
    /// The log has no error that no other release had.
    Errors,
}

impl Stage {
    pub(crate) const ALL: [Self; 12] = [
        Self::Service,
        Self::Identity,
        Self::Files,
        Self::Database,
        Self::Routes,
        Self::Content,
        Self::Links,
        Self::Forms,
        Self::Browser,
        Self::Regressions,
        Self::Commands,
        Self::Errors,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Identity => "identity",
            Self::Files => "files",
            Self::Database => "database",
            Self::Routes => "routes",
            Self::Content => "content",
            Self::Links => "links",
            Self::Forms => "forms",
            Self::Browser => "browser",
            Self::Regressions => "regressions",
            Self::Commands => "commands",
            Self::Errors => "errors",
        }
    }

    fn needs(self) -> &'static [Self] {
        match self {
            Self::Service | Self::Files | Self::Database => &[],
            Self::Identity => &[Self::Service],
            _ => &[Self::Service, Self::Identity],
        }
    }
}

/// How one stage ended.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ended {
    #[serde(rename = "name")]
    pub(crate) stage: Stage,
    pub(crate) status: Status,
    pub(crate) duration_ms: u64,
}

/// How all of them ended.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) stages: Vec<Ended>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) database: database::Facts,
    /// Each page as a browser showed it.
    pub(crate) looks: Vec<Look>,
    /// Every page that answered.
    pub(crate) answered: Vec<Answered>,
    /// With the release before.
    pub(crate) comparison: Comparison,
    /// Of the one check that was asked for.
    pub(crate) explanation: Option<Explanation>,
    /// What programs printed.
    pub(crate) log: Option<PathBuf>,
    /// What a stage has to say beside its steps, by its name.
    pub(crate) facts: Vec<(&'static str, Value)>,
    /// The first problem that decides the outcome.
    pub(crate) problem: Option<Problem>,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Results {
    fn blocks(&self, stage: Stage) -> Option<Stage> {
        let failed = |needed: &&Stage| {
            self.stages.iter().any(|ended| ended.stage == **needed && ended.status == Status::Failed)
        };
        // An identity that could not be seen says nothing against the pages.
        let unseen = self.verdict == Some(Verdict::Unknown);
        stage.needs().iter().filter(failed).find(|needed| !(unseen && **needed == Stage::Identity)).copied()
    }

    /// Keeps the facts of a stage, and gives its steps.
    fn noting(&mut self, stage: Stage, (steps, facts): (Vec<Step>, Option<Value>)) -> Vec<Step> {
        self.facts.extend(facts.map(|facts| (stage.name(), facts)));
        steps
    }

    fn take(&mut self, run: &mut Run, stage: Stage, steps: Vec<Step>, took: Duration) {
        let has = |status| steps.iter().any(|step| step.status == status);
        let status = match (has(Status::Failed), has(Status::Passed)) {
            (true, _) => Status::Failed,
            (false, true) => Status::Passed,
            (false, false) => Status::Skipped,
        };
        self.stages.push(Ended { stage, status, duration_ms: milliseconds(took) });
        run.report.steps.reserve_exact(steps.len());
        for step in steps {
            match step.status {
                Status::Passed => self.passed += 1,
                Status::Skipped => self.skipped += 1,
                Status::Failed => {
                    self.failed += 1;
                    self.note(step.problem.as_deref());
                }
            }
            run.push(step);
        }
    }

    /// What is wrong outweighs what could not be checked; else the first one counts.
    fn note(&mut self, problem: Option<&Problem>) {
        let Some(problem) = problem else { return };
        let outweighs = |known: &Problem| known.kind == "unverified" && problem.kind != "unverified";
        if self.problem.as_ref().is_none_or(outweighs) {
            self.problem = Some(problem.clone());
        }
    }
}

/// What `init` excuses: each by the name that a check would skip it with.
pub(crate) mod flaws {
    pub(crate) use super::content::shown;
    pub(crate) use super::forms::flawed as of_forms;
    pub(crate) use super::links::flawed as of_links;
    pub(crate) use super::routes::unchecked;
}

/// Runs the stages of `only`, all when it is empty.
///
/// # Errors
/// `interrupted`, and `unverified` when not even a request can be made; what checks find is in the
/// results.
pub(crate) fn run_all(run: &mut Run, subject: &Subject, only: &[Stage]) -> Result<Results, Problem> {
    let mut results = Results::default();
    let survey = OnceCell::new();
    let sight = Sight::new(subject, &survey)?;
    for stage in Stage::ALL.into_iter().filter(|stage| only.is_empty() || only.contains(stage)) {
        interrupt::check()?;
        let begun = Instant::now();
        let steps = match results.blocks(stage) {
            Some(failed) => vec![skipped(stage.name(), &format!("{} failed", failed.name()))],
            None => check(stage, &sight, &mut results)?,
        };
        results.take(run, stage, steps, begun.elapsed());
    }
    interrupt::check()?;
    let log = results.log.as_ref().map(|log| log.display().to_string());
    run.report.log_file = run.report.log_file.take().or(log);
    Ok(results)
}

/// Runs one check alone, or its whole stage where the check is not one of its own.
///
/// # Errors
/// `usage`: the stage has no such check; those of [`run_all`].
pub(crate) fn run_one(run: &mut Run, subject: &Subject, stage: Stage, id: &str) -> Result<Results, Problem> {
    let mut results = Results::default();
    let survey = OnceCell::new();
    let sight = Sight::new(subject, &survey)?;
    let begun = Instant::now();
    let mut steps = check(stage, &sight, &mut results)?;
    if steps.iter().any(|step| step.name == id) {
        steps.retain(|step| step.name == id);
    }
    let step = steps.first().cloned().unwrap_or_else(|| skipped(stage.name(), "nothing was checked"));
    let name = id.split_once('.').map_or("", |(_, name)| name);
    let exchange = sight.asked(name).and_then(|page| page.kept()?.exchange.clone());
    results.explanation = Some(Explanation::of(&step, subject, stage, exchange));
    results.take(run, stage, steps, begun.elapsed());
    interrupt::check()?;
    Ok(results)
}

fn check(stage: Stage, sight: &Sight<'_>, results: &mut Results) -> Result<Vec<Step>, Problem> {
    let subject = sight.subject;
    Ok(match stage {
        Stage::Service => {
            vec![timed("service", &subject.address.to_string(), || service::check(subject))]
        }
        Stage::Identity => {
            let target = subject.instance.address.to_string();
            vec![timed("identity", &target, || identity::check(subject, &mut results.verdict))]
        }
        Stage::Files => files::steps(subject),
        Stage::Database => database::check(subject, &mut results.database),
        Stage::Routes => results.noting(stage, routes::steps(sight)),
        Stage::Content => content::steps(sight),
        Stage::Links => results.noting(stage, links::steps(sight)),
        Stage::Forms => results.noting(stage, forms::steps(sight)),
        Stage::Browser => browser::check(sight, &mut results.looks)?,
        Stage::Regressions => {
            results.answered = regressions::answered(sight);
            regressions::check(subject, &results.answered, &mut results.comparison)?
        }
        Stage::Commands => {
            let (steps, log) = commands::steps(subject);
            results.log = log;
            steps
        }
        Stage::Errors => errors::steps(subject),
    })
}

/// A step that passes when `act` has no problem.
fn timed(name: &str, target: &str, act: impl FnOnce() -> Result<(), Problem>) -> Step {
    let begun = Instant::now();
    let result = act();
    let step = Step::new(TOOL, name, milliseconds(begun.elapsed())).target(target);
    match result {
        Ok(()) => step,
        Err(problem) => step.fail(problem),
    }
}

fn skipped(name: &str, reason: &str) -> Step {
    Step::new(TOOL, name, 0).skip(reason)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
