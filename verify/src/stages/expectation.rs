//! What a check expects, compared with what the server answered.

use std::time::Duration;

use reqwest::Url;
use scraper::Selector;

use crate::checks::{Lookup, Pattern, Route, Wanted};
use crate::finding::Finding;
use crate::http::{Document, EXCERPT, Reply, shorten};

/// Everything in which the answer differs from the check.
pub(super) fn compare(route: &Route, reply: &Reply, url: &Url) -> Vec<Finding> {
    if let Some(finding) = status(route, reply) {
        return vec![finding];
    }
    let mut findings = Vec::new();
    findings.extend(redirect(route, reply, url));
    findings.extend(reply.unreadable.clone());
    let terms = route.terms();
    findings.extend(terms.header.iter().filter_map(|(name, part)| header(name, part, reply)));
    findings
        .extend(route.text.iter().filter(|text| reply.find(text).is_none()).map(|text| missing(text, reply)));
    findings.extend(reply.unwanted(&terms.absent));
    findings.extend(terms.patterns.iter().filter_map(|pattern| unmatched(pattern, reply)));
    findings
}

/// Whether the answer took longer than its budget.
pub(super) fn too_slow(budget: Option<Duration>, elapsed: Duration) -> Option<Finding> {
    let budget = budget.filter(|budget| elapsed > *budget)?;
    Some(
        Finding::new("too-slow", format!("took {} ms", elapsed.as_millis()))
            .line("expected", format!("at most {} ms", budget.as_millis())),
    )
}

fn status(route: &Route, reply: &Reply) -> Option<Finding> {
    let redirects = (300..400).contains(&reply.status);
    let is_led = route.terms().to.is_some();
    let expected = match route.status {
        _ if route.discovered && reply.status < 400 => return None,
        Some(status) if status == reply.status => return None,
        None if is_led && redirects => return None,
        None if !is_led && reply.status == 200 => return None,
        Some(status) => status.to_string(),
        None if route.discovered => "an answer below 400".to_owned(),
        None if is_led => "a redirect".to_owned(),
        None => "200".to_owned(),
    };
    let phrase = format!("answered {} instead of {expected}", reply.status);
    let kind = if redirects { "redirect-unexpected" } else { "route-status" };
    let finding =
        Finding::new(kind, phrase).line("expected", expected).line("actual", reply.status.to_string());
    Some(match reply.header("location") {
        Some(location) => finding.line("location", location),
        None => finding.line("excerpt", reply.excerpt()),
    })
}

fn redirect(route: &Route, reply: &Reply, url: &Url) -> Option<Finding> {
    let to = route.terms().to.as_deref()?;
    let Some(location) = reply.header("location") else {
        return Some(Finding::new("redirect-nowhere", "redirects without saying where").line("expected", to));
    };
    if url.join(&location).ok() == url.join(to).ok() {
        return None;
    }
    let wrong = Finding::new("redirect-wrong", format!("redirects to {location} instead of {to}"));
    Some(wrong.line("expected", to).line("actual", location))
}

fn header(name: &str, part: &str, reply: &Reply) -> Option<Finding> {
    match reply.header(name) {
        Some(value) if value.contains(part) => None,
        Some(value) => Some(
            Finding::new("header-wrong", format!("sends another header {name}"))
                .line("expected", part)
                .line("actual", value),
        ),
        None => {
            Some(Finding::new("header-missing", format!("lacks the header {name}")).line("expected", part))
        }
    }
}

fn missing(text: &str, reply: &Reply) -> Finding {
    Finding::new("text-missing", format!("does not show '{text}'"))
        .line("expected", text)
        .line("excerpt", reply.excerpt())
}

fn unmatched(pattern: &Pattern, reply: &Reply) -> Option<Finding> {
    let (kind, what, found) = match pattern {
        Pattern::Regex(regex) => ("regex-missing", regex.as_str(), regex.is_match(&reply.text)),
        Pattern::Css(selector) => ("css-missing", selector.as_str(), !elements(reply, selector).is_empty()),
        Pattern::CssWanted(selector, wanted) => return unlike(selector, wanted, reply),
        Pattern::Json(lookup, wanted) => return other_value(lookup, wanted, reply),
    };
    let finding = || {
        Finding::new(kind, format!("has nothing that matches '{what}'"))
            .line("expected", what)
            .line("excerpt", reply.excerpt())
    };
    (!found).then(finding)
}

/// A number counts the elements, a text must stand in one of them.
fn unlike(selector: &str, wanted: &Wanted, reply: &Reply) -> Option<Finding> {
    let texts = elements(reply, selector);
    if let Some(text) = wanted.text() {
        return (!texts.iter().any(|shown| shown.contains(text))).then(|| {
            Finding::new("css-missing", format!("has no '{selector}' that shows '{text}'"))
                .line("expected", text)
                .line("actual", texts.first().map_or("no such element", String::as_str))
        });
    }
    (!wanted.is_met_by(&texts.len().into())).then(|| {
        Finding::new("css-count", format!("has {} elements '{selector}'", texts.len()))
            .line("expected", wanted.to_string())
            .line("actual", texts.len().to_string())
    })
}

/// What each matching element shows, in one line.
fn elements(reply: &Reply, selector: &str) -> Vec<String> {
    let Ok(selector) = Selector::parse(selector) else { return Vec::new() };
    let document = Document::read(&reply.text).tree;
    let shown = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    document.select(&selector).map(|element| shown(element.text().collect())).collect()
}

fn other_value(lookup: &Lookup, wanted: &Wanted, reply: &Reply) -> Option<Finding> {
    let place = lookup.written();
    let Ok(document) = serde_json::from_str(&reply.text) else {
        return Some(Finding::new("json-missing", "is not JSON").line("excerpt", reply.excerpt()));
    };
    match lookup.find(&document) {
        Some(value) if wanted.is_met_by(&value) => None,
        Some(value) => Some(
            Finding::new("json-wrong", format!("has another value at {place}"))
                .line("expected", wanted.to_string())
                .line("actual", shorten(&value.to_string(), EXCERPT)),
        ),
        None => Some(
            Finding::new("json-missing", format!("has nothing at {place}"))
                .line("expected", wanted.to_string())
                .line("excerpt", reply.excerpt()),
        ),
    }
}
