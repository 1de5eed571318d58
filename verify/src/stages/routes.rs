//! Each route that was asked, as a step; each list of the app's routes; and which of those no check
//! has looked at.

use common::report::{Problem, Status, Step};
use serde_json::{Value, json};

use super::pages::Page;
use super::sight::Sight;
use super::{TOOL, forms};
use crate::discovery::{Coverage, Seen};
use crate::finding::Finding;
use crate::http;

/// So many unchecked rules are named in a sentence; the report has all.
const NAMED: usize = 20;

/// The steps of this stage, and its facts for the report.
pub(super) fn steps(sight: &Sight<'_>) -> (Vec<Step>, Option<Value>) {
    let mut steps: Vec<Step> = sight.visit().pages.iter().map(|page| step(sight, page)).collect();
    steps.extend(sight.survey().lists.iter().map(|(name, took, problem)| {
        let step = Step::new(TOOL, "routes.discovery", *took).target(name);
        match problem {
            Some(problem) => step.fail(problem.clone()),
            None => step,
        }
    }));
    let Some(coverage) = coverage(sight) else { return (steps, None) };
    let is_listed = steps.iter().all(|step| step.name != "routes.discovery" || step.status == Status::Passed);
    if is_listed {
        steps.push(coverage_step(sight, &coverage));
    }
    let redirected: Vec<Value> = sight.visit().pages.iter().filter_map(redirected).collect();
    let mut facts = json!(coverage);
    facts["redirected"] = json!(redirected);
    (steps, Some(facts))
}

fn step(sight: &Sight<'_>, page: &Page<'_>) -> Step {
    let (name, url) = (page.route.name(), sight.asker.url(&page.asked().path));
    let step = Step::new(TOOL, format!("routes.{name}"), page.duration_ms);
    let step = step.target(url.as_str());
    if let Some(reason) = page.not_asked() {
        return step.skip(reason);
    }
    if page.findings.is_empty() {
        return step;
    }
    match Finding::tell(&name, &page.findings, http::command(page.asked(), &url, &sight.subject.address)) {
        Some(problem) => step.fail(problem),
        None => step,
    }
}

/// A discovered route that leads elsewhere, often to a login: passed, and said.
fn redirected(page: &Page<'_>) -> Option<Value> {
    let to = page.kept()?.location.as_ref().filter(|_| page.route.discovered)?;
    Some(json!({"path": page.route.path, "to": to}))
}

fn coverage(sight: &Sight<'_>) -> Option<Coverage> {
    let discover = sight.subject.checks.discover.as_ref()?;
    let pages = sight.visit().pages.iter().filter(|page| page.seen);
    let mut seen = Seen {
        routes: pages.map(|page| (&*page.asked().method, page.asked().path.as_str())).collect(),
        ..Seen::default()
    };
    if let Ok(crawl) = sight.crawl() {
        let answered = crawl.answered().filter(|(_, answer)| answer.fault.is_none() && answer.status < 400);
        seen.links = answered.map(|(node, _)| node.path.as_str()).collect();
        seen.forms = forms::actions(crawl).collect();
    }
    Some(Coverage::of(&sight.survey().rules, discover, &seen))
}

/// Rules that no check has looked at, as they are listed.
pub(crate) fn unchecked(sight: &Sight<'_>) -> Vec<String> {
    let unchecked = coverage(sight).map(|coverage| coverage.unchecked).unwrap_or_default();
    unchecked.into_iter().map(|rule| rule.rsplit(' ').next().unwrap_or_default().to_owned()).collect()
}

fn coverage_step(sight: &Sight<'_>, coverage: &Coverage) -> Step {
    let unchecked = &coverage.unchecked;
    let step = Step::new(TOOL, "routes.coverage", 0).target(format!(
        "{} of {} rules",
        coverage.rules - unchecked.len(),
        coverage.rules
    ));
    if unchecked.is_empty() {
        return step;
    }
    let named = unchecked.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let told = format!("{} of {} listed rules are unchecked: {named}", unchecked.len(), coverage.rules);
    let required = sight.subject.checks.discover.as_ref().is_some_and(|discover| discover.require_all);
    if !required {
        return step.skip(format!("{told}; [routes] may give them values, [discover] may excuse them"));
    }
    let environment = sight.subject.place.environment();
    step.fail(
        Problem::new("routes-unchecked", told).hint(format!(
            "verify {environment} --only routes --json | jq '.details.verify.routes.unchecked'"
        )),
    )
}
