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

pub(crate) use approval::{accept, approve};
pub(crate) use change::Change;
use comparison::Difference;
pub(crate) use facts::Facts;
pub(crate) use structure::Structure;

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

/// Asks for a page once more.
pub(crate) trait Again {
    /// Of the release that is verified.
    fn now(&self, page: &Answered) -> Option<Facts>;
    /// Of the earlier release, where it still runs.
    fn earlier(&self, page: &Answered) -> Option<Facts>;
}

/// The changes since `before`. What the earlier release itself does otherwise by now, since the
/// data has changed, is none, nor is what this one does not do each time; and what was slow once is
/// measured again.
pub(crate) fn changes(
    before: &BTreeMap<String, Facts>,
    pages: &[Answered],
    again: &impl Again,
    allow: &[String],
) -> Vec<Change> {
    let mut found = Vec::new();
    for page in pages {
        let Some(saved) = before.get(&page.name) else { continue };
        found.extend(on_page(saved, page, again).into_iter().map(|difference| (page, difference)));
    }
    change::gather(found, allow)
}

fn on_page(saved: &Facts, page: &Answered, again: &impl Again) -> Vec<Difference> {
    let mut facts = page.facts.clone();
    if comparison::is_slower(saved, &facts) {
        let quickest = again.now(page).map_or(facts.time_ms, |now| now.time_ms.min(facts.time_ms));
        facts.time_ms = quickest;
    }
    let since = comparison::differences(saved, &facts);
    if since.is_empty() {
        return since;
    }
    // One that does not answer as it did, to a login that it does not know, tells nothing.
    let as_it_did = |earlier: &Facts| {
        (earlier.status, &earlier.redirect, &earlier.kind) == (saved.status, &saved.redirect, &saved.kind)
    };
    let Some(earlier) = again.earlier(page).filter(as_it_did) else {
        // Nobody chose a page that was crawled: its change may be that of the data.
        return if saved.crawled || facts.crawled { Vec::new() } else { since };
    };
    let mut found = comparison::differences(&earlier, &facts);
    keep_known(&mut found, &since);
    if !found.is_empty()
        && let Some(now) = again.now(page)
    {
        keep_known(&mut found, &comparison::differences(&earlier, &now));
    }
    found
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
