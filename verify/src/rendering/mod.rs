//! The same steps for other readers: a JUnit file, an HTML page, TAP and GitHub annotations, and
//! lines for a terminal. Stdout carries the report and nothing else.

mod github;
mod html;
mod human;
mod junit;
mod tap;

use std::fs::File;
use std::io::{Write, stderr};
use std::path::PathBuf;

use common::report::{OrProblem, Problem, Report, Step};

use crate::arguments::Args;
use crate::past::Leaving;
use crate::stages::TOOL;

pub(crate) use human::render as for_people;

/// What was asked for, its files already open.
pub(crate) struct Renderings {
    junit: Option<(PathBuf, File)>,
    html: Option<(PathBuf, File)>,
    tap: bool,
    github: bool,
}

impl Renderings {
    /// Opens the files before anything is checked.
    ///
    /// # Errors
    /// `usage` when one cannot be written.
    pub(crate) fn open(args: &Args) -> Result<Self, Problem> {
        let create = |path: &PathBuf| -> Result<_, Problem> {
            let file =
                File::create(path).or_problem("usage", || format!("cannot write {}", path.display()))?;
            Ok((path.clone(), file))
        };
        let junit = args.junit.as_ref().map(create).transpose()?;
        let html = args.html.as_ref().map(create).transpose()?;
        Ok(Self { junit, html, tap: args.tap, github: args.github })
    }

    pub(crate) fn are_wanted(&self) -> bool {
        self.tap || self.github || self.junit.is_some() || self.html.is_some()
    }

    /// Writes the steps of this tool in `report`, and what else the run saw.
    ///
    /// # Errors
    /// `junit-unwritable`, `html-unwritable`.
    pub(crate) fn write(self, report: &Report, leaving: &Leaving) -> Result<(), Problem> {
        let steps: Vec<&Step> = own_steps(report);
        let mut lines = String::new();
        if self.tap {
            lines.push_str(&tap::render(&steps));
        }
        if self.github {
            lines.push_str(&github::render(&steps));
        }
        // Whoever closed stderr does not want them.
        let _ = stderr().write_all(lines.as_bytes());
        if let Some((path, mut file)) = self.html {
            file.write_all(html::render(report, &steps, leaving).as_bytes())
                .or_problem("html-unwritable", || format!("cannot write {}", path.display()))?;
        }
        let Some((path, mut file)) = self.junit else { return Ok(()) };
        let environment = report.environment.as_deref().unwrap_or_default();
        file.write_all(junit::render(environment, &steps).as_bytes())
            .or_problem("junit-unwritable", || format!("cannot write {}", path.display()))
    }
}

/// Those that `verify` made; other tools of the chain have theirs.
pub(crate) fn own_steps(report: &Report) -> Vec<&Step> {
    report.steps.iter().filter(|step| step.tool == TOOL).collect()
}

/// Text as markup shows it; `own` says what else is written otherwise.
fn escape_markup(text: &str, own: impl Fn(char) -> Option<&'static str>) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match (own(c), c) {
            (Some(written), _) => escaped.push_str(written),
            (None, '&') => escaped.push_str("&amp;"),
            (None, '<') => escaped.push_str("&lt;"),
            (None, '>') => escaped.push_str("&gt;"),
            (None, '"') => escaped.push_str("&quot;"),
            (None, c) => escaped.push(c),
        }
    }
    escaped
}

/// The title and the details of a step's problem.
fn told(problem: &Problem) -> String {
    let hint = problem.hint.iter().map(|hint| format!("hint: {hint}"));
    let lines = problem.detail.iter().cloned().chain(hint);
    lines.fold(problem.title.clone(), |text, line| text + "\n" + &line)
}

#[cfg(test)]
mod tests;
