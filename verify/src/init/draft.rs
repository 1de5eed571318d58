//! The file in the making: what was seen, and what of it is excused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::checks::{Discover, ROUTE_OPTIONS, UNWANTED};
use crate::crawl::{Answer, Crawl, Node};
use crate::discovery::{Rule, Survey};
use crate::subject::Subject;

/// Values of a placeholder that are taken over.
const ROWS: usize = 3;
/// Pages of an app that lists no routes.
const PAGES: usize = 50;

/// A first verify.toml.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Draft {
    time: Duration,
    pub(super) absent: BTreeSet<String>,
    pub(super) routes: Vec<DraftRoute>,
    /// The way that lists the rules, as a line.
    discover: Option<String>,
    pub(super) excuse: BTreeSet<String>,
    pub(super) skip: BTreeSet<String>,
    pub(super) skip_forms: BTreeSet<String>,
}

/// One route, with what it answers today.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct DraftRoute {
    /// With placeholders as `<name>`.
    pub(super) path: String,
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<String>,
    #[serde(rename = "redirects_to", skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<String>,
    /// Whether the title is written in the page as it is shown.
    #[serde(skip)]
    is_literal: bool,
    /// The rule that it gives values to.
    #[serde(skip)]
    rule: Option<String>,
    #[serde(skip)]
    rows: BTreeMap<String, Vec<String>>,
    /// The paths that the rows make.
    #[serde(skip)]
    examples: Vec<String>,
}

impl Draft {
    pub(super) fn of(subject: &Subject, survey: &Survey, crawl: &Crawl) -> Self {
        let seen: Vec<(&Node, &Answer)> =
            crawl.answered().filter(|(_, answer)| answer.fault.is_none() && answer.status < 400).collect();
        let slowest = seen.iter().map(|(_, answer)| answer.duration_ms).max().unwrap_or_default();
        let mut draft = Self {
            time: Duration::from_secs((slowest * 3).div_ceil(1000).max(1)),
            absent: UNWANTED.iter().map(|text| (*text).to_owned()).collect(),
            discover: subject.checks.discover.as_ref().and_then(line),
            ..Self::default()
        };
        let plain = plain_paths(subject, survey, &seen);
        let shown =
            |text: &str| subject.secrets.pairs().all(|(_, value)| value.len() < 4 || !text.contains(value));
        draft.routes.extend(plain.into_iter().filter_map(|path| {
            let answer = crawl.node(&path)?.answer()?;
            let to = answer.location.clone().filter(|_| answer.is_redirect());
            let usable = answer.fault.is_none() && answer.status < 400 && to.as_deref().is_none_or(shown);
            let title = answer.title.clone().filter(|title| !title.is_empty() && shown(title));
            let status = answer.status;
            usable.then(|| DraftRoute { path, status, title, to, is_literal: true, ..DraftRoute::default() })
        }));
        let rules = survey.rules.iter().filter(|rule| rule.answers("GET") && !rule.is_plain());
        draft.routes.extend(rules.filter_map(|rule| with_rows(rule, &seen)));
        draft
    }

    /// Asks less of the routes that failed, or leaves them out.
    pub(super) fn give_up(&mut self, failed: &BTreeSet<String>) {
        let is_bad = |route: &DraftRoute| route.paths().any(|path| failed.contains(path));
        let (bad, good): (Vec<_>, Vec<_>) = self.routes.drain(..).partition(is_bad);
        let titled = |route: &DraftRoute| route.is_literal && route.title.is_some();
        let (lenient, left_out): (Vec<_>, Vec<_>) = bad.into_iter().partition(titled);
        let kept: BTreeSet<&String> = lenient.iter().flat_map(DraftRoute::paths).collect();
        self.excuse.extend(failed.iter().filter(|path| !kept.contains(path)).cloned());
        self.excuse.extend(left_out.into_iter().filter_map(|route| route.rule));
        self.routes = good;
        self.routes.extend(lenient.into_iter().map(|route| DraftRoute { is_literal: false, ..route }));
    }

    /// The whole file.
    pub(super) fn text(&self) -> String {
        let list =
            |texts: &BTreeSet<String>| texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", ");
        let mut text = format!(
            "# What must hold of a release, from what served when `verify init` wrote this.\n\
             [defaults]\ntime = \"{}s\"\nabsent = [{}]\n\n[routes]\n",
            self.time.as_secs(),
            list(&self.absent)
        );
        for route in &self.routes {
            text = format!("{text}{}\n", route.line());
        }
        if let Some(line) = &self.discover {
            text = format!("{text}\n[discover]\n{line}\n");
            if !self.excuse.is_empty() {
                text = format!("{text}# nobody checks these yet\nexcuse = [{}]\n", list(&self.excuse));
            }
        }
        text.push_str("\n[links]\n");
        if !self.skip.is_empty() {
            text =
                format!("{text}# wrong today: mend them and take them out\nskip = [{}]\n", list(&self.skip));
        }
        if !self.skip_forms.is_empty() {
            text = format!("{text}\n[forms]\n# wrong today\nskip = [{}]\n", list(&self.skip_forms));
        }
        text
    }
}

impl DraftRoute {
    /// The paths that are asked.
    pub(super) fn paths(&self) -> impl Iterator<Item = &String> {
        let plain = self.rows.is_empty().then_some(&self.path);
        plain.into_iter().chain(&self.examples)
    }

    /// For people.
    pub(super) fn told(&self) -> String {
        let rest = self.to.as_ref().map(|to| format!("-> {to}")).or(self.title.clone()).unwrap_or_default();
        format!("{} {} {rest}", self.status, self.path).trim_end().to_owned()
    }

    fn line(&self) -> String {
        if !self.rows.is_empty() {
            let rows = self.rows.iter().map(|(name, values)| {
                let values: Vec<String> = values.iter().map(|value| quote(value)).collect();
                format!("{name} = [{}]", values.join(", "))
            });
            return format!("{} = {{ {} }}", quote(&self.path), rows.collect::<Vec<_>>().join(", "));
        }
        let expected = match (&self.to, &self.title) {
            (Some(to), _) => format!("{} {to}", self.status),
            (None, Some(title)) if self.is_literal => format!("{} {title}", self.status),
            (None, _) => self.status.to_string(),
        };
        format!("{} = {}", quote(&self.path), quote(&expected))
    }
}

/// The start and the health path, then what the app lists, or else what was linked.
fn plain_paths(subject: &Subject, survey: &Survey, seen: &[(&Node, &Answer)]) -> Vec<String> {
    let mut paths = vec!["/".to_owned(), subject.health.clone()];
    if survey.rules.is_empty() {
        let pages = seen.iter().filter(|(node, answer)| answer.places.is_some() && !node.path.contains('?'));
        paths.extend(pages.take(PAGES).map(|(node, _)| node.path.clone()));
    } else {
        paths.extend(survey.routes.iter().map(|route| route.path.clone()));
    }
    let mut known = BTreeSet::new();
    paths.retain(|path| known.insert(path.clone()));
    paths
}

/// A rule with values from the links that lead to it.
fn with_rows(rule: &Rule, seen: &[(&Node, &Answer)]) -> Option<DraftRoute> {
    let pages = seen.iter().filter(|(node, answer)| answer.status == 200 && !node.path.contains('?'));
    let found: Vec<(String, Vec<(String, String)>)> = pages
        .filter_map(|(node, _)| Some((node.path.clone(), rule.values(&node.path)?)))
        .take(ROWS)
        .collect();
    let mut route = DraftRoute {
        path: rule.text.clone(),
        status: 200,
        rule: Some(rule.text.clone()),
        ..DraftRoute::default()
    };
    for (path, values) in found {
        for (name, value) in values {
            let taken = ROUTE_OPTIONS.contains(&name.as_str());
            let free = if taken { format!("{name}_value") } else { name.clone() };
            route.path = route.path.replace(&format!("{name}>"), &format!("{free}>"));
            route.rows.entry(free).or_default().push(value);
        }
        route.examples.push(path);
    }
    (!route.rows.is_empty()).then_some(route)
}

fn line(discover: &Discover) -> Option<String> {
    let keys =
        [("command", &discover.command), ("openapi", &discover.openapi), ("sitemap", &discover.sitemap)];
    let lines: Vec<String> = keys
        .iter()
        .filter_map(|(key, value)| Some(format!("{key} = {}", quote(value.as_deref()?))))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}
