//! Each route that was asked, as a step.

use common::report::Step;

use super::TOOL;
use super::pages::Page;
use crate::finding::Finding;
use crate::http;

pub(super) fn steps(pages: &[Page<'_>]) -> Vec<Step> {
    pages.iter().map(step).collect()
}

fn step(page: &Page<'_>) -> Step {
    let name = page.route.name();
    let step = Step::new(TOOL, format!("routes.{name}"), page.duration_ms);
    let step = step.target(page.url.as_str());
    if let Some(reason) = &page.not_asked {
        return step.skip(reason);
    }
    match Finding::tell(&name, &page.findings, http::command(page.route, &page.url, page.address)) {
        Some(problem) => step.fail(problem),
        None => step,
    }
}
