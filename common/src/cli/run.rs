//! One run of a tool: it times steps, shows progress, and ends in exactly one report.

use std::borrow::Cow;
use std::io::{IsTerminal, Stdout, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::progress::Progress;
use super::{Shared, human};
use crate::fault;
use crate::interrupt;
use crate::report::{Outcome, Problem, Received, Report, Status, Step, Writer, quoted};
use crate::secrets::Secrets;
use crate::space;

/// What a tool's story writes into.
pub struct Run {
    pub report: Report,
    tool: &'static str,
    json: bool,
    writer: Writer<Stdout>,
    progress: Progress,
    secrets: Secrets,
    told: Vec<String>,
    /// The problem that an earlier tool of the chain has told already.
    inherited: Option<Problem>,
    started: Instant,
}

impl Run {
    pub fn new(tool: &'static str, shared: &Shared) -> Self {
        Self {
            report: Report::new(tool),
            tool,
            json: shared.json || !stdout().is_terminal(),
            writer: Writer::new(stdout()),
            progress: Progress::new(tool, shared.quiet),
            secrets: Secrets::default(),
            told: Vec::new(),
            inherited: None,
            started: Instant::now(),
        }
    }

    /// Names what this run is about and flushes line 1 of the report.
    pub fn begin(&mut self, environment: &str, deployment: Option<&str>) {
        self.report.environment = Some(environment.to_owned());
        self.report.deployment = deployment.map(str::to_owned);
        if self.json {
            self.writer.write_head(&self.report);
        }
    }

    /// Continues a received report: its content becomes the beginning of this one.
    pub fn follow(&mut self, received: Received) {
        self.report.follow(received.report());
        self.inherited = self.report.problem.clone();
        if self.json {
            self.writer.write_head(&self.report);
        }
    }

    /// Values that must never appear in what this run prints.
    pub fn hide(&mut self, secrets: &Secrets) {
        self.secrets.merge(secrets);
    }

    /// The report as it may be shown and stored: no secret in it.
    pub fn shown(&self) -> Cow<'_, Report> {
        self.secrets.hide_in_report(&self.report)
    }

    /// A step as it may be shown and stored.
    pub fn shown_step(&self, step: &Step) -> Step {
        self.secrets.hide_in_step(step)
    }

    /// A warning for people.
    pub fn warn(&self, sentence: &str) {
        super::warn(&self.secrets.hide(sentence));
    }

    /// Runs one step and records how it ended.
    ///
    /// # Errors
    /// The step's own problem, or `interrupted` when a signal came before it began.
    pub fn step<T>(&mut self, name: &str, act: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
        fault::point(name);
        interrupt::check()?;
        let begun = Instant::now();
        let result = act().map_err(explain);
        self.end_step(name, None, begun.elapsed(), result.as_ref().err());
        result
    }

    /// Records a step that was timed elsewhere.
    pub fn end_step(&mut self, name: &str, target: Option<&str>, took: Duration, problem: Option<&Problem>) {
        let mut step = Step::new(self.tool, name, millis(took));
        step.target = target.map(str::to_owned);
        self.push(match problem {
            Some(problem) => step.fail(problem.clone()),
            None => step,
        });
    }

    /// Records a step that is not done, with the reason.
    pub fn skip(&mut self, name: &str, reason: &str) {
        let step = Step::new(self.tool, name, 0).skip(reason);
        self.push(step);
    }

    /// Appends a step of any tool and shows it.
    pub fn push(&mut self, step: Step) {
        self.progress.show(&self.secrets.hide_in_step(&step));
        self.report.push(step);
    }

    /// Takes a sibling's report into this one and shows its failed steps.
    pub fn adopt(&mut self, other: Report) {
        for step in other.steps.iter().filter(|step| step.status != Status::Skipped) {
            self.progress.show(&self.secrets.hide_in_step(step));
        }
        self.report.adopt(other);
    }

    /// One sentence of progress on stderr.
    pub fn note(&self, sentence: &str) {
        self.progress.say(&self.secrets.hide(sentence));
    }

    /// A line for people, printed on a terminal in place of the raw details.
    pub fn tell(&mut self, line: impl Into<String>) {
        self.told.push(line.into());
    }

    /// Puts facts under this tool's name.
    pub fn detail(&mut self, name: &str, value: impl serde::Serialize) {
        let value = serde_json::to_value(value).unwrap_or_default();
        let facts = self.report.details.entry(self.tool.to_owned()).or_insert_with(|| serde_json::json!({}));
        // A report from elsewhere may have anything there.
        if !facts.is_object() {
            *facts = serde_json::json!({});
        }
        facts[name] = value;
    }

    /// Says on stderr and in the details what went wrong beside the thing asked for.
    pub fn warn_all(&mut self, warnings: &[String]) {
        for warning in warnings {
            self.warn(warning);
        }
        if warnings.is_empty() {
            return;
        }
        let earlier = self.report.details.get(self.tool).and_then(|facts| facts["warnings"].as_array());
        let mut all = earlier.cloned().unwrap_or_default();
        all.extend(warnings.iter().map(|warning| warning.as_str().into()));
        self.detail("warnings", all);
    }

    /// Milliseconds since the run began.
    pub fn elapsed_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    /// Concludes the report by `result`, prints it and gives the exit status that follows from it.
    pub fn finish(mut self, result: Result<(), Problem>) -> ExitCode {
        self.conclude(result.err().map(explain));
        let signal = self.interrupted_by();
        let is_news = self.report.problem != self.inherited;
        let report = self.secrets.hide_in_report(&self.report);
        if self.json {
            self.writer.write_rest(&report);
        } else {
            let told: Vec<String> = self.told.iter().map(|line| self.secrets.hide(line)).collect();
            human::print_report(&report, &told);
        }
        let news = report.problem.as_ref().filter(|_| is_news);
        if let Some(problem) = news.filter(|_| self.json && !report.success) {
            self.progress.explain(problem);
        }
        ExitCode::from(signal.unwrap_or_else(|| report.exit_status()))
    }

    /// Settles outcome, problem and duration; also what is kept in the ledger.
    pub fn conclude(&mut self, problem: Option<Problem>) {
        if let Some(problem) = problem {
            let outcome = if problem.is_unverified() { Outcome::Unverified } else { Outcome::Failed };
            self.report.worsen(outcome);
            if problem.is_usage() {
                self.report.problem = Some(problem);
            } else {
                self.report.problem.get_or_insert(problem);
            }
        }
        if self.report.problem != self.inherited {
            self.report.problem =
                self.report.problem.take().map(space::explain).map(|problem| self.with_hint(problem));
        }
        self.report.duration_ms = self.elapsed_ms();
    }

    /// A problem that knows no cure of its own is told where more stands.
    fn with_hint(&self, problem: Problem) -> Problem {
        if problem.hint.is_some() {
            return problem;
        }
        let report = &self.report;
        problem.hint(match (&report.log_file, &report.environment) {
            (Some(log), _) => format!("less {}", quoted(log)),
            (None, Some(environment)) => format!("status {}", quoted(environment)),
            (None, None) => format!("{} --help", self.tool),
        })
    }

    fn interrupted_by(&self) -> Option<u8> {
        let kind = self.report.problem.as_ref().map(|problem| problem.kind.as_str());
        let signal = interrupt::received().filter(|_| kind == Some("interrupted"))?;
        u8::try_from(128 + signal).ok()
    }
}

/// Why it really failed: a run that was told to stop takes its programs with it, and on a full disk
/// everything fails.
fn explain(problem: Problem) -> Problem {
    match interrupt::check() {
        Err(interrupted) if problem.kind != interrupted.kind => interrupted.detail(problem.to_string()),
        _ => space::explain(problem),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
