//! Texts that no page may show, on every page that was seen.

use std::collections::BTreeSet;

use common::report::Step;

use super::pages::Page;
use super::sight::Sight;
use super::{TOOL, skipped};
use crate::crawl::{Answer, Crawl, Node};
use crate::finding::Finding;
use crate::http;

pub(super) fn steps(sight: &Sight<'_>) -> Vec<Step> {
    if sight.subject.checks.absent.is_empty() {
        return vec![skipped("content", "verify.toml names no absent texts in [defaults]")];
    }
    let pages = &sight.visit().pages;
    let crawled: Vec<(&Node, &Answer)> = sight.crawl().into_iter().flat_map(Crawl::answered).collect();
    // A page with a sighting is one of the crawl's.
    let asked = pages.iter().filter(|page| page.seen && page.sighting().is_none());
    let seen = asked.count() + crawled.iter().filter(|(_, answer)| answer.places.is_some()).count();
    if seen == 0 {
        return vec![skipped("content", "no page was seen")];
    }
    let mut failed: Vec<Step> = pages.iter().filter_map(|page| failed(sight, page)).collect();
    failed.extend(crawled.into_iter().filter_map(|(node, answer)| failed_in_crawl(sight, node, answer)));
    if failed.is_empty() {
        vec![Step::new(TOOL, "content", 0).target(format!("{seen} pages"))]
    } else {
        failed
    }
}

/// The texts of `absent` that some page shows.
pub(crate) fn shown(sight: &Sight<'_>) -> BTreeSet<String> {
    let pages = sight.visit().pages.iter().flat_map(Page::unwanted);
    let crawled =
        sight.crawl().into_iter().flat_map(Crawl::answered).flat_map(|(_, answer)| &answer.unwanted);
    let phrases: Vec<&str> = pages.chain(crawled).map(|finding| finding.phrase.as_str()).collect();
    let absent = sight.subject.checks.absent.iter();
    absent.filter(|text| phrases.iter().any(|phrase| phrase.contains(text.as_str()))).cloned().collect()
}

fn failed(sight: &Sight<'_>, page: &Page<'_>) -> Option<Step> {
    if page.unwanted().is_empty() {
        return None;
    }
    let (name, url) = (page.route.name(), sight.asker.url(&page.asked().path));
    let hint = http::command(page.asked(), &url, &sight.subject.address);
    let problem = Finding::tell(&name, page.unwanted(), hint)?;
    Some(Step::new(TOOL, format!("content.{name}"), 0).target(url.as_str()).fail(problem))
}

fn failed_in_crawl(sight: &Sight<'_>, node: &Node, answer: &Answer) -> Option<Step> {
    let name = format!("GET {}", node.path);
    let problem = Finding::tell(&name, &answer.unwanted, sight.subject.address.curl_hint(&node.path))?;
    let step = Step::new(TOOL, format!("content.{name}"), answer.duration_ms);
    Some(step.target(sight.asker.url(&node.path).as_str()).fail(problem))
}
