//! `[links]`: what is crawled, how far and how fast. Without the table nothing is crawled.

use std::time::Duration;

use common::config::Span;
use serde::Deserialize;

use super::glob::{Glob, any_matches};

/// Keys of the table.
pub(super) const KEYS: [&str; 10] =
    ["start", "skip", "depth", "pages", "rate", "time", "fragments", "hosts", "session", "external"];

/// How the app is crawled.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Links {
    /// Where the crawl begins, beside the declared routes.
    pub(crate) start: String,
    /// Paths that are not asked.
    skip: Vec<Glob>,
    /// How many clicks from a first page; any number without it.
    pub(crate) depth: Option<u32>,
    /// How many addresses are asked at most.
    pub(crate) pages: usize,
    /// Requests a second at most.
    pub(crate) rate: Option<u32>,
    time: Span,
    /// Whether the part behind `#` is looked for, too.
    pub(crate) fragments: bool,
    /// Further host names, with a port if need be, under which pages name this app.
    pub(crate) hosts: Vec<String>,
    /// Whose cookies are sent.
    pub(crate) session: Option<String>,
    pub(crate) external: External,
}

/// What is done with links to other hosts: `false`, `true` or `"fail"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Word")]
pub(crate) enum External {
    Ignored,
    /// Asked; one that is dead is told as a skipped step.
    Told,
    Failing,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected true, false or \"fail\"")]
enum Word {
    Flag(bool),
    Text(String),
}

impl TryFrom<Word> for External {
    type Error = String;

    fn try_from(word: Word) -> Result<Self, String> {
        match word {
            Word::Flag(false) => Ok(Self::Ignored),
            Word::Flag(true) => Ok(Self::Told),
            Word::Text(text) if text == "fail" => Ok(Self::Failing),
            Word::Text(text) => Err(format!("'{text}' is neither true, false nor \"fail\"")),
        }
    }
}

impl Default for Links {
    fn default() -> Self {
        Self {
            start: "/".into(),
            skip: Vec::new(),
            depth: None,
            pages: 5000,
            rate: None,
            time: Span(Duration::from_secs(60)),
            fragments: true,
            hosts: Vec::new(),
            session: None,
            external: External::Ignored,
        }
    }
}

impl Links {
    pub(crate) fn skips(&self, path: &str) -> bool {
        any_matches(&self.skip, path)
    }

    /// How long the whole crawl may take.
    pub(crate) fn time(&self) -> Duration {
        self.time.0
    }
}
