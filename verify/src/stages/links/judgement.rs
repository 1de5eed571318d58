//! What is wrong with what a crawl saw: dead links and assets, positions that are missing, redirects
//! that lead nowhere or in a circle, links that only this host can follow.

use std::time::Duration;

use super::super::LIMIT;
use super::super::sight::Sight;
use crate::crawl::address::Target;
use crate::crawl::sheet::{Kind, Sheet};
use crate::crawl::{Answer, Crawl, Node, Referrer};
use crate::finding::Finding;
use crate::http::{Jar, Request};

/// More redirects in a row than any app needs.
const HOPS: usize = 10;

/// One finding, and the path that shows it.
pub(super) struct Flaw {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) finding: Finding,
    pub(super) duration_ms: u64,
}

/// How a row of redirects ends.
enum Trail<'a> {
    At(&'a Node),
    /// Outside, or where nobody asked.
    Beyond,
    Nowhere,
    Circle(Vec<&'a str>),
}

/// Everything that is wrong, in the order in which it was found.
pub(super) fn flaws(sight: &Sight<'_>, crawl: &Crawl) -> Vec<Flaw> {
    let judge = Judge { sight, crawl };
    let mut flaws: Vec<Flaw> = judge.start().into_iter().collect();
    flaws.extend(crawl.nodes.iter().flat_map(|node| judge.node(node)));
    flaws.extend(judge.strays());
    flaws
}

struct Judge<'a, 's> {
    sight: &'a Sight<'s>,
    crawl: &'a Crawl,
}

impl Judge<'_, '_> {
    /// A crawl that cannot begin has seen nothing.
    fn start(&self) -> Option<Flaw> {
        let start = &self.sight.subject.checks.links.as_ref()?.start;
        let node = self.crawl.node(start).filter(|node| node.references == 0)?;
        let answer = node.answer().filter(|answer| answer.fault.is_some() || answer.status >= 400)?;
        let declared = self.sight.visit().pages.iter().any(|page| page.route.path == *start);
        if declared {
            return None;
        }
        let finding = answer.fault.clone().unwrap_or_else(|| {
            Finding::new("link-dead", format!("answered {}, and the crawl begins there", answer.status))
                .line("excerpt", &answer.excerpt)
        });
        Some(flaw(node, answer, finding))
    }

    fn node(&self, node: &Node) -> Vec<Flaw> {
        // A route may have asked what is skipped.
        let is_skipped =
            self.sight.subject.checks.links.as_ref().is_some_and(|links| links.skips(&node.path));
        let is_linked = node.references > 0 && !is_skipped;
        let Some(answer) = node.answer().filter(|_| is_linked) else { return Vec::new() };
        let mut flaws: Vec<Flaw> =
            self.condition(node, answer).map(|finding| flaw(node, answer, finding)).into_iter().collect();
        if flaws.is_empty() {
            flaws.extend(self.fragments(node, answer));
        }
        flaws
    }

    fn condition(&self, node: &Node, answer: &Answer) -> Option<Finding> {
        let finding = match &answer.fault {
            Some(fault) => fault.clone(),
            None if answer.is_redirect() => self.redirect(node)?,
            None if answer.status >= 400 && !answer.is_guarded() => {
                let kind = if node.kind == Kind::Asset { "asset-dead" } else { "link-dead" };
                let finding = Finding::new(kind, format!("answered {}", answer.status));
                if answer.excerpt.is_empty() { finding } else { finding.line("excerpt", &answer.excerpt) }
            }
            None => return None,
        };
        Some(self.told(finding, node))
    }

    fn redirect(&self, node: &Node) -> Option<Finding> {
        match self.trail(node) {
            Trail::At(_) | Trail::Beyond => None,
            Trail::Nowhere => Some(Finding::new("redirect-nowhere", "redirects without saying where")),
            // A page of the circle tells it, its redirects do not.
            Trail::Circle(_) if !self.is_on_a_page(node) || self.ends_with_cookies(&node.path) => None,
            Trail::Circle(paths) => Some(
                Finding::new("redirect-loop", "redirects in a circle, or too often")
                    .line("actual", paths.join(" -> ")),
            ),
        }
    }

    fn is_on_a_page(&self, node: &Node) -> bool {
        let redirects =
            |referrer: &Referrer| self.crawl.nodes[referrer.page].answer().is_some_and(Answer::is_redirect);
        node.referrers.iter().any(|referrer| !redirects(referrer))
    }

    fn trail<'c>(&'c self, node: &'c Node) -> Trail<'c> {
        let mut paths = vec![node.path.as_str()];
        let mut at = node;
        while let Some(answer) = at.answer() {
            if !answer.is_redirect() {
                return Trail::At(at);
            }
            let Some(location) = &answer.location else { return Trail::Nowhere };
            let page = self.sight.atlas.page(&at.path, None);
            let Target::Own { path, .. } = self.sight.atlas.locate(&page, location) else {
                return Trail::Beyond;
            };
            let Some(next) = self.crawl.node(&path) else { return Trail::Beyond };
            let known = paths.contains(&next.path.as_str());
            paths.push(&next.path);
            if known || paths.len() > HOPS {
                return Trail::Circle(paths);
            }
            at = next;
        }
        Trail::Beyond
    }

    /// Some pages redirect until their cookie comes back; a browser brings it.
    fn ends_with_cookies(&self, path: &str) -> bool {
        let (mut path, mut jar) = (path.to_owned(), Jar::default());
        for _ in 0..HOPS {
            let limit = self.sight.subject.remaining(LIMIT).max(Duration::from_millis(1));
            let cookies: Vec<String> = self.sight.cookies().into_iter().chain(jar.header()).collect();
            let cookies = (!cookies.is_empty()).then(|| cookies.join("; "));
            let request = Request { cookies, leads_only: true, ..Request::get(&path, limit) };
            let Ok(reply) = self.sight.asker.ask(&request) else { return false };
            jar.absorb(&reply.headers);
            let Some(location) = reply.header("location").filter(|_| (300..400).contains(&reply.status))
            else {
                return reply.status < 400;
            };
            let page = self.sight.atlas.page(&path, None);
            let Target::Own { path: next, .. } = self.sight.atlas.locate(&page, &location) else {
                return true;
            };
            path = next;
        }
        false
    }

    /// Positions that are named and missing; a redirect keeps what stands behind `#`.
    fn fragments(&self, node: &Node, answer: &Answer) -> Vec<Flaw> {
        let Trail::At(end) = self.trail(node) else { return Vec::new() };
        let places = end.answer().filter(|end| end.status < 400).and_then(|end| end.places.as_ref());
        let Some(places) = places else { return Vec::new() };
        let missing = node.fragments.iter().filter(|(fragment, _)| !Sheet::has_place(places, fragment));
        missing
            .map(|(fragment, referrer)| Flaw {
                name: format!("{}#{fragment}", node.path),
                path: node.path.clone(),
                finding: Finding::new("fragment-dead", "leads to a position that the page does not have")
                    .line("expected", format!("an element with id=\"{fragment}\""))
                    .line("linked from", &self.crawl.nodes[referrer.page].path)
                    .line("written", &referrer.written),
                duration_ms: answer.duration_ms,
            })
            .collect()
    }

    fn strays(&self) -> Vec<Flaw> {
        let strays = self.crawl.strays.iter();
        strays
            .filter_map(|(target, stray)| {
                let (name, finding) = match target {
                    Target::Local(url) => (
                        url,
                        Finding::new(
                            "link-local",
                            "leads to where only this host, or another environment, is",
                        ),
                    ),
                    Target::Broken(text) => (text, Finding::new("link-broken", "is no address")),
                    _ => return None,
                };
                let page = &self.crawl.nodes[stray.first.page].path;
                let finding = finding.line("linked from", page).line("links", stray.count.to_string());
                Some(Flaw { name: name.clone(), path: page.clone(), finding, duration_ms: 0 })
            })
            .collect()
    }

    /// Adds where the links are.
    fn told(&self, finding: Finding, node: &Node) -> Finding {
        let pages: Vec<&str> =
            node.referrers.iter().map(|referrer| self.crawl.nodes[referrer.page].path.as_str()).collect();
        let written = node.referrers.first().map(|referrer| referrer.written.as_str()).unwrap_or_default();
        let finding = finding.line("linked from", pages.join(", ")).line("written", written);
        if node.references > pages.len() {
            return finding.line("links", node.references.to_string());
        }
        finding
    }
}

fn flaw(node: &Node, answer: &Answer, finding: Finding) -> Flaw {
    Flaw { name: node.path.clone(), path: node.path.clone(), finding, duration_ms: answer.duration_ms }
}
