//! A problem: what went wrong, and the command that helps. Member names follow RFC 9457.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The error type of every tool.
///
/// `title` is a lowercase fragment that reads after `error: `; `hint` is a command to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Stable slug, listed in docs/report.md.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// True when the same command may succeed later without any change.
    #[serde(default)]
    pub retryable: bool,
}

impl Problem {
    /// A problem with its stable slug and its sentence.
    pub fn new(kind: &str, title: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), title: title.into(), detail: None, hint: None, retryable: false }
    }

    /// The command line makes no sense; nothing was touched (exit 2).
    pub fn usage(title: impl Into<String>) -> Self {
        Self::new("usage", title)
    }

    /// The configuration makes no sense; nothing was touched (exit 2).
    pub fn configuration(title: impl Into<String>) -> Self {
        Self::new("configuration", title)
    }

    /// Something could not be checked: the outcome is `unverified`.
    pub fn unverified(title: impl Into<String>) -> Self {
        Self::new("unverified", title)
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    pub(crate) fn is_usage(&self) -> bool {
        matches!(self.kind.as_str(), "usage" | "configuration")
    }

    pub(crate) fn is_unverified(&self) -> bool {
        self.kind == "unverified"
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Turns any error into a problem, keeping its text as the detail.
pub trait OrProblem<T> {
    fn or_problem(self, kind: &str, title: impl FnOnce() -> String) -> Result<T, Problem>;
}

impl<T, E: fmt::Display> OrProblem<T> for Result<T, E> {
    fn or_problem(self, kind: &str, title: impl FnOnce() -> String) -> Result<T, Problem> {
        self.map_err(|error| Problem::new(kind, title()).detail(error.to_string()))
    }
}
