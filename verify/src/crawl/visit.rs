//! Asking one address of a crawl, and reading from its answer what leads on.

use std::borrow::Cow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::secrets::Secrets;

use super::address::{Atlas, Target, is_deed};
use super::frontier::{Frontier, Lead, Task};
use super::node::{Answer, Reason};
use super::sheet::{Kind, Link, Sheet};
use super::{AT_ONCE, FormKey, attribute};
use crate::checks::Links;
use crate::finding::Finding;
use crate::http::{Asker, Reply, Request};
use crate::regressions::Facts;
use crate::subject::FAIR;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Servers for development answer a few requests at once; their names in the header `Server`.
const DEVELOPMENT: [&str; 4] = ["Werkzeug", "SimpleHTTP", "WSGIServer", "webpack"];
const DEVELOPMENT_AT_ONCE: usize = AT_ONCE / 2;
/// How often a server may ask for patience for one address, and how long at most.
const DELAYS: u32 = 3;
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// What a server with few workers does to those who wait for them.
const LATE: [&str; 2] = ["no-answer", "body-slow"];
/// Pages of more than this are taken apart one at a time: the tree is much larger than the text.
const LARGE: usize = 256 * 1024;

/// Asks for one crawl.
pub(crate) struct Visitor<'a> {
    pub(crate) asker: &'a Asker,
    pub(crate) atlas: &'a Atlas,
    pub(crate) links: &'a Links,
    pub(crate) cookies: Option<String>,
    /// Texts that no page may show.
    pub(crate) absent: &'a [String],
    pub(crate) until: Instant,
    pub(crate) large: Mutex<()>,
    /// Where pages are compared with those of the release before: what is hidden in what is kept.
    pub(crate) secrets: Option<&'a Secrets>,
    /// How many pages may still be kept for that.
    pub(crate) room: AtomicUsize,
}

/// One answer, with the links and forms that are on its page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sighting {
    pub(crate) answer: Answer,
    pub(crate) sheet: Sheet,
}

impl Sighting {
    /// Takes from an answer what is kept of it.
    pub(crate) fn of(reply: &Reply, absent: &[String]) -> Self {
        let mut answer = Answer {
            status: reply.status,
            duration_ms: u64::try_from(reply.elapsed.as_millis()).unwrap_or(u64::MAX),
            location: reply.header("location").map(Cow::into_owned),
            ..Answer::default()
        };
        if reply.status >= 400 {
            answer.excerpt = reply.excerpt();
        }
        if !reply.is_html() {
            let is_style = reply.is_style() && reply.status < 400;
            let sheet = if is_style { Sheet::read_style(&reply.text) } else { Sheet::default() };
            return Self { answer, sheet };
        }
        answer.fault.clone_from(&reply.unreadable);
        answer.unwanted = reply.unwanted(absent);
        let mut sheet = if reply.status < 400 { Sheet::read(&reply.text) } else { Sheet::default() };
        if reply.status < 400 && !sheet.is_whole {
            let phrase = "cannot be taken apart: it is nested deeper than any browser goes";
            answer.fault.get_or_insert(Finding::new("page-too-deep", phrase));
        }
        let refresh = reply.header("refresh").filter(|_| reply.status < 400);
        sheet.links.extend(refresh.as_deref().and_then(attribute::refresh).map(Link::to_page));
        answer.title = sheet.title.take();
        answer.places = Some(std::mem::take(&mut sheet.places));
        Self { answer, sheet }
    }
}

impl Visitor<'_> {
    /// Asks, and gives what was seen.
    ///
    /// # Errors
    /// How long the server wants to be left alone.
    pub(super) fn visit(&self, task: &Task, frontier: &Frontier) -> Result<Sighting, Duration> {
        let limit = LIMIT.min(self.until.saturating_duration_since(Instant::now()));
        let cookies = self.cookies.clone();
        let request = Request { cookies, leads_only: true, ..Request::get(&task.path, limit) };
        let reply = match self.asker.ask(&request) {
            Ok(reply) => reply,
            // It may only have waited behind the others: once more, with fewer at a time.
            Err(finding) if LATE.contains(&finding.kind) && frontier.may_wait(task.number, LIMIT) => {
                return Err(Duration::ZERO);
            }
            // What was asked just before the end of the time says nothing of the app.
            Err(finding) if LATE.contains(&finding.kind) && limit < FAIR => return Err(Duration::ZERO),
            Err(finding) => {
                let answer = Answer { fault: Some(finding), ..Answer::default() };
                return Ok(Sighting { answer, sheet: Sheet::default() });
            }
        };
        if reply.header("server").is_some_and(|name| DEVELOPMENT.iter().any(|known| name.contains(known))) {
            frontier.restrain(DEVELOPMENT_AT_ONCE);
        }
        if let Some(pause) = patience(&reply, frontier.delays(task.number)) {
            return Err(pause);
        }
        let _alone = (reply.text.len() > LARGE).then(|| self.large.lock());
        let mut sighting = Sighting::of(&reply, self.absent);
        // What a frame or a picture shows has links of its own, which nobody follows there.
        if task.kind == Kind::Asset && !reply.is_style() {
            sighting.sheet = Sheet::default();
        }
        sighting.answer.facts = self.facts(task, &reply);
        Ok(sighting)
    }

    /// What is compared of a page, or of a redirect to one.
    fn facts(&self, task: &Task, reply: &Reply) -> Option<Box<Facts>> {
        let leads = (300..400).contains(&reply.status) || (reply.status < 300 && reply.is_html());
        let secrets = self.secrets.filter(|_| leads && task.kind == Kind::Page)?;
        let less = |room: usize| room.checked_sub(1);
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        let facts = Facts::of(reply, &self.asker.url(&task.path), secrets);
        Some(Box::new(Facts { crawled: true, ..facts }))
    }

    /// The links of an answer into the app, and those that lead elsewhere, as they are written.
    pub(super) fn follow(&self, path: &str, sighting: &Sighting) -> (Vec<Lead>, Vec<(Target, String)>) {
        let (mut leads, mut strays) = (Vec::new(), Vec::new());
        let sheet = &sighting.sheet;
        let page = self.atlas.page(path, sheet.base.as_deref());
        let links = sheet.links.iter().map(|link| (link.written.as_str(), link.kind));
        let redirect = sighting.answer.location.as_deref().filter(|_| sighting.answer.is_redirect());
        for (written, kind) in links.chain(redirect.map(|written| (written, Kind::Page))) {
            match self.atlas.locate(&page, written) {
                Target::Own { path, fragment } => {
                    let is_wanted = |name: &String| !self.links.skips(&format!("{path}#{name}"));
                    let fragment = fragment.filter(|name| self.links.fragments && is_wanted(name));
                    let passed = self.passes(&path);
                    leads.push(Lead { path, kind, fragment, written: written.to_owned(), passed });
                }
                Target::Other => {}
                Target::Local(url) | Target::External(url) | Target::Broken(url)
                    if self.links.skips(&url) => {}
                target => strays.push((target, written.to_owned())),
            }
        }
        (leads, strays)
    }

    /// The forms of an answer.
    pub(super) fn forms<'s>(
        &'s self,
        path: &'s str,
        sighting: &'s Sighting,
    ) -> impl Iterator<Item = FormKey> + 's {
        sighting.sheet.forms.iter().map(move |form| {
            let base = sighting.sheet.base.as_deref().filter(|_| !form.action.is_empty());
            FormKey {
                form: form.clone(),
                target: self.atlas.locate(&self.atlas.page(path, base), &form.action),
            }
        })
    }

    fn passes(&self, path: &str) -> Option<Reason> {
        if self.links.skips(path) {
            Some(Reason::Skipped)
        } else if is_deed(path) {
            Some(Reason::Deed)
        } else {
            None
        }
    }
}

/// How long a server that is busy wants to be left alone, as long as it has not said so too often.
fn patience(reply: &Reply, delays: u32) -> Option<Duration> {
    let named =
        reply.header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let wanted = match reply.status {
        429 => named.unwrap_or(Duration::from_secs(1 << delays.min(3))),
        503 => named?,
        _ => return None,
    };
    (delays < DELAYS).then_some(wanted.min(LONGEST_DELAY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderMap;

    #[test]
    fn a_page_leads_on_by_its_header_too() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "text/html".parse().unwrap());
        headers.insert("refresh", "0; url=/later".parse().unwrap());
        let sighting = Sighting::of(&Reply::new(200, headers, b"<a href=/a>a</a>", Duration::ZERO), &[]);
        assert_eq!(sighting.sheet.links, ["/a", "/later"].map(Link::to_page));
    }

    #[test]
    fn a_busy_server_is_left_alone_a_few_times() {
        let reply = |status, after: Option<&str>| {
            let mut headers = HeaderMap::new();
            after.map(|after| headers.insert("retry-after", after.parse().unwrap()));
            Reply::new(status, headers, b"", Duration::ZERO)
        };
        assert_eq!(patience(&reply(503, Some("2")), 0), Some(Duration::from_secs(2)));
        assert_eq!(patience(&reply(429, Some("3600")), 2), Some(LONGEST_DELAY));
        assert_eq!(patience(&reply(429, None), 1), Some(Duration::from_secs(2)));
        assert_eq!(patience(&reply(429, Some("1")), DELAYS), None);
        assert_eq!(patience(&reply(503, None), 0), None);
        assert_eq!(patience(&reply(200, Some("1")), 0), None);
    }
}
