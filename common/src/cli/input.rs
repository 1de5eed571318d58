//! Reads the report of the tool before this one from stdin.

use std::io::{IsTerminal, Read, stdin};

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
    let mut bytes = Vec::new();
    stdin()
        .lock()
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Problem::usage("cannot read stdin").detail(error.to_string()))?;
    if bytes.len() as u64 > LIMIT {
        return Err(Problem::usage("the document on stdin is longer than any report")
            .detail(format!("more than {} MiB", LIMIT / (1024 * 1024)))
            .hint(format!("deploy dev | {tool}")));
    }
    read_bytes(&bytes)
}
