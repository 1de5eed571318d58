//! The same steps for other readers: a JUnit file, TAP and GitHub annotations. Stdout carries the
//! report and nothing else.

mod github;
mod junit;
mod tap;

use std::fs::File;
use std::io::{Write, stderr};
use std::path::PathBuf;

use common::report::{OrProblem, Problem, Report, Step};

use crate::arguments::Args;
use crate::stages::TOOL;

/// What was asked for, its file already open.
pub(crate) struct Renderings {
    junit: Option<(PathBuf, File)>,
    tap: bool,
    github: bool,
}

impl Renderings {
    /// Opens the JUnit file before anything is checked.
    ///
    /// # Errors
    /// `usage` when it cannot be written.
    pub(crate) fn open(args: &Args) -> Result<Self, Problem> {
        let create = |path: &PathBuf| -> Result<_, Problem> {
            let file =
                File::create(path).or_problem("usage", || format!("cannot write {}", path.display()))?;
            Ok((path.clone(), file))
        };
        Ok(Self { junit: args.junit.as_ref().map(create).transpose()?, tap: args.tap, github: args.github })
    }

    /// Writes the steps of this tool in `report`.
    ///
    /// # Errors
    /// `junit-unwritable`.
    pub(crate) fn write(self, report: &Report) -> Result<(), Problem> {
        let steps: Vec<&Step> = report.steps.iter().filter(|step| step.tool == TOOL).collect();
        let mut lines = String::new();
        if self.tap {
            lines.push_str(&tap::render(&steps));
        }
        if self.github {
            lines.push_str(&github::render(&steps));
        }
        // Whoever closed stderr does not want them.
        let _ = stderr().write_all(lines.as_bytes());
        let Some((path, mut file)) = self.junit else { return Ok(()) };
        let environment = report.environment.as_deref().unwrap_or_default();
        file.write_all(junit::render(environment, &steps).as_bytes())
            .or_problem("junit-unwritable", || format!("cannot write {}", path.display()))
    }
}

/// The title and the details of a step's problem.
fn told(problem: &Problem) -> String {
    let hint = problem.hint.iter().map(|hint| format!("hint: {hint}"));
    let lines = problem.detail.iter().cloned().chain(hint);
    lines.fold(problem.title.clone(), |text, line| text + "\n" + &line)
}

#[cfg(test)]
mod tests;
