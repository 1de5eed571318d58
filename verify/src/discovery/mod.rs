//! The routes that an app says it has: a command of the release lists them, its OpenAPI description,
//! or its sitemap. What is listed must be checked or excused; the rest is told as unchecked.
//!
//! `rule` is one line of such a list, `listing`, `openapi` and `sitemap` read them, `coverage`
//! compares them with what was asked.

mod coverage;
mod listing;
mod openapi;
mod rule;
mod sitemap;

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use common::exec::Finished;
use common::report::{OrProblem, Problem, quoted};

pub(crate) use coverage::{Coverage, Seen};
pub(crate) use rule::Rule;

use crate::checks::{Discover, Route};
use crate::crawl::address::is_deed;
use crate::http::{Asker, Request};
use crate::program;
use crate::subject::Subject;

/// Sitemaps that other sitemaps name are read up to this number.
const SITEMAPS: usize = 50;
/// So many pages of sitemaps are checked.
const PAGES: usize = 5000;

/// What was listed.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) rules: Vec<Rule>,
    /// Checks of the rules that can be asked as they are and that no check of the file asks.
    pub(crate) routes: Vec<Route>,
    /// Each list: its name, how long it took in ms, and why it could not be had.
    pub(crate) lists: Vec<(String, u64, Option<Problem>)>,
}

impl Survey {
    /// Asks for every list that `[discover]` names.
    pub(crate) fn take(subject: &Subject, asker: &Asker) -> Self {
        let Some(discover) = &subject.checks.discover else { return Self::default() };
        let mut survey = Self::list(subject, discover, asker);
        survey.plan(&subject.checks.routes, discover);
        survey
    }

    /// The lists alone.
    pub(crate) fn list(subject: &Subject, discover: &Discover, asker: &Asker) -> Self {
        let mut survey = Self::default();
        if let Some(line) = &discover.command {
            survey.add(line, || list_by_command(subject, discover, line));
        }
        if let Some(place) = &discover.openapi {
            survey.add(place, || {
                let text = read(subject, asker, place)?;
                openapi::read(&text).map_err(|what| unusable(subject, place, &what))
            });
        }
        if let Some(place) = &discover.sitemap {
            survey.add(place, || list_sitemaps(subject, asker, place));
        }
        survey
    }

    fn add(&mut self, name: &str, list: impl FnOnce() -> Result<Vec<Rule>, Problem>) {
        let begun = Instant::now();
        let problem = list().map(|rules| self.rules.extend(rules)).err();
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.lists.push((name.to_owned(), took, problem));
    }

    /// Checks for what is plain and not yet asked. A deed is never asked unless the file says so.
    fn plan(&mut self, declared: &[Route], discover: &Discover) {
        let mut known: BTreeSet<&str> =
            declared.iter().filter(|route| route.method == "GET").map(|route| plain(&route.path)).collect();
        for rule in self.rules.iter().filter(|rule| rule.is_plain() && rule.answers("GET")) {
            let wanted = !discover.excuses(&rule.text) && !is_deed(&rule.text);
            if wanted && known.insert(plain(&rule.text)) {
                self.routes.push(Route { discovered: true, ..Route::get(&rule.text) });
            }
        }
    }
}

fn plain(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

fn list_by_command(subject: &Subject, discover: &Discover, line: &str) -> Result<Vec<Rule>, Problem> {
    let limit = subject.remaining(discover.time());
    let failed = |what: String, finished: Option<&Finished>| {
        let tail = finished.map(|finished| finished.tail.clone()).filter(|tail| !tail.is_empty());
        let problem = Problem::new("discovery-failed", format!("the command that lists the routes {what}"))
            .hint(format!("cd {} && {line}", quoted(subject.release.display())));
        match tail {
            Some(tail) => problem.detail(tail),
            None => problem,
        }
    };
    let finished = match program::of_release(subject, line, limit)?.run() {
        Ok(finished) => finished,
        Err(problem) if problem.kind == "time-limit" => {
            return Err(failed(format!("did not end within {} s", limit.as_secs_f32()), None));
        }
        Err(problem) => return Err(problem),
    };
    if !finished.status.success() {
        return Err(failed(format!("ended with {}", finished.ending()), Some(&finished)));
    }
    let rules = listing::read(&String::from_utf8_lossy(&finished.stdout));
    if rules.is_empty() {
        return Err(failed("named none".into(), Some(&finished)));
    }
    Ok(rules)
}

fn list_sitemaps(subject: &Subject, asker: &Asker, first: &str) -> Result<Vec<Rule>, Problem> {
    let (mut waiting, mut seen, mut pages) =
        (VecDeque::from([first.to_owned()]), BTreeSet::new(), Vec::new());
    while let Some(place) = waiting.pop_front() {
        if !seen.insert(place.clone()) || seen.len() > SITEMAPS {
            continue;
        }
        let text = read(subject, asker, &place)?;
        let listed = sitemap::read(&text).map_err(|what| unusable(subject, &place, &what))?;
        pages.extend(listed.pages);
        waiting.extend(listed.sitemaps);
    }
    // A sitemap says that a page is there, not what else it takes.
    Ok(pages.iter().take(PAGES).filter_map(|page| Rule::read(page, &[])).collect())
}

/// A path of the app, or else a file of the release.
fn read(subject: &Subject, asker: &Asker, place: &str) -> Result<String, Problem> {
    if !place.starts_with('/') {
        let file = subject.release.join(place);
        return std::fs::read_to_string(&file)
            .or_problem("discovery-failed", || format!("{place} of the release cannot be read"))
            .map_err(|problem| problem.hint(format!("ls -l {}", quoted(file.display()))));
    }
    match asker.ask(&Request::get(place, subject.remaining(crate::stages::LIMIT))) {
        Ok(reply) if reply.status == 200 => Ok(reply.text),
        Ok(reply) => Err(unusable(subject, place, &format!("answers {}", reply.status))),
        Err(finding) => Err(unusable(subject, place, &finding.phrase).detail(finding.detail)),
    }
}

fn unusable(subject: &Subject, place: &str, what: &str) -> Problem {
    let hint = if place.starts_with('/') {
        subject.address.curl_hint(place)
    } else {
        format!("head {}", quoted(subject.release.join(place).display()))
    };
    Problem::new("discovery-failed", format!("{place}, which lists the routes, {what}")).hint(hint)
}
