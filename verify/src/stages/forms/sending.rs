//! The forms that the file names, sent as a browser does: the page first, its hidden inputs and what
//! is filled in already kept, then to where the form says, with its method.

use std::time::Instant;

use common::report::Step;

use super::super::sight::Sight;
use super::super::{LIMIT, TOOL, expectation, milliseconds};
use crate::checks::{Route, SentForm, may_write};
use crate::crawl::address::Target;
use crate::finding::Finding;
use crate::http::{self, Filled, Jar, Reply, Request, encode, fill_form};

/// What became of one form.
enum Sent {
    /// Where it went, and what came back.
    Answered(Box<(Route, Reply)>),
    NotSent(String),
}

pub(super) fn steps(sight: &Sight<'_>) -> Vec<Step> {
    sight.subject.checks.forms.sent.iter().map(|form| step(sight, form)).collect()
}

fn step(sight: &Sight<'_>, form: &SentForm) -> Step {
    let begun = Instant::now();
    let sent = send(sight, form);
    let page = sight.asker.url(&form.page);
    let step = Step::new(TOOL, format!("forms.{}", form.name), milliseconds(begun.elapsed()));
    let step = step.target(page.as_str());
    let (route, findings) = match sent {
        Ok(Sent::NotSent(reason)) => return step.skip(reason),
        Ok(Sent::Answered(answered)) => {
            let (route, reply) = *answered;
            let url = sight.asker.url(&route.path);
            let mut findings = expectation::compare(&route, &reply, &url);
            findings.extend(reply.unwanted(&sight.subject.checks.absent));
            findings.extend(expectation::too_slow(
                route.terms().time.or(sight.subject.checks.time),
                reply.elapsed,
            ));
            (route, findings)
        }
        Err(finding) => (Route::get(&form.page), vec![finding]),
    };
    let hint = http::command(&route, &sight.asker.url(&route.path), &sight.subject.address);
    match Finding::tell(&format!("form {}", form.name), &findings, hint) {
        Some(problem) => step.fail(problem),
        None => step,
    }
}

fn send(sight: &Sight<'_>, form: &SentForm) -> Result<Sent, Finding> {
    let mut jar = match form.route.session().map(|session| sight.visit().jar(session)) {
        None => Jar::default(),
        Some(Ok(jar)) => jar,
        Some(Err(reason)) => return Ok(Sent::NotSent(reason)),
    };
    let limit = sight.subject.remaining(LIMIT);
    if limit.is_zero() {
        return Err(Finding::unasked("was not sent"));
    }
    let page = sight.asker.ask(&Request { cookies: jar.header(), ..Request::get(&form.page, limit) })?;
    jar.absorb(&page.headers);
    let filled = fill(form, &page)?;
    if may_write(&filled.method) && !form.route.terms().writes {
        let reason = format!("{} may write; the form is sent where it says writes = true", filled.method);
        return Ok(Sent::NotSent(reason));
    }
    let fields = encode(filled.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut route = form.route.clone();
    route.path = action(sight, form, &filled)?;
    route.method = filled.method.into();
    let body = if route.method == "GET" {
        route.path = format!("{}?{fields}", route.path.split('?').next().unwrap_or_default());
        route.terms_mut().form.clear();
        None
    } else {
        Some(fields)
    };
    let request = Request {
        method: &route.method,
        cookies: jar.header(),
        form: body,
        ..Request::get(&route.path, limit)
    };
    let reply = sight.asker.ask(&request)?;
    Ok(Sent::Answered(Box::new((route, reply))))
}

fn fill(form: &SentForm, page: &Reply) -> Result<Filled, Finding> {
    if page.status != 200 {
        let phrase = format!("is not there: its page answers {}", page.status);
        return Err(Finding::new("form-missing", phrase).line("excerpt", page.excerpt()));
    }
    let own: Vec<(&str, &str)> =
        form.route.terms().form.iter().map(|field| (field.name.as_str(), field.value.as_str())).collect();
    let filled = fill_form(&page.text, form.label.as_deref(), &own).map_err(|there| {
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        Finding::new("form-missing", "is not on its page").line("forms", there)
    })?;
    if filled.lacking.is_empty() {
        return Ok(filled);
    }
    Err(Finding::new("form-field-missing", format!("is without the field {}", filled.lacking.join(", "))))
}

/// Only a form that stays inside the app is sent: its fields may hold a password.
fn action(sight: &Sight<'_>, form: &SentForm, filled: &Filled) -> Result<String, Finding> {
    let page = sight.atlas.page(&form.page, filled.base.as_deref().filter(|_| !filled.action.is_empty()));
    if let Target::Own { path, .. } = sight.atlas.locate(&page, &filled.action) {
        return Ok(path);
    }
    let phrase = format!("is not sent: it leads out of the app, to {}", filled.action);
    Err(Finding::new("form-dead", phrase))
}
