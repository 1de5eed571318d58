//! What has changed since the release before: pages compared with the saved structure of an earlier
//! verification, in words, and approved one by one where they are meant.
//!
//! `facts` is what is kept of a page, `comparison` how two differ, `change` one change of a whole
//! release, `approval` who accepted it, `structure` the file. Nothing here asks a server.

mod approval;
mod change;
mod comparison;
mod facts;
mod structure;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub(crate) use approval::{accept, approve};
pub(crate) use change::{Change, in_short};
use comparison::Difference;
pub(crate) use facts::Facts;
pub(crate) use structure::Structure;

const SLOWER: &str = "slower";
/// Told by what they name, not by their kind alone: a page may have several.
const SEVERAL: [&str; 3] = ["link-lost", "form-lost", "field-lost"];

/// A page that answered, whoever asked for it.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    /// `GET /doc/all/`, the same in every release.
    pub(crate) name: String,
    /// Path and query.
    pub(crate) path: String,
    /// The `Cookie` header that it was asked with.
    pub(crate) cookies: Option<String>,
    pub(crate) facts: Facts,
}

/// What came of asking for a page once more.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Answered(Box<Facts>),
    /// It does not run any more, or did not answer.
    Silent,
    NoTime,
}

/// Asks for a page once more.
pub(crate) trait Again {
    /// Of the release that is verified.
    fn now(&self, page: &Answered) -> Asked;
    /// Of the earlier release, where it still runs.
    fn earlier(&self, page: &Answered) -> Asked;
}

/// A release beside the one before.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) changes: Vec<Change>,
    /// Number of pages.
    pub(crate) compared: usize,
    /// Names of routes that differ, and that there was no time to ask for again.
    pub(crate) left_routes: Vec<String>,
    /// The same of crawled pages.
    pub(crate) left_crawled: Vec<String>,
    /// Number of crawled pages that differ, perhaps by their data: the earlier release does not say.
    pub(crate) untold: usize,
}

impl Comparison {
    /// For the report.
    pub(crate) fn told(&self, baseline: Value) -> Value {
        let limit = self.left_routes.len() + self.left_crawled.len();
        json!({
            "baseline": baseline,
            "compared": self.compared,
            "not_compared": { "limit": limit, "untold": self.untold },
            "changes": self.changes,
        })
    }
}

/// Why nobody knows whether a page has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undecided {
    NoTime,
    Untold,
}

/// What has changed since `before`. What the earlier release itself does otherwise by now, since the
/// data has changed, is none, nor is what this one does not do each time; and what was slow once is
/// measured again.
pub(crate) fn compare(
    before: &BTreeMap<String, Facts>,
    pages: &[Answered],
    again: &impl Again,
    allow: &[String],
) -> Comparison {
    let (mut found, mut comparison) = (Vec::new(), Comparison::default());
    for page in pages {
        let Some(saved) = before.get(&page.name) else { continue };
        match on_page(saved, page, again) {
            Ok(differences) => {
                comparison.compared += 1;
                found.extend(differences.into_iter().map(|difference| (page, difference)));
            }
            Err(Undecided::Untold) => comparison.untold += 1,
            Err(Undecided::NoTime) if page.facts.crawled => comparison.left_crawled.push(page.name.clone()),
            Err(Undecided::NoTime) => comparison.left_routes.push(page.name.clone()),
        }
    }
    Comparison { changes: change::gather(found, allow), ..comparison }
}

fn on_page(saved: &Facts, page: &Answered, again: &impl Again) -> Result<Vec<Difference>, Undecided> {
    let mut facts = page.facts.clone();
    let mut since = comparison::differences(saved, &facts);
    if comparison::is_slower(saved, &facts) {
        match again.now(page) {
            Asked::Answered(now) => {
                facts.time_ms = facts.time_ms.min(now.time_ms);
                since = comparison::differences(saved, &facts);
            }
            Asked::Silent => {}
            Asked::NoTime => {
                since.retain(|difference| difference.kind != SLOWER);
                if since.is_empty() {
                    return Err(Undecided::NoTime);
                }
            }
        }
    }
    if since.is_empty() {
        return Ok(since);
    }
    // One that does not answer as it did, to a login that it does not know, tells nothing.
    let as_it_did = |earlier: &Facts| {
        (earlier.status, &earlier.redirect, &earlier.kind) == (saved.status, &saved.redirect, &saved.kind)
    };
    let earlier = match again.earlier(page) {
        Asked::Answered(earlier) if as_it_did(&earlier) => earlier,
        Asked::NoTime => return Err(Undecided::NoTime),
        // Nobody chose a page that was crawled: its change may be that of the data.
        _ if saved.crawled || facts.crawled => return Err(Undecided::Untold),
        _ => return Ok(since),
    };
    let mut found = comparison::differences(&earlier, &facts);
    keep_known(&mut found, &since);
    if found.is_empty() {
        return Ok(found);
    }
    // Without an answer it stands as it was seen.
    if let Asked::Answered(now) = again.now(page) {
        keep_known(&mut found, &comparison::differences(&earlier, &now));
    }
    Ok(found)
}

/// Keeps those that `known` has, too.
fn keep_known(found: &mut Vec<Difference>, known: &[Difference]) {
    let alike = |found: &Difference, known: &Difference| {
        known.kind == found.kind && (!SEVERAL.contains(&found.kind) || known.phrase == found.phrase)
    };
    found.retain(|found| known.iter().any(|known| alike(found, known)));
}

#[cfg(test)]
mod tests;
