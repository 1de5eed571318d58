//! A step: a gate, a deploy step and a check are one shape, so that every reader needs one loop.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problem;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Passed,
    Failed,
    /// Not done; `problem` gives the reason.
    Skipped,
}

/// One thing done or checked.
// There may be ten thousand: what few have is boxed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Tool that did it.
    pub tool: Cow<'static, str>,
    /// Dotted, stable: `gate.branch`, `routes.GET /doc/all/`.
    pub name: String,
    pub status: Status,
    pub duration_ms: u64,
    /// What it acted on: a URL, a file, a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Box<Problem>>,
}

impl Step {
    /// A passed step; chain [`Step::fail`] or [`Step::skip`] to end it otherwise.
    pub fn new(tool: impl Into<Cow<'static, str>>, name: impl Into<String>, duration_ms: u64) -> Self {
        let (tool, name) = (tool.into(), name.into());
        Self { tool, name, status: Status::Passed, duration_ms, target: None, problem: None }
    }

    /// The first word of its dotted name: the stage of a check.
    pub fn stage(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }

    #[must_use]
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    #[must_use]
    pub fn fail(mut self, problem: Problem) -> Self {
        self.status = Status::Failed;
        self.problem = Some(Box::new(problem));
        self
    }

    #[must_use]
    pub fn skip(mut self, reason: impl Into<String>) -> Self {
        self.status = Status::Skipped;
        self.problem = Some(Box::new(Problem::new("skipped", reason)));
        self
    }
}
