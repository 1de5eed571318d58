//! What is kept of one answered page: enough to say later what has changed, never its text.

use std::collections::{BTreeMap, BTreeSet};

use common::secrets::Secrets;
use reqwest::Url;
use scraper::Html;
use serde::{Deserialize, Serialize};

use crate::http::{Document, Reply, select};

/// A page with more links than this is a list; its first ones tell enough.
pub(super) const MOST_LINKS: usize = 500;
const LONGEST_TITLE: usize = 200;

/// One answer, without its body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Facts {
    pub(crate) status: u16,
    /// Where it redirects to: a path, or an address on another host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redirect: Option<String>,
    /// Media type without its parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    /// Paths without query, or addresses on other hosts.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) links: BTreeSet<String>,
    /// Names of the fields of each form, by its method and path.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) forms: BTreeMap<String, BTreeSet<String>>,
    pub(crate) bytes: usize,
    pub(crate) time_ms: u64,
    /// No route names the page.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) crawled: bool,
}

impl Facts {
    /// Of an answer to a request for `url`. Titles and links are the app's, which may be careless:
    /// they are kept, and compared, without the values of `secrets`.
    pub(crate) fn of(reply: &Reply, url: &Url, secrets: &Secrets) -> Self {
        let kind = reply.header("content-type");
        let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let mut facts = Self {
            status: reply.status,
            redirect: reply.header("location").and_then(|location| place(url, &location)),
            kind,
            bytes: reply.text.len(),
            time_ms: u64::try_from(reply.elapsed.as_millis()).unwrap_or(u64::MAX),
            ..Self::default()
        };
        if reply.is_html() {
            facts.read(&Document::read(&reply.text).tree, url);
        }
        facts.without(secrets)
    }

    fn without(self, secrets: &Secrets) -> Self {
        let hide = |text: String| secrets.hide(&text);
        let hide_all = |texts: BTreeSet<String>| texts.into_iter().map(hide).collect::<BTreeSet<_>>();
        Self {
            redirect: self.redirect.map(hide),
            title: self.title.map(hide),
            links: hide_all(self.links),
            forms: self.forms.into_iter().map(|(form, fields)| (hide(form), hide_all(fields))).collect(),
            ..self
        }
    }

    fn read(&mut self, page: &Html, url: &Url) {
        let root = page.root_element();
        self.title = select(root, "title").next().map(|title| in_one_line(&title.text().collect::<String>()));
        let links = select(root, "a[href]").filter_map(|link| place(url, link.attr("href")?));
        for link in links {
            if self.links.len() < MOST_LINKS {
                self.links.insert(link);
            }
        }
        for form in select(root, "form") {
            let method = form.attr("method").unwrap_or("get").to_ascii_uppercase();
            let Some(action) = place(url, form.attr("action").unwrap_or_default()) else { continue };
            let fields = select(form, "[name]").filter_map(|field| field.attr("name")).map(str::to_owned);
            self.forms.entry(format!("{method} {action}")).or_default().extend(fields);
        }
    }
}

/// What an address on the page leads to, the same wherever the app listens; none for what is no
/// page, such as `mailto:`.
fn place(url: &Url, written: &str) -> Option<String> {
    let target = url.join(written.trim()).ok()?;
    if !matches!(target.scheme(), "http" | "https") {
        return None;
    }
    let own = target.origin() == url.origin();
    let host = if own { String::new() } else { target.origin().ascii_serialization() };
    Some(format!("{host}{}", target.path()))
}

fn in_one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(LONGEST_TITLE).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};

    use super::*;

    fn facts(body: &str) -> Facts {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "Text/HTML; charset=utf-8".parse().unwrap());
        headers.insert(LOCATION, "http://127.0.0.1:7/next?token=1".parse().unwrap());
        let reply = Reply::new(302, headers, body.as_bytes(), Duration::from_millis(7));
        let secrets = Secrets::parse("TOKEN=sentinel-1\n").unwrap();
        Facts::of(&reply, &Url::parse("http://127.0.0.1:7/doc/all/?page=2").unwrap(), &secrets)
    }

    #[test]
    fn an_answer_is_reduced_to_what_does_not_depend_on_its_address() {
        let facts = facts(
            "<title> All\n documents </title><a href='/doc/new/?csrf=1#top'>n</a><a href=b>b</a><a href='mailto:x'>m</a>
             <a href='https://example.com/x?y'>e</a><form><input name=q></form>
             <form method=post action=/doc/new/><input name=title><textarea name=body></textarea></form>",
        );
        assert_eq!(facts.redirect.as_deref(), Some("/next"));
        assert_eq!(facts.kind.as_deref(), Some("text/html"));
        assert_eq!(facts.title.as_deref(), Some("All documents"));
        let links: Vec<_> = facts.links.iter().map(String::as_str).collect();
        assert_eq!(links, ["/doc/all/b", "/doc/new/", "https://example.com/x"]);
        let fields = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(facts.forms["GET /doc/all/"], fields(&["q"]));
        assert_eq!(facts.forms["POST /doc/new/"], fields(&["body", "title"]));
        assert_eq!((facts.status, facts.time_ms), (302, 7));
    }

    #[test]
    fn no_secret_is_kept() {
        let facts = facts(
            "<title>for sentinel-1</title><a href=/sentinel-1/x>x</a><form action=/sentinel-1><input name=sentinel-1>",
        );
        assert_eq!(facts.title.as_deref(), Some("for $TOKEN"));
        assert!(!serde_json::to_string(&facts).unwrap().contains("sentinel"), "{facts:?}");
    }

    #[test]
    fn facts_are_read_back_as_they_were_written() {
        let facts = facts("<title>T</title><a href=/x>x</a>");
        let text = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts);
    }
}
