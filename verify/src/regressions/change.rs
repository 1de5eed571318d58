//! Changes of a whole release: the same one on many pages is one change, with an id of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Answered;
use super::comparison::Difference;

/// Pages that a sentence names.
const NAMED: usize = 3;
/// What is measured comes out otherwise each time; the id must not.
const MEASURED: [&str; 2] = ["slower", "size-changed"];

/// One change since the release before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// `regressions.link-lost-3fa9c1d2`: the same for the same change of the same pages.
    pub(crate) id: String,
    /// Problem type.
    pub(crate) kind: String,
    pub(crate) phrase: String,
    /// Names of the pages, in order.
    pub(crate) pages: Vec<String>,
    /// By what or by whom it is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) accepted: Option<String>,
}

impl Change {
    /// `GET /a, GET /b and 7 more lost the link /doc/new/`.
    pub(crate) fn sentence(&self) -> String {
        format!("{} {}", self.pages_in_short(), self.phrase)
    }

    pub(crate) fn pages_in_short(&self) -> String {
        let named = self.pages.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        match self.pages.len().saturating_sub(NAMED) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }
}

/// Whether it is allowed, its kind, and what tells it apart from others of that kind.
type Key = (bool, &'static str, String);

/// Gathers what was found on the pages; what `allow` has a part of is accepted.
pub(super) fn gather(found: Vec<(&Answered, Difference)>, allow: &[String]) -> Vec<Change> {
    let mut groups: BTreeMap<Key, Vec<(&Answered, String)>> = BTreeMap::new();
    for (page, difference) in found {
        let sentence = format!("{} {}", page.name, difference.phrase);
        let allowed = allow.iter().any(|part| sentence.contains(part));
        let measured = MEASURED.contains(&difference.kind);
        let what = if measured { page.name.clone() } else { difference.phrase.clone() };
        groups.entry((allowed, difference.kind, what)).or_default().push((page, difference.phrase));
    }
    groups.into_iter().map(|((allowed, kind, what), pages)| change(allowed, kind, &what, pages)).collect()
}

fn change(allowed: bool, kind: &str, what: &str, mut found: Vec<(&Answered, String)>) -> Change {
    let phrase = found.first().map(|(_, phrase)| phrase.clone()).unwrap_or_default();
    found.sort_by(|(page, _), (other, _)| page.name.cmp(&other.name));
    // Which pages a crawl comes to depends on the data, the id must not.
    let named = found.iter().filter(|(page, _)| !page.facts.crawled).map(|(page, _)| page.name.as_str());
    let mut hash = Sha256::new();
    for part in [kind, what].into_iter().chain(named) {
        hash.update(part);
        hash.update([0]);
    }
    let digest = common::hex(&hash.finalize()[..4]);
    let accepted = allowed.then(|| "allow of [regressions]".to_owned());
    let pages = found.into_iter().map(|(page, _)| page.name.clone()).collect();
    Change { id: format!("regressions.{kind}-{digest}"), kind: kind.to_owned(), phrase, pages, accepted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regressions::Facts;

    fn page(name: &str, crawled: bool) -> Answered {
        let facts = Facts { crawled, ..Facts::default() };
        Answered { name: name.to_owned(), path: name.to_owned(), cookies: None, facts }
    }

    fn gathered(pages: &[&str], kind: &'static str, phrase: &str, allow: &[String]) -> Vec<Change> {
        let pages: Vec<Answered> = pages.iter().map(|name| page(name, false)).collect();
        let difference = Difference { kind, phrase: phrase.to_owned() };
        gather(pages.iter().map(|page| (page, difference.clone())).collect(), allow)
    }

    #[test]
    fn one_change_on_many_pages_is_one() {
        let pages = ["GET /a", "GET /d", "GET /b", "GET /c"];
        let changes = gathered(&pages, "link-lost", "lost the link /x", &[]);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].sentence(), "GET /a, GET /b, GET /c and 1 more lost the link /x");
        assert!(changes[0].accepted.is_none());
    }

    #[test]
    fn an_id_is_that_of_the_change_not_of_the_run() {
        let id = |page, kind, phrase| gathered(&[page], kind, phrase, &[])[0].id.clone();
        assert_eq!(id("GET /", "slower", "takes 900 ms"), id("GET /", "slower", "takes 700 ms"));
        assert_eq!(id("GET /", "link-lost", "lost /x"), id("GET /", "link-lost", "lost /x"));
        assert_ne!(id("GET /", "link-lost", "lost /x"), id("GET /", "link-lost", "lost /y"));
        assert_ne!(id("GET /", "link-lost", "lost /x"), id("GET /a", "link-lost", "lost /x"));
        let pages = [page("GET /", false), page("GET /7", true)];
        let both =
            pages.iter().map(|page| (page, Difference { kind: "link-lost", phrase: "lost /x".into() }));
        let both = gather(both.collect(), &[]);
        assert_eq!((both[0].id.clone(), both[0].pages.len()), (id("GET /", "link-lost", "lost /x"), 2));
    }

    #[test]
    fn what_is_allowed_is_accepted_page_by_page() {
        let accepted = |allow: &str| {
            let changes = gathered(&["GET /a", "GET /b"], "link-lost", "lost /x", &[allow.to_owned()]);
            changes
                .iter()
                .filter(|change| change.accepted.is_some())
                .map(|change| change.pages.len())
                .sum::<usize>()
        };
        assert_eq!(accepted("lost /x"), 2);
        assert_eq!(accepted("GET /a lost"), 1);
        assert_eq!(accepted("lost /y"), 0);
    }
}
