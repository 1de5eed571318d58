//! The forms of the app: that what they lead to is there and takes their method, that they are guarded,
//! and that what they require has a name. Nothing is sent here; `sending` sends those that the file
//! names.

mod sending;

use std::collections::BTreeMap;

use common::report::{Step, quoted};
use serde_json::{Value, json};

use super::capped::capped;
use super::sight::Sight;
use super::{LIMIT, TOOL, skipped};
use crate::crawl::address::{Target, is_deed};
use crate::crawl::{Crawl, FormKey, FormPlace};
use crate::discovery::Rule;
use crate::finding::Finding;
use crate::http::{Reply, Request};

/// Different actions that are asked for.
const ASKED: usize = 500;

/// The steps of this stage, and its facts for the report.
pub(super) fn steps(sight: &Sight<'_>) -> (Vec<Step>, Option<Value>) {
    let sent = sending::steps(sight);
    let crawl = match sight.crawl() {
        Ok(crawl) => crawl,
        Err(_) if !sent.is_empty() => return (sent, None),
        Err(reason) => return (vec![skipped("forms", reason)], None),
    };
    let mut inspection = Inspection::of(sight, crawl);
    let forms = crawl.forms.iter().filter(|(key, _)| !is_skipped(sight, key));
    let mut steps: Vec<Step> = forms.filter_map(|(key, place)| inspection.inspect(key, place)).collect();
    let findings = steps.len();
    if steps.is_empty() {
        steps.push(Step::new(TOOL, "forms", 0).target(format!("{} forms", crawl.forms.len())));
    }
    let hint = format!("verify {} --only forms", sight.subject.place.environment());
    let mut steps = capped("forms", steps, hint);
    steps.extend(sent);
    let facts = json!({"forms": crawl.forms.len(), "findings": findings, "untold": inspection.untold});
    (steps, Some(facts))
}

/// Method and path of every form that leads into the app.
pub(super) fn actions(crawl: &Crawl) -> impl Iterator<Item = (&str, &str)> {
    crawl.forms.keys().filter_map(|key| match &key.target {
        Target::Own { path, .. } => Some((key.form.method.as_str(), path.as_str())),
        _ => None,
    })
}

/// Where the forms lead that something is wrong with.
pub(crate) fn flawed(sight: &Sight<'_>, crawl: &Crawl) -> Vec<String> {
    let mut inspection = Inspection::of(sight, crawl);
    let forms = crawl.forms.iter().filter(|(key, _)| !is_skipped(sight, key));
    let flawed = forms.filter(|(key, place)| inspection.inspect(key, place).is_some());
    flawed.filter_map(|(key, _)| destination(key)).map(str::to_owned).collect()
}

fn is_skipped(sight: &Sight<'_>, key: &FormKey) -> bool {
    destination(key).is_some_and(|action| sight.subject.checks.forms.skips(action))
}

fn destination(key: &FormKey) -> Option<&str> {
    match &key.target {
        Target::Own { path: action, .. }
        | Target::Local(action)
        | Target::External(action)
        | Target::Broken(action) => Some(action),
        Target::Other => None,
    }
}

struct Inspection<'a, 's> {
    sight: &'a Sight<'s>,
    crawl: &'a Crawl,
    /// What is known of each action, by method and path.
    allowed: BTreeMap<(String, String), Option<Finding>>,
    /// Actions of which nothing could be learned without sending the form.
    untold: usize,
    /// Whether the server answers OPTIONS by what an address takes; known once it was asked.
    tells: Option<bool>,
}

impl<'a, 's> Inspection<'a, 's> {
    fn of(sight: &'a Sight<'s>, crawl: &'a Crawl) -> Self {
        Self { sight, crawl, allowed: BTreeMap::new(), untold: 0, tells: None }
    }

    fn inspect(&mut self, key: &FormKey, place: &FormPlace) -> Option<Step> {
        let page = &self.crawl.nodes[place.page].path;
        let mut findings: Vec<Finding> = self.action(key).into_iter().collect();
        findings.extend(self.guard(key));
        findings.extend(key.form.nameless.iter().map(|input| {
            Finding::new("form-field-nameless", format!("requires the input '{input}', which has no name"))
        }));
        if let Some(first) = findings.first_mut() {
            *first = first.clone().line("on", page).line("pages", place.count.to_string());
        }
        let name = name(key, page);
        let problem = Finding::tell(&format!("form {name}"), &findings, self.hint(key, page))?;
        let step = Step::new(TOOL, format!("forms.{name}"), 0);
        Some(step.target(self.sight.asker.url(page).as_str()).fail(problem))
    }

    /// The command that shows the finding: what the action allows, or the page itself.
    fn hint(&self, key: &FormKey, page: &str) -> String {
        match &key.target {
            Target::Own { path, .. } if key.form.method == "POST" => {
                format!("{} -X OPTIONS", self.sight.subject.address.curl_hint(path))
            }
            _ => format!("{} | grep -n -A9 {}", self.sight.subject.address.curl_hint(page), quoted("<form")),
        }
    }

    fn guard(&self, key: &FormKey) -> Option<Finding> {
        let name = self.sight.subject.checks.forms.csrf.as_ref()?;
        let guarded = key.form.method != "POST" || key.form.hidden.contains(name);
        (!guarded && !matches!(key.target, Target::External(_)))
            .then(|| Finding::new("form-unguarded", format!("has no hidden field '{name}' with a value")))
    }

    fn action(&mut self, key: &FormKey) -> Option<Finding> {
        let method = key.form.method.as_str();
        let path = match &key.target {
            Target::Own { path, .. } => path,
            Target::Local(url) => {
                let phrase = format!("is sent to {url}, where only this host, or another environment, is");
                return Some(Finding::new("link-local", phrase));
            }
            Target::Broken(text) => {
                return Some(Finding::new("form-dead", format!("is sent to '{text}', which is no address")));
            }
            Target::External(_) | Target::Other => return None,
        };
        if !matches!(method, "GET" | "POST" | "DIALOG") {
            let phrase = format!("has the method {method}, which browsers send as GET");
            return Some(Finding::new("form-method", phrase));
        }
        let known = (method.to_owned(), path.clone());
        if let Some(finding) = self.allowed.get(&known) {
            return finding.clone();
        }
        let finding = match method {
            _ if self.allowed.len() >= ASKED => self.leave(),
            "POST" => self.posts(path),
            "GET" => self.gets(path),
            _ => None,
        };
        self.allowed.insert(known, finding.clone());
        finding
    }

    fn leave(&mut self) -> Option<Finding> {
        self.untold += 1;
        None
    }

    /// Without any field a search may well answer 400; that it is not there is another matter.
    fn gets(&mut self, path: &str) -> Option<Finding> {
        if is_deed(path) || self.sight.subject.checks.links.as_ref().is_some_and(|links| links.skips(path)) {
            return self.leave();
        }
        let known = self.crawl.node(path).and_then(|node| node.answer()).map(|answer| answer.status);
        let status = match known.filter(|status| *status > 0) {
            Some(status) => status,
            None => match self.ask("GET", path) {
                Ok(reply) => reply.status,
                Err(finding) => return Some(finding),
            },
        };
        matches!(status, 404 | 405 | 410 | 500..).then(|| dead("GET", path, status))
    }

    /// What the listed rules say of the action, or else the answer to OPTIONS.
    fn posts(&mut self, path: &str) -> Option<Finding> {
        let rules = self.sight.survey().rules.iter();
        let fitting: Vec<&Rule> = rules.filter(|rule| rule.means(path) && !rule.methods.is_empty()).collect();
        if !fitting.is_empty() {
            let taken = fitting.iter().any(|rule| rule.answers("POST"));
            let methods: Vec<&str> =
                fitting.iter().flat_map(|rule| rule.methods.iter().map(String::as_str)).collect();
            return (!taken).then(|| not_taken(path, &methods.join(", ")));
        }
        let reply = match self.ask("OPTIONS", path) {
            Ok(reply) => reply,
            Err(finding) => return Some(finding),
        };
        match (reply.status, reply.header("allow")) {
            (404 | 410, _) if self.tells() => Some(dead("OPTIONS", path, reply.status)),
            (200..300 | 405, Some(allow)) => {
                let taken = allow.split(',').any(|method| method.trim().eq_ignore_ascii_case("POST"));
                (!taken).then(|| not_taken(path, &allow))
            }
            _ => self.leave(),
        }
    }

    /// A server that says nothing of a page that is there has no OPTIONS, and its 404 means nothing.
    fn tells(&mut self) -> bool {
        if self.tells.is_none() {
            let page = self.crawl.nodes.first().map_or("/", |node| node.path.as_str());
            let reply = self.ask("OPTIONS", page);
            self.tells = Some(reply.is_ok_and(|reply| reply.header("allow").is_some()));
        }
        self.tells == Some(true)
    }

    fn ask(&self, method: &str, path: &str) -> Result<Reply, Finding> {
        let limit = self.sight.subject.remaining(LIMIT);
        if limit.is_zero() {
            return Err(Finding::unasked("was not asked"));
        }
        let cookies = self.sight.cookies();
        self.sight.asker.ask(&Request { method, cookies, leads_only: true, ..Request::get(path, limit) })
    }
}

fn dead(method: &str, path: &str, status: u16) -> Finding {
    Finding::new("form-dead", format!("is sent to {path}, which is not there"))
        .line("actual", format!("{method} {path} answered {status}"))
}

fn not_taken(path: &str, methods: &str) -> Finding {
    Finding::new("form-method", format!("is sent with POST to {path}, which does not take that"))
        .line("expected", "POST")
        .line("actual", methods)
}

/// What it does, or where it is: stable from one release to the next.
fn name(key: &FormKey, page: &str) -> String {
    let target = destination(key).unwrap_or(page);
    let label = key.form.label.as_deref().map(|label| format!(" {label}")).unwrap_or_default();
    format!("{} {target}{label}", key.form.method)
}
