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
use crate::regressions::{self, Again, Answered, Change, Facts, Structure};
use crate::subject::Subject;

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

/// Compares `pages` with the release before; what changed goes to `changes`.
///
/// # Errors
/// `unverified` when not even a request can be made.
pub(super) fn check(
    subject: &Subject,
    pages: &[Answered],
    changes: &mut Vec<Change>,
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
    *changes = regressions::changes(&before.pages, pages, &hosts, rules.unwrap_or_default());
    regressions::accept(&subject.place, subject.tree(), changes);
    let took = milliseconds(begun.elapsed());
    let unmeant = changes.iter().filter(|change| change.accepted.is_none() && rules.is_some());
    let failed: Vec<Step> = unmeant.map(|change| failed(subject, before, change)).collect();
    if !failed.is_empty() {
        return Ok(failed);
    }
    let compared = pages.iter().filter(|page| before.pages.contains_key(&page.name)).count();
    let target = format!("{compared} pages since {}", before.revision);
    Ok(vec![Step::new(TOOL, "regressions", took).target(target)])
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
    fn ask(&self, asker: &Asker, page: &Answered) -> Option<Facts> {
        if page.facts.crawled && Instant::now() > self.crawled_until {
            return None;
        }
        let limit = self.subject.remaining(LIMIT);
        let request = Request { cookies: page.cookies.clone(), ..Request::get(&page.path, limit) };
        let reply = asker.ask(&request).ok()?;
        Some(Facts::of(&reply, &asker.url(&page.path), &self.subject.secrets))
    }
}

impl Again for Hosts<'_> {
    fn now(&self, page: &Answered) -> Option<Facts> {
        self.ask(&self.now, page)
    }

    fn earlier(&self, page: &Answered) -> Option<Facts> {
        self.ask(self.earlier.as_ref()?, page)
    }
}
