//! Changes of a whole release: the same one on many pages is one change, with an id of its own.

use std::collections::BTreeMap;
use std::mem::take;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::comparison::Difference;
use super::{Answered, SLOWER};
use crate::checks::Glob;

/// Pages that a sentence names.
const NAMED: usize = 3;
/// What is measured comes out otherwise each time; the id must not.
const MEASURED: [&str; 2] = [SLOWER, "size-changed"];
/// Only pages that were asked so are compared; their names begin with it.
const ASKED: &str = "GET ";

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
        in_short(&self.pages)
    }

    /// Takes out what `pages` names, accepted by somebody's word; what is left of it, if anything,
    /// stays to be judged.
    pub(super) fn split_off(&mut self, pages: &[String], by: &str) -> Option<Self> {
        let (meant, left): (Vec<_>, Vec<_>) =
            take(&mut self.pages).into_iter().partition(|page| pages.contains(page));
        self.pages = left;
        (!meant.is_empty()).then(|| Self { pages: meant, accepted: Some(by.to_owned()), ..self.clone() })
    }
}

/// The first of these pages, and how many more there are.
pub(crate) fn in_short(pages: &[String]) -> String {
    let named = pages[..pages.len().min(NAMED)].join(", ");
    match pages.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Whether it is allowed, its kind, and what tells it apart from others of that kind.
type Key = (bool, &'static str, String);

/// Gathers what was found on the pages; what one of the texts of `allow` speaks of is accepted.
pub(super) fn gather(found: Vec<(&Answered, Difference)>, allow: &[String]) -> Vec<Change> {
    let mut groups: BTreeMap<Key, Vec<(&Answered, String)>> = BTreeMap::new();
    for (page, difference) in found {
        let allowed = allow.iter().any(|text| speaks_of(text, page, &difference.phrase));
        let measured = MEASURED.contains(&difference.kind);
        let what = if measured { page.name.clone() } else { difference.phrase.clone() };
        groups.entry((allowed, difference.kind, what)).or_default().push((page, difference.phrase));
    }
    groups.into_iter().map(|((allowed, kind, what), pages)| change(allowed, kind, &what, pages)).collect()
}

/// Whether a text of `allow` speaks of a change of this page. What it says counts in whole words, and
/// of a page that nobody chose only where it names the page.
fn speaks_of(text: &str, page: &Answered, phrase: &str) -> bool {
    let path = page.name.strip_prefix(ASKED).unwrap_or(&page.name);
    let Some(named) = text.strip_prefix(ASKED) else {
        return !page.facts.crawled && has_words(&format!("{} {phrase}", page.name), text);
    };
    let (pattern, words) = named.split_once(' ').unwrap_or((named, ""));
    let is_named = pattern == path || (pattern.contains('*') && Glob::from(pattern).matches(path));
    is_named && has_words(phrase, words)
}

fn has_words(sentence: &str, words: &str) -> bool {
    let ends = |text: &str, edge: Option<char>| text.is_empty() || edge.is_some_and(char::is_whitespace);
    let is_whole = |at: usize| {
        let (before, after) = (&sentence[..at], &sentence[at + words.len()..]);
        ends(before, before.chars().next_back()) && ends(after, after.chars().next())
    };
    words.is_empty() || sentence.match_indices(words).any(|(at, _)| is_whole(at))
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
        assert_eq!(accepted("lost /"), 0, "no whole word");
        assert_eq!((accepted("GET /*"), accepted("GET /* lost /x"), accepted("GET / lost /x")), (2, 2, 0));
    }

    #[test]
    fn of_pages_that_nobody_chose_only_those_that_are_named_are_allowed() {
        let pages = [page("GET /doc/all", false), page("GET /doc/7", true), page("GET /about", true)];
        let allowed = |text: &str| {
            let lost = |page| (page, Difference { kind: "link-lost", phrase: "lost the link /x".into() });
            let changes = gather(pages.iter().map(lost).collect(), &[text.to_owned()]);
            let accepted = changes.into_iter().filter(|change| change.accepted.is_some());
            accepted.flat_map(|change| change.pages).collect::<Vec<_>>()
        };
        assert_eq!(allowed("lost the link /x"), ["GET /doc/all"]);
        assert_eq!(allowed("GET /doc/* lost the link /x"), ["GET /doc/7", "GET /doc/all"]);
        assert_eq!(allowed("GET /about"), ["GET /about"]);
        assert_eq!(allowed("GET /* changed its title").len(), 0);
    }

    #[test]
    fn an_approval_takes_its_pages_out_of_a_change() {
        let mut change = gathered(&["GET /a", "GET /b"], "link-lost", "lost /x", &[]).remove(0);
        assert!(change.split_off(&["GET /c".to_owned()], "me").is_none());
        let meant = change.split_off(&["GET /a".to_owned(), "GET /c".to_owned()], "me").unwrap();
        assert_eq!((meant.sentence(), meant.accepted.as_deref()), ("GET /a lost /x".to_owned(), Some("me")));
        assert_eq!((change.sentence(), &change.accepted), ("GET /b lost /x".to_owned(), &None));
    }
}
