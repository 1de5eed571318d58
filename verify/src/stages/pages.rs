//! The pages of a release: every route asked once, a few at a time, and what was seen.
//!
//! Logins come first, since others need their sessions. No body is kept; where the app is crawled,
//! what the crawl would see of a page is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::address::Address;
use common::interrupt;
use reqwest::Url;

use super::{LIMIT, expectation, milliseconds, submission};
use crate::checks::Route;
use crate::crawl::Sighting;
use crate::finding::Finding;
use crate::http::{Asker, Jar, Reply, Request};
use crate::subject::Subject;

/// A development server has no more than a few workers.
const AT_ONCE: usize = 8;

/// What became of one route.
pub(super) struct Page<'a> {
    pub(super) route: &'a Route,
    pub(super) url: Url,
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
    /// Where it redirects to.
    pub(super) location: Option<String>,
    /// Of a page that a crawl would come to.
    pub(super) sighting: Option<Sighting>,
    jar: Jar,
}

type Sessions<'a> = BTreeMap<&'a str, Result<Jar, String>>;

/// All pages, in the order of the file, and the sessions that were opened.
pub(super) struct Visit<'a> {
    pub(super) pages: Vec<Page<'a>>,
    sessions: Sessions<'a>,
}

impl Visit<'_> {
    /// The cookies of a session, or why it was not opened.
    pub(super) fn jar(&self, session: &str) -> Result<Jar, String> {
        jar(&self.sessions, session)
    }
}

struct Visitor<'a, 's> {
    subject: &'a Subject,
    asker: &'s Asker,
    sessions: Sessions<'a>,
}

/// Asks every route.
pub(super) fn ask<'a>(subject: &'a Subject, asker: &Asker, routes: &[&'a Route]) -> Visit<'a> {
    let mut visitor = Visitor { subject, asker, sessions: Sessions::new() };
    let (logins, others): (Vec<_>, Vec<_>) =
        routes.iter().copied().enumerate().partition(|(_, route)| route.is_login());
    let mut pages = visitor.visit_all(&logins);
    visitor.sessions = pages.iter().filter_map(|(_, page)| session(page)).collect();
    pages.extend(visitor.visit_all(&others));
    for (_, page) in &mut pages {
        visitor.measure_alone(page);
    }
    pages.sort_by_key(|(number, _)| *number);
    Visit { pages: pages.into_iter().map(|(_, page)| page).collect(), sessions: visitor.sessions }
}

fn jar(sessions: &Sessions<'_>, session: &str) -> Result<Jar, String> {
    sessions.get(session).cloned().unwrap_or_else(|| Err("nobody is logged in".into()))
}

fn session<'a>(page: &Page<'a>) -> Option<(&'a str, Result<Jar, String>)> {
    let failed = !page.findings.is_empty() || page.not_asked.is_some();
    let jar = if failed { Err(format!("{} failed", page.route.name())) } else { Ok(page.jar.clone()) };
    Some((page.route.session.as_deref()?, jar))
}

impl<'a> Visitor<'a, '_> {
    fn visit_all(&self, routes: &[(usize, &'a Route)]) -> Vec<(usize, Page<'a>)> {
        let next = AtomicUsize::new(0);
        let pages = Mutex::new(Vec::with_capacity(routes.len()));
        let work = || {
            while let Some((number, route)) = routes.get(next.fetch_add(1, Ordering::Relaxed)) {
                let page = self.visit(route);
                if let Ok(mut pages) = pages.lock() {
                    pages.push((*number, page));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..AT_ONCE.min(routes.len()) {
                scope.spawn(work);
            }
            work();
        });
        pages.into_inner().unwrap_or_default()
    }

    fn visit(&self, route: &'a Route) -> Page<'a> {
        let url = self.asker.url(&route.path);
        let mut page = Page {
            route,
            url,
            address: &self.subject.address,
            duration_ms: 0,
            seen: false,
            not_asked: None,
            findings: Vec::new(),
            unwanted: Vec::new(),
            location: None,
            sighting: None,
            jar: Jar::default(),
        };
        match self.jar(route) {
            Ok(jar) => page.jar = jar,
            Err(reason) => page.not_asked = Some(reason),
        }
        if page.not_asked.is_none() {
            let begun = Instant::now();
            let answer = self.request(route, &mut page.jar);
            page.duration_ms = milliseconds(begun.elapsed());
            self.judge(&mut page, answer);
        }
        page
    }

    /// The cookies to send, or why the route is not asked.
    fn jar(&self, route: &Route) -> Result<Jar, String> {
        match (route.forbidden(), route.session.as_deref()) {
            (Some(reason), _) => Err(reason),
            (None, Some(session)) if !route.is_login() => jar(&self.sessions, session),
            _ => Ok(Jar::default()),
        }
    }

    fn request(&self, route: &Route, jar: &mut Jar) -> Result<Reply, Finding> {
        let usual = route.time.map_or(LIMIT, |time| LIMIT.max(time * 2));
        let limit = self.subject.remaining(usual);
        if interrupt::pending().is_some() {
            return Err(Finding::new("interrupted", "was not asked: the run was interrupted"));
        }
        if limit.is_zero() {
            return Err(Finding::new(
                "deadline",
                "was not asked: the time for the whole verification is over",
            ));
        }
        let form = submission::prepare(self.asker, route, jar, limit)?;
        let request = Request {
            method: &route.method,
            cookies: jar.header(),
            form,
            ..Request::get(&route.path, limit)
        };
        let reply = self.asker.ask(&request)?;
        jar.absorb(&reply.headers);
        Ok(reply)
    }

    fn judge(&self, page: &mut Page<'_>, answer: Result<Reply, Finding>) {
        let reply = match answer {
            Ok(reply) => reply,
            Err(finding) => return page.findings.push(finding),
        };
        page.seen = true;
        page.location = reply.header("location").map(Cow::into_owned);
        page.findings = expectation::compare(page.route, &reply, &page.url);
        page.findings.extend(expectation::too_slow(self.budget(page.route), reply.elapsed));
        page.unwanted = reply.unwanted(&self.subject.checks.absent);
        page.sighting = self.is_crawled(page.route).then(|| Sighting::of(&reply, &[]));
        if page.route.is_login() && page.findings.is_empty() && page.jar.header().is_none() {
            page.findings.push(Finding::new("session-missing", "sets no cookie, so nobody is logged in"));
        }
    }

    /// Whether a crawl would ask the same.
    fn is_crawled(&self, route: &Route) -> bool {
        let links = self.subject.checks.links.as_ref();
        links.is_some_and(|links| route.method == "GET" && route.session == links.session)
    }

    fn budget(&self, route: &Route) -> Option<Duration> {
        route.time.or(self.subject.checks.time)
    }

    /// A page that was only slow is asked once more: beside seven others it may have waited for a
    /// free worker.
    fn measure_alone(&self, page: &mut Page<'a>) {
        let only_slow = page.findings.len() == 1 && page.findings[0].kind == "too-slow";
        if only_slow && !page.route.is_unsafe() {
            let again = self.visit(page.route);
            if again.seen {
                *page = again;
            }
        }
    }
}
