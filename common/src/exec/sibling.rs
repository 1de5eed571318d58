//! The other tools of the product, run as programs: they get arguments and the lock, and answer
//! with a report. The product lives on its own contract.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::Program;
use crate::lock::Lock;
use crate::report::{self, Problem, Report, VERSION, quoted};

/// One tool, found and checked.
#[derive(Debug, Clone)]
pub struct Sibling {
    tool: &'static str,
    path: PathBuf,
}

impl Sibling {
    /// Finds the tool beside our own executable, then on PATH, and checks that it is ours.
    ///
    /// # Errors
    /// `configuration` (exit 2): not found, or another program of that name; `sibling-failed`
    /// (retryable): it was killed before it could say so.
    pub fn find(tool: &'static str) -> Result<Self, Problem> {
        let path = companion(tool)?;
        let finished =
            Program::new(&path).args(["--version", "--json"]).limit(Duration::from_secs(10)).run()?;
        let facts: Value = serde_json::from_slice(&finished.stdout).unwrap_or_default();
        if facts["product"] == crate::cli::PRODUCT && facts["contract"] == VERSION {
            return Ok(Self { tool, path });
        }
        if finished.status.code().is_none() {
            let title = format!("{tool} --version ended with {}", finished.ending());
            return Err(Problem::new("sibling-failed", title).hint(format!("{tool} --version")).retryable());
        }
        Err(Problem::configuration(format!("{} is not this product's {tool}", path.display()))
            .hint(format!("{} --version --json", quoted(path.display()))))
    }

    /// The tool's name.
    pub fn tool(&self) -> &'static str {
        self.tool
    }

    /// Runs `TOOL ARGS…` quietly and gives its report, whatever the outcome.
    ///
    /// # Errors
    /// The program's own problems, or `sibling-failed` when it prints no report.
    pub fn run(
        &self,
        config: &Path,
        args: &[&str],
        lock: Option<&Lock>,
        limit: Duration,
    ) -> Result<Report, Problem> {
        let mut program =
            Program::new(&self.path).args(args).args(["--quiet", "--json", "--config"]).args([config]);
        program = program.limit(limit);
        if let Some(lock) = lock {
            program = program.lock(lock);
        }
        let finished = program.run()?;
        report::read_bytes(&finished.stdout).map(report::Received::report).map_err(|_| {
            Problem::new(
                "sibling-failed",
                format!("{} ended with {} and no report", self.tool, finished.ending()),
            )
            .detail(finished.tail.clone())
            .hint(args.iter().fold(self.tool.to_owned(), |line, arg| format!("{line} {}", quoted(arg))))
        })
    }
}

/// The path of a program of ours: beside our own executable, then on PATH.
///
/// # Errors
/// `configuration` (exit 2) when it is nowhere.
pub fn companion(program: &str) -> Result<PathBuf, Problem> {
    let beside = env::current_exe().ok().and_then(|path| path.parent().map(|dir| dir.join(program)));
    let on_path =
        env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    beside.into_iter().chain(on_path.map(|dir| dir.join(program))).find(|path| path.is_file()).ok_or_else(
        || {
            Problem::configuration(format!("the program '{program}' is missing"))
                .detail("it belongs beside this tool")
                .hint(format!("command -v {program}"))
        },
    )
}
