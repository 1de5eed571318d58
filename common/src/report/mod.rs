//! The report: the one JSON document that every tool prints and that a chain passes along.
//!
//! Owns the shapes (`Report`, `Step`, `Problem`), their reading, writing and merging, and the
//! exit status that follows from them. Of the other modules it knows the clock alone.

mod merge;
mod problem;
mod quoting;
mod read;
mod step;
mod write;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::clock::now;
pub use problem::{OrProblem, Problem};
pub use quoting::quoted;
pub use read::{Received, read, read_bytes};
pub use step::{Status, Step};
pub use write::Writer;

/// Contract version; only a breaking change raises it.
pub const VERSION: u32 = 1;

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done and proved, or nothing to do.
    Succeeded,
    /// Could not be checked (no permission, no browser): stops a chain, never undoes anything.
    Unverified,
    /// Failed, and the previous release serves again.
    RolledBack,
    /// The asked-for thing failed; `changed` and `serving` say how things stand.
    Failed,
    /// Failed and could not be restored: a person is needed.
    Broken,
}

impl Outcome {
    /// The snake-case word used in reports and the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Unverified => "unverified",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Broken => "broken",
        }
    }
}

/// The revision a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// Full git commit id.
    pub revision: String,
    /// Branch it was taken from, when one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Git tree id: what promotion compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
}

/// One JSON document per run; line 1 holds the first five members, line 2 the rest.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Contract version, see [`VERSION`].
    pub version: u32,
    /// The tool that wrote this document.
    pub tool: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Id of the deployment or operation: UTC time and short revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// RFC 3339, UTC.
    #[schemars(with = "String")]
    pub started_at: Timestamp,

    /// Exactly `outcome == succeeded`.
    pub success: bool,
    pub outcome: Outcome,
    /// Whether anything in the environment was changed.
    pub changed: bool,
    /// Revision that answers now; absent when nothing serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<String>,
    /// Revision that answered before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// Facts of each tool, under the tool's name.
    #[serde(default)]
    pub details: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The first problem that decided the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_file: Option<String>,
    pub duration_ms: u64,
}

impl Report {
    /// An empty, so far successful report.
    pub fn new(tool: &str) -> Self {
        Self {
            version: VERSION,
            tool: tool.to_owned(),
            environment: None,
            deployment: None,
            started_at: now(),
            success: true,
            outcome: Outcome::Succeeded,
            changed: false,
            serving: None,
            previous: None,
            release: None,
            details: BTreeMap::new(),
            steps: Vec::new(),
            problem: None,
            log_file: None,
            duration_ms: 0,
        }
    }

    /// Sets the outcome and the `success` that follows from it.
    pub fn conclude(&mut self, outcome: Outcome) {
        self.outcome = outcome;
        self.success = outcome == Outcome::Succeeded;
    }

    /// What a sibling's report means for the tool that ran it: its problem becomes ours.
    pub fn verdict(&self) -> Result<(), Problem> {
        if self.success {
            return Ok(());
        }
        let unsaid = || Problem::new("sibling-failed", format!("{} failed", self.tool));
        let problem = self.problem.clone().unwrap_or_else(unsaid);
        match self.outcome {
            Outcome::Unverified => Err(Problem { kind: "unverified".into(), ..problem }),
            _ => Err(problem),
        }
    }

    /// 0 succeeded, 2 usage or configuration error, 1 anything else.
    pub fn exit_status(&self) -> u8 {
        match &self.problem {
            _ if self.success => 0,
            Some(problem) if problem.is_usage() => 2,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE=1 cargo test -p common schema` writes it anew.
    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report.schema.json");
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(Report)).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, &schema).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap_or_default(), schema, "{file} is stale");
    }

    #[test]
    fn exit_status_follows_from_the_report_alone() {
        let mut report = Report::new("deploy");
        assert_eq!(report.exit_status(), 0);
        report.conclude(Outcome::Failed);
        assert_eq!(report.exit_status(), 1);
        report.problem = Some(Problem::usage("unknown environment 'x'"));
        assert_eq!(report.exit_status(), 2);
        report.problem = None;
        report.conclude(Outcome::RolledBack);
        assert_eq!(report.exit_status(), 1);
    }
}
