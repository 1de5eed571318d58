//! Texts that no page may show, on every page that was seen.

use common::report::Step;

use super::pages::Page;
use super::{TOOL, skipped};
use crate::finding::Finding;
use crate::http;
use crate::subject::Subject;

pub(super) fn steps(subject: &Subject, pages: &[Page<'_>]) -> Vec<Step> {
    if subject.checks.absent.is_empty() {
        return vec![skipped("content", "verify.toml names no absent texts in [defaults]")];
    }
    let seen = pages.iter().filter(|page| page.seen).count();
    if seen == 0 {
        return vec![skipped("content", "no page was seen")];
    }
    let failed: Vec<Step> = pages.iter().filter_map(failed).collect();
    if failed.is_empty() {
        vec![Step::new(TOOL, "content", 0).target(format!("{seen} pages"))]
    } else {
        failed
    }
}

fn failed(page: &Page<'_>) -> Option<Step> {
    let name = page.route.name();
    let problem = Finding::tell(&name, &page.unwanted, http::command(page.route, &page.url, page.address))?;
    Some(Step::new(TOOL, format!("content.{name}"), 0).target(page.url.as_str()).fail(problem))
}
