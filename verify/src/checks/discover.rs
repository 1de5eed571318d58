//! `[discover]`: who lists the app's routes, and which of them need no check.

use std::time::Duration;

use common::config::Span;
use serde::Deserialize;

use super::glob::{Glob, any_matches};

/// Keys of the table.
pub(super) const KEYS: [&str; 6] = ["command", "openapi", "sitemap", "excuse", "require_all", "time"];

/// Where the routes are listed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Discover {
    /// A line of shell that prints them.
    pub(crate) command: Option<String>,
    /// A description in JSON: a path of the app, or a file of the release.
    pub(crate) openapi: Option<String>,
    /// A path of the app.
    pub(crate) sitemap: Option<String>,
    /// Rules that need no check, as they are listed.
    pub(crate) excuse: Vec<Glob>,
    /// Whether a rule that is neither checked nor excused is a failure.
    pub(crate) require_all: bool,
    pub(crate) time: Span,
}

impl Default for Discover {
    fn default() -> Self {
        Self {
            command: None,
            openapi: None,
            sitemap: None,
            excuse: Vec::new(),
            require_all: false,
            time: Span(Duration::from_secs(30)),
        }
    }
}

impl Discover {
    pub(crate) fn excuses(&self, rule: &str) -> bool {
        any_matches(&self.excuse, rule)
    }

    /// How long the command may take.
    pub(crate) fn time(&self) -> Duration {
        self.time.0
    }
}
