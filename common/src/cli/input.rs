//! Reads the report of the tool before this one from stdin, or one that is named as evidence.

use std::fs::File;
use std::io::{self, IsTerminal, Read, stdin};
use std::path::Path;

use crate::report::{Problem, Received, read_bytes};

/// More than any report of ours; a longer document is not one.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Reads and parses stdin.
///
/// # Errors
/// Usage (exit 2): a terminal, nothing there, or something that is not a report.
pub fn read_report(tool: &str) -> Result<Received, Problem> {
    if stdin().is_terminal() {
        return Err(Problem::usage(format!(
            "{tool} without an environment continues a report, and stdin is a terminal"
        ))
        .hint(format!("deploy dev | {tool}   # or: {tool} dev")));
    }
    receive(stdin().lock()).map_err(|problem| match problem.hint {
        None => problem.hint(format!("deploy dev | {tool}")),
        Some(_) => problem,
    })
}

/// Reads and parses the report in `file`, or on stdin when that is `-`; `example` is a command line
/// that does it right.
///
/// # Errors
/// Usage (exit 2): a terminal, nothing there, or something that is not a report.
pub fn read_evidence(file: &Path, example: &str) -> Result<Received, Problem> {
    let received = if file == Path::new("-") {
        if stdin().is_terminal() {
            return Err(
                Problem::usage("the evidence is to come from stdin, and that is a terminal").hint(example)
            );
        }
        receive(stdin().lock())
    } else {
        let name = file.display();
        let opened = File::open(file).map_err(|error| unreadable(&error));
        opened
            .and_then(receive)
            .map_err(|problem| Problem::usage(format!("{name} holds no report")).detail(problem.to_string()))
    };
    received.map_err(|problem| problem.hint(example))
}

fn receive(source: impl Read) -> Result<Received, Problem> {
    let mut bytes = Vec::new();
    source.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > LIMIT {
        return Err(Problem::usage("the document is longer than any report")
            .detail(format!("more than {} MiB", LIMIT / (1024 * 1024))));
    }
    read_bytes(&bytes)
}

fn unreadable(error: &io::Error) -> Problem {
    Problem::usage("cannot read the document").detail(error.to_string())
}
