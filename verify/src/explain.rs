//! One check run again, with everything that was asked, answered and expected: `--explain ID`.
//! Values of secrets and cookies are never shown, only their names.

use common::report::{Problem, Status, Step, quoted};
use reqwest::Url;
use reqwest::header::SET_COOKIE;
use serde::Serialize;

use crate::checks::{Checks, Pattern, Route};
use crate::http::{Jar, Reply};
use crate::stages::Stage;
use crate::subject::Subject;

/// One request and its answer, a line each.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Exchange {
    request: Vec<String>,
    /// Without the body.
    response: Vec<String>,
    excerpt: String,
}

/// A check as `--explain` shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Explanation {
    pub(crate) id: String,
    pub(crate) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    exchange: Option<Exchange>,
    expected: Vec<String>,
    found: Vec<String>,
}

/// Leaves of the checks only what the check `id` needs, and gives its stage.
///
/// # Errors
/// `usage`: no check has that id.
pub(crate) fn focus(checks: &mut Checks, id: &str, environment: &str) -> Result<Stage, Problem> {
    let (stage, name) = id.split_once('.').unwrap_or((id, ""));
    let unknown = || {
        Problem::usage(format!("no check has the id '{id}'"))
            .hint(format!("verify {} --json | jq -r '.steps[].name'", quoted(environment)))
    };
    let stage = Stage::ALL.into_iter().find(|known| known.name() == stage).ok_or_else(unknown)?;
    match stage {
        Stage::Routes | Stage::Content if !name.is_empty() => {
            let named = checks.routes.iter().find(|route| route.name() == name);
            // One that was found by itself is found only beside the others.
            let Some(named) = named else {
                let finds = checks.discover.is_some() || checks.links.is_some();
                return if finds { Ok(stage) } else { Err(unknown()) };
            };
            let (session, needs) = (named.session().map(str::to_owned), !named.terms().needs.is_empty());
            let helps = |route: &Route| {
                (route.is_login() && route.session() == session.as_deref())
                    || (needs && !route.terms().captures.is_empty())
            };
            checks.routes.retain(|route| route.name() == name || helps(route));
        }
        Stage::Browser if !name.is_empty() => {
            let pages = checks.browser.as_mut().map(|rules| &mut rules.pages).ok_or_else(unknown)?;
            pages.retain(|page| name.strip_prefix("GET ") == Some(page));
            if pages.is_empty() {
                return Err(unknown());
            }
        }
        _ => {}
    }
    Ok(stage)
}

impl Exchange {
    /// What was sent for `route`, with these cookies, and what came.
    pub(crate) fn of(route: &Route, url: &Url, jar: &Jar, reply: &Reply) -> Self {
        let mut request = vec![
            format!("{} {} HTTP/1.1", route.method, route.path),
            format!("host: {}", url.authority()),
            "user-agent: verify".to_owned(),
        ];
        let names: Vec<String> = jar.pairs().map(|(name, _)| format!("{name}=…")).collect();
        if !names.is_empty() {
            request.push(format!("cookie: {}", names.join("; ")));
        }
        let form = &route.terms().form;
        if !form.is_empty() {
            let fields = form.iter().map(|field| format!("{}={}", field.name, field.written));
            request.push(format!("form: {}", fields.collect::<Vec<_>>().join("&")));
        }
        let mut response = vec![format!("HTTP/1.1 {}", reply.status)];
        for (name, value) in &reply.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let shown = if name == SET_COOKIE { without_value(&value) } else { value.into_owned() };
            response.push(format!("{name}: {shown}"));
        }
        Self { request, response, excerpt: reply.excerpt() }
    }
}

/// `session=…; HttpOnly`.
fn without_value(cookie: &str) -> String {
    let (pair, rest) =
        cookie.split_once(';').map_or((cookie, String::new()), |(pair, rest)| (pair, format!(";{rest}")));
    format!("{}=…{rest}", pair.split('=').next().unwrap_or_default())
}

impl Explanation {
    /// Of the step with that id, or of its whole stage where the stage found nothing.
    pub(crate) fn of(step: &Step, subject: &Subject, stage: Stage, exchange: Option<Exchange>) -> Self {
        let found = match &step.problem {
            Some(problem) => {
                let details = problem.detail.iter().flat_map(|detail| detail.lines().map(str::to_owned));
                [problem.title.clone()].into_iter().chain(details).collect()
            }
            None => vec!["everything is as expected".to_owned()],
        };
        let (id, status, target) = (step.name.clone(), step.status, step.target.clone());
        Self { id, status, target, exchange, expected: expected(&step.name, subject, stage), found }
    }

    /// The same for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.id.clone()];
        let mut part = |title: &str, texts: &[String], mark: &str| {
            lines.push(format!("{title}:"));
            lines.extend(texts.iter().map(|text| format!("  {mark} {text}")));
        };
        if let Some(exchange) = &self.exchange {
            part("request", &exchange.request, ">");
            part("response", &exchange.response, "<");
            part("excerpt", std::slice::from_ref(&exchange.excerpt), "<");
        }
        part("expected", &self.expected, "-");
        part("found", &self.found, "-");
        lines
    }
}

fn expected(id: &str, subject: &Subject, stage: Stage) -> Vec<String> {
    let checks = &subject.checks;
    let name = id.split_once('.').map_or("", |(_, name)| name);
    match stage {
        Stage::Service => vec!["the instance and the gateway run, and answer below 500".into()],
        Stage::Identity => {
            vec![format!("the processes behind the port are those of release {}", subject.instance.release)]
        }
        Stage::Database => {
            let query = checks.queries.iter().find(|(query, _)| name == format!("query {query}"));
            vec![
                query.map_or_else(
                    || format!("{name} holds"),
                    |(_, sql)| format!("a true first value of: {sql}"),
                ),
            ]
        }
        Stage::Routes => {
            let route = checks.routes.iter().find(|route| route.name() == name);
            route.map(|route| of_route(route, checks)).unwrap_or_default()
        }
        Stage::Files => vec!["the files of the release are as [files] says".into()],
        Stage::Links => vec!["every link inside the app leads somewhere".into()],
        Stage::Forms => vec!["every form leads to something that takes it".into()],
        Stage::Commands => vec!["the program exits and prints as [[command]] says".into()],
        Stage::Errors => vec!["no error in the log that no other release had".into()],
        Stage::Content => checks.absent.iter().map(|text| format!("no '{text}'")).collect(),
        Stage::Browser => of_browser(checks),
        Stage::Regressions => {
            subject.earlier.iter().map(|before| format!("as {} answered", before.revision)).collect()
        }
    }
}

fn of_route(route: &Route, checks: &Checks) -> Vec<String> {
    let terms = route.terms();
    let mut lines = vec![match (route.status, &terms.to) {
        (Some(status), _) => format!("status {status}"),
        (None, Some(_)) => "a redirect".to_owned(),
        (None, None) => "status 200".to_owned(),
    }];
    lines.extend(terms.to.iter().map(|to| format!("a redirect to {to}")));
    lines.extend(terms.header.iter().map(|(name, part)| format!("a header {name} with '{part}'")));
    lines.extend(route.text.iter().map(|text| format!("the text '{text}'")));
    lines.extend(terms.absent.iter().chain(&checks.absent).map(|text| format!("no '{text}'")));
    lines.extend(terms.patterns.iter().map(|pattern| match pattern {
        Pattern::Regex(regex) => format!("a match of {}", regex.as_str()),
        Pattern::Css(selector) => format!("an element {selector}"),
        Pattern::CssWanted(selector, wanted) => format!("{wanted} of {selector}"),
        Pattern::Json(lookup, wanted) => format!("{wanted} at {}", lookup.written()),
    }));
    let budget = terms.time.or(checks.time);
    lines.extend(budget.map(|time| format!("an answer within {} ms", time.as_millis())));
    lines
}

fn of_browser(checks: &Checks) -> Vec<String> {
    let Some(rules) = &checks.browser else { return Vec::new() };
    let mut lines = vec!["no error of a script, and everything that the page needs".to_owned()];
    if rules.console {
        lines.push("no error on the console".into());
    }
    lines.extend(rules.visual.map(|limit| format!("at most {limit} % of the pixels otherwise than before")));
    lines
}
