//! How one page differs from what it was, in words. What a page has gained is no regression.

use super::SLOWER;
use super::facts::{Facts, MOST_LINKS};

/// A page that shrank or grew by this factor is another page.
const BAND: usize = 4;
/// Below this a difference in size says nothing.
const FEW_BYTES: usize = 1024;
/// So much slower, by factor and in milliseconds, is more than a busy moment.
const TIMES_SLOWER: u64 = 4;
const TIMES_SLOWER_MS: u64 = 250;

/// One thing that changed on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// Problem type.
    pub(super) kind: &'static str,
    /// Reads after the name of the page: `lost the link /doc/new/`.
    pub(super) phrase: String,
}

/// Everything that `after` lacks or does otherwise.
pub(super) fn differences(before: &Facts, after: &Facts) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |kind, phrase| found.push(Difference { kind, phrase });
    if before.status != after.status {
        note("status-changed", format!("answers {} instead of {}", after.status, before.status));
        return found;
    }
    if let Some(phrase) = other("redirects to", before.redirect.as_ref(), after.redirect.as_ref()) {
        note("redirect-changed", phrase);
    }
    if let Some(phrase) = other("has the content type", before.kind.as_ref(), after.kind.as_ref()) {
        note("type-changed", phrase);
        return found;
    }
    if let Some(phrase) = title(before, after) {
        note("title-changed", phrase);
    }
    // Of a list that was cut nobody knows what is behind the cut.
    let lost = before.links.difference(&after.links).filter(|_| after.links.len() < MOST_LINKS);
    for link in lost {
        note("link-lost", format!("lost the link {link}"));
    }
    for (form, fields) in &before.forms {
        match after.forms.get(form) {
            None => note("form-lost", format!("lost the form {form}")),
            Some(left) => {
                for field in fields.difference(left) {
                    note("field-lost", format!("lost the field {field} of the form {form}"));
                }
            }
        }
    }
    if let Some(phrase) = size(before.bytes, after.bytes) {
        note("size-changed", phrase);
    }
    if is_slower(before, after) {
        note(SLOWER, format!("takes {} ms instead of {} ms", after.time_ms, before.time_ms));
    }
    found
}

/// Whether it takes far longer; what was measured once should be measured again.
pub(super) fn is_slower(before: &Facts, after: &Facts) -> bool {
    after.time_ms > before.time_ms.saturating_mul(TIMES_SLOWER)
        && after.time_ms > before.time_ms + TIMES_SLOWER_MS
}

fn other(verb: &str, before: Option<&String>, after: Option<&String>) -> Option<String> {
    let named = |value: Option<&String>| value.map_or("none", |value| value).to_owned();
    (before != after).then(|| format!("{verb} {} instead of {}", named(after), named(before)))
}

fn title(before: &Facts, after: &Facts) -> Option<String> {
    match (&before.title, &after.title) {
        (Some(before), Some(after)) if before != after => {
            Some(format!("changed its title from '{before}' to '{after}'"))
        }
        (Some(before), None) => Some(format!("lost its title '{before}'")),
        _ => None,
    }
}

fn size(before: usize, after: usize) -> Option<String> {
    let (small, large) = (before.min(after), before.max(after));
    let differs = large - small >= FEW_BYTES && large / BAND > small;
    differs.then(|| format!("has {after} bytes instead of {before}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Facts {
        Facts {
            status: 200,
            kind: Some("text/html".into()),
            title: Some("Documents".into()),
            links: ["/", "/doc/new/"].map(String::from).into(),
            forms: [("POST /doc/new/".into(), ["title", "body"].map(String::from).into())].into(),
            bytes: 10_000,
            time_ms: 20,
            ..Facts::default()
        }
    }

    fn phrases(change: impl FnOnce(&mut Facts)) -> Vec<String> {
        let mut after = page();
        change(&mut after);
        differences(&page(), &after).into_iter().map(|found| found.phrase).collect()
    }

    #[test]
    fn each_change_is_said_in_words() {
        type Change = fn(&mut Facts);
        let table: [(Change, &str); 9] = [
            (|page| page.status = 404, "answers 404 instead of 200"),
            (|page| page.redirect = Some("/x".into()), "redirects to /x instead of none"),
            (|page| page.kind = None, "has the content type none instead of text/html"),
            (|page| page.title = Some("Docs".into()), "changed its title from 'Documents' to 'Docs'"),
            (|page| page.title = None, "lost its title 'Documents'"),
            (
                |page| {
                    page.links.remove("/doc/new/");
                },
                "lost the link /doc/new/",
            ),
            (|page| page.forms.clear(), "lost the form POST /doc/new/"),
            (|page| page.bytes = 900, "has 900 bytes instead of 10000"),
            (|page| page.time_ms = 300, "takes 300 ms instead of 20 ms"),
        ];
        for (change, phrase) in table {
            assert_eq!(phrases(change), [phrase]);
        }
        let fields = phrases(|page| {
            page.forms.get_mut("POST /doc/new/").unwrap().remove("body");
        });
        assert_eq!(fields, ["lost the field body of the form POST /doc/new/"]);
    }

    #[test]
    fn what_is_new_or_within_reason_is_no_change() {
        let same: [fn(&mut Facts); 5] = [
            |page| {
                page.links.insert("/new/".into());
            },
            |page| drop(page.forms.insert("GET /search".into(), ["q".into()].into())),
            |page| page.bytes = 39_000,
            |page| page.time_ms = 260,
            |page| page.time_ms = 0,
        ];
        for change in same {
            assert!(phrases(change).is_empty());
        }
    }
}
