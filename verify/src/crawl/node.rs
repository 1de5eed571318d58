//! What is known of one address of the app: who links to it, and what it answered.

use std::collections::{BTreeMap, HashSet};

use super::sheet::Kind;
use crate::finding::Finding;
use crate::regressions::Facts;

/// Of so many pages that link to one address the names are kept.
const REFERRERS_KEPT: usize = 3;

/// One address, asked once at most.
#[derive(Debug)]
pub(crate) struct Node {
    /// Path and query.
    pub(crate) path: String,
    /// Clicks from a first page.
    pub(crate) depth: u32,
    pub(crate) kind: Kind,
    /// The first of those that link here.
    pub(crate) referrers: Vec<Referrer>,
    /// How many links lead here.
    pub(crate) references: usize,
    /// Positions that links name here, with the first of those links.
    pub(crate) fragments: BTreeMap<String, Referrer>,
    /// How often the server asked for patience.
    pub(crate) delays: u32,
    pub(crate) ending: Ending,
}

/// A link: the page it is on, by its number, and how it is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Referrer {
    pub(crate) page: usize,
    pub(crate) written: String,
}

/// What became of an address.
#[derive(Debug)]
pub(crate) enum Ending {
    Waiting,
    /// Not asked, and why.
    Passed(Reason),
    Answered(Box<Answer>),
}

/// Why an address is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// `skip` names it.
    Skipped,
    /// Its words say that asking does something.
    Deed,
    /// Too many clicks away.
    Depth,
    /// One path with too many different queries.
    Variants,
    /// The crawl was over: pages, time, or the run's end.
    Limit,
}

/// What was kept of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) duration_ms: u64,
    /// The header that says where a redirect leads.
    pub(crate) location: Option<String>,
    pub(crate) title: Option<String>,
    /// Positions of an HTML page; `None` when it is something else.
    pub(crate) places: Option<HashSet<u64>>,
    /// What the server did instead of answering rightly.
    pub(crate) fault: Option<Finding>,
    /// Texts that no page may show.
    pub(crate) unwanted: Vec<Finding>,
    /// What a reader of an error page sees.
    pub(crate) excerpt: String,
    /// Of a page that the next release is compared with.
    pub(crate) facts: Option<Box<Facts>>,
}

impl Node {
    pub(crate) fn new(path: &str, depth: u32, kind: Kind, ending: Ending) -> Self {
        Self {
            path: path.to_owned(),
            depth,
            kind,
            referrers: Vec::new(),
            references: 0,
            fragments: BTreeMap::new(),
            delays: 0,
            ending,
        }
    }

    pub(crate) fn answer(&self) -> Option<&Answer> {
        match &self.ending {
            Ending::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// Notes one more link to this address.
    pub(super) fn refer(&mut self, referrer: Referrer, fragment: Option<String>) {
        self.references += 1;
        if let Some(fragment) = fragment {
            self.fragments.entry(fragment).or_insert_with(|| referrer.clone());
        }
        let known = self.referrers.iter().any(|other| other.page == referrer.page);
        if self.referrers.len() < REFERRERS_KEPT && !known {
            self.referrers.push(referrer);
        }
    }
}

impl Answer {
    pub(crate) fn is_redirect(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308)
    }

    /// There, and not for everybody.
    pub(crate) fn is_guarded(&self) -> bool {
        matches!(self.status, 401 | 403)
    }
}
