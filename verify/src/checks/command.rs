//! `[[command]]`: programs that are checks, such as a suite of the app's own tests that asks the
//! deployed address.

use std::collections::BTreeSet;
use std::time::Duration;

use common::config::Span;
use common::report::Problem;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeValue};

use super::entry::Texts;
use super::source::Source;

/// Keys of one command.
pub(super) const KEYS: [&str; 5] = ["name", "run", "exit", "text", "time"];

/// One program and what must come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Command {
    pub(crate) name: String,
    /// A line of shell.
    pub(crate) run: String,
    /// Exit status.
    #[serde(default)]
    pub(crate) exit: i32,
    /// What it must print.
    #[serde(default)]
    text: Texts,
    #[serde(default = "default_time")]
    time: Span,
}

impl Command {
    pub(crate) fn texts(&self) -> &[String] {
        &self.text.0
    }

    /// How long it may take.
    pub(crate) fn time(&self) -> Duration {
        self.time.0
    }
}

fn default_time() -> Span {
    Span::seconds(60)
}

pub(super) fn read(source: &Source<'_>, list: DeArray<'_>) -> Result<Vec<Command>, Problem> {
    let (mut names, mut commands) = (BTreeSet::new(), Vec::new());
    for entry in list {
        let span = entry.span();
        let DeValue::Table(table) = entry.get_ref() else {
            return Err(source.wrong(&span, "expected a table: write [[command]]"));
        };
        source.check_keys(table, &KEYS)?;
        let command: Command = source.read(Spanned::new(span.clone(), entry.into_inner()))?;
        if !names.insert(command.name.clone()) {
            let what = format!("there is more than one command '{}'", command.name);
            return Err(source.wrong(&span, &what));
        }
        commands.push(command);
    }
    Ok(commands)
}
