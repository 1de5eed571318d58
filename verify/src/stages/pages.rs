//! The pages of a release: what was seen of every route. No body is kept; where the app is crawled,
//! what the crawl would see of a page is. There may be ten thousand: what few of them have is boxed.

use std::collections::{BTreeMap, BTreeSet};

use crate::checks::Route;
use crate::crawl::Sighting;
use crate::explain::Exchange;
use crate::finding::Finding;
use crate::http::Jar;
use crate::regressions::{Answered, Facts};

/// What became of one route.
pub(crate) struct Page<'a> {
    pub(super) route: &'a Route,
    pub(super) duration_ms: u64,
    /// Whether an answer came.
    pub(super) seen: bool,
    pub(super) findings: Vec<Finding>,
    kept: Option<Box<Kept<'a>>>,
}

/// What is kept of a page beside that, where there is any.
#[derive(Default)]
pub(super) struct Kept<'a> {
    /// The route with its captured values in place, where it needs some.
    pub(super) filled: Option<Route>,
    /// Why it was not asked.
    pub(super) not_asked: Option<String>,
    /// Texts on it that no page may show.
    pub(super) unwanted: Vec<Finding>,
    /// What is kept of the answer.
    pub(super) facts: Option<Facts>,
    /// What was asked and answered, where it is to be explained.
    pub(super) exchange: Option<Exchange>,
    /// Where it redirects to.
    pub(super) location: Option<String>,
    /// Of a page that a crawl would come to.
    pub(super) sighting: Option<Sighting>,
    pub(super) jar: Jar,
    /// By name, what it captured, or why it did not.
    pub(super) captured: Captured<'a>,
}

impl<'a> Page<'a> {
    /// One that was not asked yet.
    pub(super) fn of(route: &'a Route) -> Self {
        Self { route, duration_ms: 0, seen: false, findings: Vec::new(), kept: None }
    }

    pub(super) fn kept(&self) -> Option<&Kept<'a>> {
        self.kept.as_deref()
    }

    /// Where to keep something of it.
    pub(super) fn keep(&mut self) -> &mut Kept<'a> {
        self.kept.get_or_insert_default()
    }

    /// The route as it was asked.
    pub(super) fn asked(&self) -> &Route {
        self.kept().and_then(|kept| kept.filled.as_ref()).unwrap_or(self.route)
    }

    /// Why it was not asked.
    pub(super) fn not_asked(&self) -> Option<&str> {
        self.kept()?.not_asked.as_deref()
    }

    /// Texts on it that no page may show.
    pub(super) fn unwanted(&self) -> &[Finding] {
        self.kept().map_or(&[], |kept| &kept.unwanted)
    }

    /// As a visitor of the crawl would see it.
    pub(super) fn sighting(&self) -> Option<&Sighting> {
        self.kept()?.sighting.as_ref()
    }

    /// What a later release is compared with: a page that everybody may ask for again.
    pub(super) fn answered(&self) -> Option<Answered> {
        let kept = self.kept().filter(|_| self.route.method == "GET")?;
        let (name, path) = (self.route.name(), self.asked().path.clone());
        Some(Answered { name, path, cookies: kept.jar.header(), facts: kept.facts.clone()? })
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
