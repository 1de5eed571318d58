//! Parses `TOOL [ENV] [VERB] [OPTIONS]` and turns every mistake into exit 2.
//!
//! Options on the top level belong to the default verb; given together with another verb they
//! are an error, never dropped.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use serde_json::json;

use super::{Grammar, Run, Shared};
use crate::report::{Problem, VERSION};

/// Name of the product that all tools belong to.
pub(crate) const PRODUCT: &str = "agent-deploy";

pub(super) fn parse<A: Grammar>(tool: &'static str) -> Result<A, ExitCode> {
    let command = A::command()
        .name(tool)
        .version(env!("CARGO_PKG_VERSION"))
        .args_override_self(true)
        .infer_long_args(false);
    let words: Vec<OsString> = std::env::args_os().collect();
    if words.iter().any(|word| word == "--version") && words.iter().any(|word| word == "--json") {
        print_version(tool);
        return Err(ExitCode::SUCCESS);
    }
    let top_level = command.clone();
    let parsed = command.try_get_matches_from(words).and_then(|matches| {
        check_placement(&top_level, &matches)?;
        A::from_arg_matches(&matches)
    });
    parsed.map_err(|error| end(tool, &error))
}

fn print_version(tool: &str) {
    let facts = json!({
        "product": PRODUCT, "tool": tool, "contract": VERSION, "version": env!("CARGO_PKG_VERSION"),
    });
    let _ = writeln!(std::io::stdout(), "{facts}");
}

/// Refuses an option of the default verb beside another verb.
fn check_placement(top_level: &Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some(verb) = matches.subcommand_name() else { return Ok(()) };
    let misplaced = top_level.get_arguments().find(|arg| {
        !arg.is_positional()
            && !arg.is_global_set()
            && matches.try_contains_id(arg.get_id().as_str()).is_ok()
            && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    });
    match misplaced.and_then(clap::Arg::get_long) {
        Some(option) => Err(top_level.clone().error(
            ErrorKind::ArgumentConflict,
            format!("--{option} does not belong to the verb '{verb}', or stands before it"),
        )),
        None => Ok(()),
    }
}

/// Help and version go to stdout with exit 0; anything else is a usage report with exit 2.
fn end(tool: &'static str, error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let title = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let rest: Vec<&str> = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()).collect();
    let json = std::env::args_os().any(|word| word == "--json") || !std::io::stdout().is_terminal();
    let shared = Shared { config: None, json, quiet: true };
    let problem = Problem::usage(title).detail(rest.join("; ")).hint(format!("{tool} --help"));
    Run::new(tool, &shared).finish(Err(problem))
}
