//! Asks every route once, a few at a time. Logins come first, since others need their sessions.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::interrupt;
use reqwest::Url;

use super::pages::{Captured, Page, Sessions, Visit, jar};
use super::{LIMIT, expectation, milliseconds, submission};
use crate::checks::Route;
use crate::crawl::Sighting;
use crate::explain::Exchange;
use crate::finding::Finding;
use crate::http::{Asker, Jar, Reply, Request};
use crate::regressions::Facts;
use crate::subject::Subject;

/// A development server has no more than a few workers.
const AT_ONCE: usize = 8;
/// So many pages are compared with the release before although nobody asked for it: that takes
/// longer than the checks themselves.
const FEW: usize = 500;
/// Between two attempts at a route that is to be asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

struct Visitor<'a, 's> {
    subject: &'a Subject,
    asker: &'s Asker,
    sessions: Sessions<'a>,
    captured: Captured<'a>,
    /// Whether pages are compared with those of the release before.
    compares: bool,
}

/// Asks every route: in turn the logins and the others whose captured values are there.
pub(super) fn ask<'a>(subject: &'a Subject, asker: &Asker, routes: &[&'a Route]) -> Visit<'a> {
    let compares = subject.checks.regressions.is_some() || routes.len() <= FEW;
    let (sessions, captured) = (Sessions::new(), Captured::new());
    let mut visitor = Visitor { subject, asker, sessions, captured, compares };
    let mut waiting: Vec<_> = routes.iter().copied().enumerate().collect();
    let mut rounds = Vec::new();
    let mut stuck = false;
    while !waiting.is_empty() {
        // What nothing can be captured for is visited at last, and says so.
        let is_ready = |route: &Route| stuck || visitor.is_ready(route);
        let (mut ready, mut others): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(_, route)| is_ready(route));
        if ready.iter().any(|(_, route)| route.is_login()) {
            let (logins, later): (Vec<_>, Vec<_>) =
                ready.into_iter().partition(|(_, route)| route.is_login());
            (ready, others) = (logins, [later, others].concat());
        }
        stuck = ready.is_empty();
        let visited = visitor.visit_all(&ready);
        visitor.learn(&visited);
        rounds.push(visited);
        waiting = others;
    }
    let mut pages = joined(rounds);
    for (_, page) in &mut pages {
        visitor.measure_alone(page);
    }
    pages.sort_unstable_by_key(|(number, _)| *number);
    Visit { pages: pages.into_iter().map(|(_, page)| page).collect(), sessions: visitor.sessions }
}

/// All in one list; a single round is not copied.
fn joined<T>(rounds: Vec<Vec<T>>) -> Vec<T> {
    rounds
        .into_iter()
        .reduce(|mut all, round| {
            all.extend(round);
            all
        })
        .unwrap_or_default()
}

fn session<'a>(page: &Page<'a>) -> Option<(&'a str, Result<Jar, String>)> {
    if !page.route.is_login() {
        return None;
    }
    let failed = !page.findings.is_empty() || page.not_asked().is_some();
    let opened = || page.kept().map(|kept| kept.jar.clone()).unwrap_or_default();
    let jar = if failed { Err(format!("{} failed", page.route.name())) } else { Ok(opened()) };
    Some((page.route.session()?, jar))
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

    /// Whether it is known of all values and of the session that it uses whether they are to be had.
    fn is_ready(&self, route: &Route) -> bool {
        let session = route.session().filter(|_| !route.is_login());
        session.is_none_or(|session| self.sessions.contains_key(session))
            && route.terms().needs.iter().all(|name| self.captured.contains_key(name.as_str()))
    }

    fn learn(&mut self, pages: &[(usize, Page<'a>)]) {
        for (_, page) in pages {
            self.sessions.extend(session(page));
            for (name, value) in page.kept().into_iter().flat_map(|kept| &kept.captured) {
                self.captured.entry(name).or_insert_with(|| value.clone());
            }
        }
    }

    /// Asks, again and again where the route wants that and is not right.
    fn visit(&self, route: &'a Route) -> Page<'a> {
        let until = route.terms().retry.map(|retry| Instant::now() + self.subject.remaining(retry));
        loop {
            let page = self.visit_once(route);
            let is_over = until.is_none_or(|until| Instant::now() + RETRY_PAUSE > until);
            if page.findings.is_empty() || is_over || interrupt::pending().is_some() {
                return page;
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// The route with its captured values, where it needs some, or why it cannot be asked.
    fn filled(&self, route: &Route) -> Result<Option<Route>, String> {
        let needs = &route.terms().needs;
        if needs.is_empty() {
            return Ok(None);
        }
        let value = |name: &String| match self.captured.get(name.as_str()) {
            Some(value) => Ok((name.clone(), value.clone()?)),
            None => Err(format!("nothing was captured as '{name}' before it")),
        };
        Ok(Some(route.with(&needs.iter().map(value).collect::<Result<_, String>>()?)))
    }

    fn visit_once(&self, route: &'a Route) -> Page<'a> {
        let mut page = Page::of(route);
        match self.filled(route).and_then(|filled| Ok((filled, self.jar(route)?))) {
            Ok((filled, jar)) => {
                if filled.is_some() {
                    page.keep().filled = filled;
                }
                self.ask(&mut page, jar);
            }
            Err(reason) => page.keep().not_asked = Some(reason),
        }
        for (name, _) in &route.terms().captures {
            let missing = || Err(format!("{} captured nothing as '{name}'", route.name()));
            page.keep().captured.entry(name).or_insert_with(missing);
        }
        page
    }

    fn ask(&self, page: &mut Page<'a>, cookies: Jar) {
        let (begun, url) = (Instant::now(), self.asker.url(&page.asked().path));
        let mut jar = cookies.clone();
        let answer = self.request(page.asked(), &mut jar);
        page.duration_ms = milliseconds(begun.elapsed());
        if !jar.is_empty() {
            page.keep().jar = jar;
        }
        if let Some(reply) = answer.as_ref().ok().filter(|_| self.subject.explains) {
            page.keep().exchange = Some(Exchange::of(page.asked(), &url, &cookies, reply));
        }
        self.judge(page, &url, answer);
    }

    /// The cookies to send, or why the route is not asked.
    fn jar(&self, route: &Route) -> Result<Jar, String> {
        match (route.forbidden(), route.session()) {
            (Some(reason), _) => Err(reason),
            (None, Some(session)) if !route.is_login() => jar(&self.sessions, session),
            _ => Ok(Jar::default()),
        }
    }

    fn request(&self, route: &Route, jar: &mut Jar) -> Result<Reply, Finding> {
        let usual = route.terms().time.map_or(LIMIT, |time| LIMIT.max(time * 2));
        let limit = self.subject.remaining(usual);
        if interrupt::pending().is_some() {
            return Err(Finding::new("interrupted", "was not asked: the run was interrupted"));
        }
        if limit.is_zero() {
            return Err(Finding::unasked("was not asked"));
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

    fn judge(&self, page: &mut Page<'a>, url: &Url, answer: Result<Reply, Finding>) {
        let reply = match answer {
            Ok(reply) => reply,
            Err(finding) => return page.findings.push(finding),
        };
        page.seen = true;
        self.keep_of(page, &reply, url);
        page.findings = expectation::compare(page.asked(), &reply, url);
        for (name, capture) in &page.route.terms().captures {
            match capture.take(&reply) {
                Some(value) => drop(page.keep().captured.insert(name, Ok(value))),
                None => page.findings.push(
                    Finding::new("capture-missing", format!("has nothing to capture as '{name}'"))
                        .line("excerpt", reply.excerpt()),
                ),
            }
        }
        page.findings.extend(expectation::too_slow(self.budget(page.route), reply.elapsed));
        let has_cookies = page.kept().is_some_and(|kept| !kept.jar.is_empty());
        if page.route.is_login() && page.findings.is_empty() && !has_cookies {
            page.findings.push(Finding::new("session-missing", "sets no cookie, so nobody is logged in"));
        }
    }

    /// Most of ten thousand answers leave nothing.
    fn keep_of(&self, page: &mut Page<'a>, reply: &Reply, url: &Url) {
        if self.compares {
            page.keep().facts = Some(Facts::of(reply, url, &self.subject.secrets));
        }
        if let Some(location) = reply.header("location") {
            page.keep().location = Some(location.into_owned());
        }
        let unwanted = reply.unwanted(&self.subject.checks.absent);
        if !unwanted.is_empty() {
            page.keep().unwanted = unwanted;
        }
        if self.is_crawled(page.route) {
            page.keep().sighting = Some(Sighting::of(reply, &[]));
        }
    }

    /// Whether a crawl would ask the same.
    fn is_crawled(&self, route: &Route) -> bool {
        let links = self.subject.checks.links.as_ref();
        links.is_some_and(|links| route.method == "GET" && route.session() == links.session.as_deref())
    }

    fn budget(&self, route: &Route) -> Option<Duration> {
        route.terms().time.or(self.subject.checks.time)
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
