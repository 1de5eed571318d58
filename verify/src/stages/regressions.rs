//! The pages of this release beside those of the release before, and the earlier release itself,
//! where it still runs: with the same data it shows what the code alone has changed.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use common::instance::Instance;
use common::report::{Problem, Step, quoted};
use common::supervisor::Condition;

use super::pages::Page;
use super::sight::Sight;
use super::{LIMIT, TOOL, milliseconds, skipped};
use crate::http::{Asker, Request};
use crate::regressions::{self, Again, Answered, Asked, Change, Comparison, Facts, Structure, in_short};
use crate::subject::{FAIR, Subject};

/// So long pages of the crawl are asked for once more; those of routes come before them.
const CRAWLED: Duration = Duration::from_secs(20);

/// The pages to compare: those of routes and, where the release says what may change, of the crawl. An
/// address with a query may be of one visitor alone, and is kept nowhere.
pub(super) fn answered(sight: &Sight<'_>) -> Vec<Answered> {
    let mut pages: Vec<Answered> = sight.visit().pages.iter().filter_map(Page::answered).collect();
    let judges = sight.subject.checks.regressions.is_some();
    let Some(crawl) = judges.then(|| sight.crawl().ok()).flatten() else { return pages };
    let routes: HashSet<String> = pages.iter().map(|page| page.name.clone()).collect();
    let cookies = sight.cookies();
    for (node, answer) in crawl.answered().filter(|(node, _)| !node.path.contains('?')) {
        let name = sight.subject.secrets.hide(&format!("GET {}", node.path));
        let path = node.path.clone();
        let facts = answer.facts.as_deref().cloned().filter(|_| !routes.contains(&name));
        pages.extend(facts.map(|facts| Answered { name, path, cookies: cookies.clone(), facts }));
    }
    pages
}

/// Compares `pages` with the release before; what came of it goes to `comparison`.
///
/// # Errors
/// `unverified` when not even a request can be made.
pub(super) fn check(
    subject: &Subject,
    pages: &[Answered],
    comparison: &mut Comparison,
) -> Result<Vec<Step>, Problem> {
    let Some(before) = &subject.earlier else {
        return Ok(vec![skipped(
            "regressions",
            "no release before this one was verified with its structure",
        )]);
    };
    let begun = Instant::now();
    let rules = subject.checks.regressions.as_deref();
    let (now, earlier) = (Asker::new(&subject.address)?, earlier(subject, before));
    let hosts = Hosts { subject, now, earlier, crawled_until: begun + CRAWLED };
    *comparison = regressions::compare(&before.pages, pages, &hosts, rules.unwrap_or_default());
    regressions::accept(&subject.place, subject.tree(), &mut comparison.changes);
    let took = milliseconds(begun.elapsed());
    let unmeant = |change: &&Change| change.accepted.is_none() && rules.is_some();
    let mut steps: Vec<Step> =
        comparison.changes.iter().filter(unmeant).map(|change| failed(subject, before, change)).collect();
    if steps.is_empty() && comparison.compared > 0 {
        let target = format!("{} pages since {}", comparison.compared, before.revision);
        steps.push(Step::new(TOOL, "regressions", took).target(target));
    }
    steps.extend(left_over(subject, comparison));
    if steps.is_empty() {
        let reason = format!("no page could be compared with {}", before.revision);
        steps.push(skipped("regressions", &reason));
    }
    Ok(steps)
}

/// What differs and was not compared, for lack of time. That the whole run had none is no passed check
/// of a route.
fn left_over(subject: &Subject, comparison: &Comparison) -> Option<Step> {
    let left = [comparison.left_routes.as_slice(), &comparison.left_crawled].concat();
    if left.is_empty() {
        return None;
    }
    let told = format!("{} not compared, since there was no time: {}", left.len(), in_short(&left));
    let is_judged = subject.checks.regressions.is_some() && !comparison.left_routes.is_empty();
    if !is_judged {
        return Some(skipped("regressions.limit", &told));
    }
    let hint = format!("verify {} --only regressions", subject.place.environment());
    Some(Step::new(TOOL, "regressions.limit", 0).fail(Problem::unverified(told).hint(hint)))
}

fn failed(subject: &Subject, before: &Structure, change: &Change) -> Step {
    let environment = subject.place.environment();
    let problem = Problem::new(&change.kind, change.sentence())
        .detail(format!("since: {} (deployment {})", before.revision, before.deployment))
        .hint(format!("verify {environment} --approve {}   # if it is meant", quoted(&change.id)));
    Step::new(TOOL, &change.id, 0).target(change.pages_in_short()).fail(problem)
}

/// The earlier release's own instance, while it is still warm.
fn earlier(subject: &Subject, before: &Structure) -> Option<Asker> {
    let instance = Instance::of(&subject.place, &before.deployment)?;
    let condition = subject.supervisor.condition(&subject.place, instance.slot);
    let runs = matches!(condition, Condition::Running { .. });
    Asker::new(&instance.address).ok().filter(|_| runs)
}

struct Hosts<'a> {
    subject: &'a Subject,
    now: Asker,
    earlier: Option<Asker>,
    crawled_until: Instant,
}

impl Hosts<'_> {
    fn ask(&self, asker: &Asker, page: &Answered) -> Asked {
        let limit = self.subject.remaining(LIMIT);
        if limit.is_zero() || (page.facts.crawled && Instant::now() > self.crawled_until) {
            return Asked::NoTime;
        }
        let request = Request { cookies: page.cookies.clone(), ..Request::get(&page.path, limit) };
        match asker.ask(&request) {
            Ok(reply) => {
                Asked::Answered(Box::new(Facts::of(&reply, &asker.url(&page.path), &self.subject.secrets)))
            }
            Err(_) if limit < FAIR => Asked::NoTime,
            Err(_) => Asked::Silent,
        }
    }
}

impl Again for Hosts<'_> {
    fn now(&self, page: &Answered) -> Asked {
        self.ask(&self.now, page)
    }

    fn earlier(&self, page: &Answered) -> Asked {
        self.earlier.as_ref().map_or(Asked::Silent, |asker| self.ask(asker, page))
    }
}
