//! The pages of a release: what was seen of every route. No body is kept; where the app is crawled,
//! what the crawl would see of a page is. There may be ten thousand: what few pages have is boxed.

use std::collections::{BTreeMap, BTreeSet};

use common::address::Address;

use crate::checks::Route;
use crate::crawl::Sighting;
use crate::explain::Exchange;
use crate::finding::Finding;
use crate::http::Jar;
use crate::regressions::{Answered, Facts};

/// What became of one route.
pub(crate) struct Page<'a> {
    pub(super) route: &'a Route,
    /// The same with its captured values in place, where it needs some.
    pub(super) filled: Option<Box<Route>>,
    /// Where it was asked for.
    pub(super) address: &'a Address,
    pub(super) duration_ms: u64,
    /// Whether an answer came.
    pub(super) seen: bool,
    /// Why it was not asked.
    pub(super) not_asked: Option<String>,
    pub(super) findings: Vec<Finding>,
    /// Texts on it that no page may show.
    pub(super) unwanted: Vec<Finding>,
    /// What is kept of the answer.
    pub(super) facts: Option<Box<Facts>>,
    /// What was asked and answered, where it is to be explained.
    pub(super) exchange: Option<Box<Exchange>>,
    /// Where it redirects to.
    pub(super) location: Option<String>,
    /// Of a page that a crawl would come to.
    pub(super) sighting: Option<Box<Sighting>>,
    pub(super) jar: Jar,
    /// By name, what it captured, or why it did not.
    pub(super) captured: Captured<'a>,
}

impl Page<'_> {
    /// The route as it was asked.
    pub(super) fn asked(&self) -> &Route {
        self.filled.as_deref().unwrap_or(self.route)
    }

    /// What a later release is compared with: a page that everybody may ask for again.
    pub(super) fn answered(&self) -> Option<Answered> {
        let facts = self.facts.as_deref().filter(|_| self.route.method == "GET")?.clone();
        let (name, path) = (self.route.name(), self.asked().path.clone());
        Some(Answered { name, path, cookies: self.jar.header(), facts })
    }
}

pub(super) type Captured<'a> = BTreeMap<&'a str, Result<String, String>>;
pub(super) type Sessions<'a> = BTreeMap<&'a str, Result<Jar, String>>;

/// All pages, in the order of the file, and the sessions that were opened.
pub(crate) struct Visit<'a> {
    pub(super) pages: Vec<Page<'a>>,
    pub(super) sessions: Sessions<'a>,
}

impl Visit<'_> {
    /// Paths of the routes that are not right.
    pub(crate) fn failed(&self) -> BTreeSet<String> {
        let failed = self.pages.iter().filter(|page| !page.findings.is_empty());
        failed.map(|page| page.route.path.clone()).collect()
    }

    /// The cookies of a session, or why it was not opened.
    pub(super) fn jar(&self, session: &str) -> Result<Jar, String> {
        jar(&self.sessions, session)
    }
}

/// The cookies of a session, or why it was not opened.
pub(super) fn jar(sessions: &Sessions<'_>, session: &str) -> Result<Jar, String> {
    sessions.get(session).cloned().unwrap_or_else(|| Err("nobody is logged in".into()))
}
