//! The links of the app: each finding of the crawl as a step, and what was not asked.
//!
//! `judgement` says what is wrong with an address, `external` asks those of other hosts.

mod external;
mod judgement;

use std::collections::BTreeMap;

use common::report::Step;
use serde_json::{Value, json};

use super::capped::capped;
use super::sight::Sight;
use super::{TOOL, skipped};
use crate::checks::External;
use crate::crawl::address::Target;
use crate::crawl::sheet::Kind;
use crate::crawl::{Crawl, Ending, Reason};
use crate::finding::Finding;
use judgement::Flaw;

/// So many addresses that were not asked are named.
const NAMED: usize = 20;

/// The steps of this stage, and its facts for the report.
pub(super) fn steps(sight: &Sight<'_>) -> (Vec<Step>, Option<Value>) {
    let crawl = match sight.crawl() {
        Ok(crawl) => crawl,
        Err(reason) => return (vec![skipped("links", reason)], None),
    };
    let flaws = judgement::flaws(sight, crawl);
    let hint = format!("verify {} --only links", sight.subject.place.environment());
    let mut steps = capped("links", flaws.iter().map(|flaw| step(sight, flaw)).collect(), hint);
    if steps.is_empty() {
        steps.push(Step::new(TOOL, "links", 0).target(extent(crawl)));
    }
    steps.extend(passed_over(crawl));
    let externals: Vec<&str> = externals(crawl).collect();
    let external = sight.subject.checks.links.as_ref().map_or(External::Ignored, |links| links.external);
    steps.extend(external::steps(sight, crawl, external));
    let facts = facts(crawl, flaws.len(), externals.len());
    (steps, Some(facts))
}

/// Paths with their positions, and addresses elsewhere, that something is wrong with.
pub(crate) fn flawed(sight: &Sight<'_>, crawl: &Crawl) -> Vec<String> {
    judgement::flaws(sight, crawl).into_iter().map(|flaw| flaw.name).collect()
}

fn step(sight: &Sight<'_>, flaw: &Flaw) -> Step {
    let step = Step::new(TOOL, format!("links.{}", flaw.name), flaw.duration_ms);
    let step = step.target(sight.asker.url(&flaw.path).as_str());
    let hint = sight.subject.address.curl_hint(&flaw.path);
    match Finding::tell(&format!("link {}", flaw.name), std::slice::from_ref(&flaw.finding), hint) {
        Some(problem) => step.fail(problem),
        None => step,
    }
}

fn extent(crawl: &Crawl) -> String {
    let links: usize = crawl.nodes.iter().map(|node| node.references).sum();
    format!("{} addresses, {links} links", crawl.answered().count())
}

/// What a reader should know of what was not asked: deeds, and what was beyond the limits.
fn passed_over(crawl: &Crawl) -> Vec<Step> {
    let named = |reason| {
        let nodes = crawl.nodes.iter();
        let paths: Vec<&str> =
            nodes.filter(|node| is_passed(&node.ending, reason)).map(|node| node.path.as_str()).collect();
        let shown = paths[..paths.len().min(NAMED)].join(", ");
        (paths.len(), shown)
    };
    let mut steps = Vec::new();
    for (name, reason, why) in [
        ("links.deeds", Reason::Deed, "not asked, since a GET may log out or delete"),
        (
            "links.variants",
            Reason::Variants,
            "not asked, since their paths were asked with 100 other queries",
        ),
        ("links.limit", Reason::Limit, "not asked, since [links] allows no more pages or no more time"),
    ] {
        let (count, shown) = named(reason);
        if count > 0 {
            steps.push(skipped(name, &format!("{count} {why}: {shown}")));
        }
    }
    steps
}

fn is_passed(ending: &Ending, reason: Reason) -> bool {
    matches!(ending, Ending::Passed(why) if *why == reason)
}

fn externals(crawl: &Crawl) -> impl Iterator<Item = &str> {
    crawl.strays.keys().filter_map(|target| match target {
        Target::External(url) => Some(url.as_str()),
        _ => None,
    })
}

fn facts(crawl: &Crawl, findings: usize, external: usize) -> Value {
    let mut passed = BTreeMap::<Reason, usize>::new();
    for node in &crawl.nodes {
        if let Ending::Passed(reason) = node.ending {
            *passed.entry(reason).or_default() += 1;
        }
    }
    let passed = |reason| passed.get(&reason).copied().unwrap_or_default();
    let count = |kind| crawl.answered().filter(|(node, _)| node.kind == kind).count();
    let guarded = crawl.answered().filter(|(_, answer)| answer.is_guarded()).count();
    json!({
        "pages": count(Kind::Page),
        "assets": count(Kind::Asset),
        "links": crawl.nodes.iter().map(|node| node.references).sum::<usize>(),
        "redirects": crawl.answered().filter(|(_, answer)| answer.is_redirect()).count(),
        "guarded": guarded,
        "external": external,
        "findings": findings,
        "not_asked": {
            "skip": passed(Reason::Skipped),
            "deeds": passed(Reason::Deed),
            "depth": passed(Reason::Depth),
            "variants": passed(Reason::Variants),
            "limit": passed(Reason::Limit),
        },
    })
}
