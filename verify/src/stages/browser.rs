//! Pages in a browser: what their scripts do wrong, what does not load, and how they look beside
//! the release before.

use std::time::Instant;

use common::address::Address;
use common::report::{Problem, Step, quoted};
use reqwest::Url;
use serde::Serialize;

use super::sight::Sight;
use super::{LIMIT, TOOL, milliseconds, skipped};
use crate::browser::{Browser, Trouble, View};
use crate::checks::Browser as Rules;
use crate::finding::Finding;
use crate::http::{Asker, Jar};
use crate::past::Past;
use crate::picture;
use crate::subject::Subject;

/// Of one page.
#[derive(Debug, Serialize)]
pub(crate) struct Look {
    pub(crate) page: String,
    /// From the navigation until it was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load_ms: Option<u64>,
    /// Share of pixels that differ from the release before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) difference_percent: Option<f64>,
    #[serde(skip)]
    pub(crate) screenshot: Option<Vec<u8>>,
    /// The screenshot, with what differs marked.
    #[serde(skip)]
    pub(crate) marked: Option<Vec<u8>>,
}

/// Looks at every page that the release names; what was seen goes to `looks`.
///
/// # Errors
/// `unverified` when not even a request can be made, `interrupted`.
pub(super) fn check(sight: &Sight<'_>, looks: &mut Vec<Look>) -> Result<Vec<Step>, Problem> {
    let subject = sight.subject;
    let Some(rules) = &subject.checks.browser else {
        return Ok(vec![skipped("browser", "verify.toml has no [browser]")]);
    };
    if matches!(subject.address, Address::Unix(_)) {
        return Ok(vec![skipped("browser", "no browser can ask a unix socket")]);
    }
    let jar = match rules.session.as_deref().map(|name| sight.visit().jar(name)).transpose() {
        Ok(jar) => jar.unwrap_or_default(),
        Err(reason) => return Ok(vec![skipped("browser", &reason)]),
    };
    let asker = Asker::new(&subject.address)?;
    let browser = match Browser::start(rules, &asker.url("/"), &jar) {
        Ok(Some(browser)) => browser,
        Ok(None) => return Ok(vec![absent(rules, missing())]),
        Err(problem) => return Ok(vec![absent(rules, problem)]),
    };
    let past = Past::of(&subject.place);
    let mut visits = Visits { subject, rules, asker, jar, browser: Some(browser), past };
    rules.pages.iter().map(|page| visits.visit(page, looks)).collect()
}

fn missing() -> Problem {
    Problem::unverified("no Chromium was found").hint("sudo apt-get install chromium")
}

/// Without a browser nothing is known of the pages.
fn absent(rules: &Rules, problem: Problem) -> Step {
    if rules.required {
        return Step::new(TOOL, "browser", 0).fail(problem);
    }
    skipped("browser", &problem.to_string())
}

struct Visits<'a> {
    subject: &'a Subject,
    rules: &'a Rules,
    asker: Asker,
    jar: Jar,
    /// None after a page that it did not get over.
    browser: Option<Browser<'a>>,
    past: Past,
}

impl Visits<'_> {
    fn visit(&mut self, page: &str, looks: &mut Vec<Look>) -> Result<Step, Problem> {
        let name = format!("GET {page}");
        let url = self.asker.url(page);
        let begun = Instant::now();
        let step = |begun: Instant| {
            let step = Step::new(TOOL, format!("browser.{name}"), milliseconds(begun.elapsed()));
            step.target(url.as_str())
        };
        if self.subject.remaining(LIMIT).is_zero() {
            return Ok(failed(self.subject, step(begun), &name, &[Finding::unasked("was not opened")]));
        }
        let mut sight = match self.look(&url) {
            Ok(Some(sight)) => sight,
            Ok(None) => {
                let problem = Problem::unverified(format!("{name} ended the browser twice"));
                return Ok(step(begun).fail(problem));
            }
            Err(problem) => {
                common::interrupt::check()?;
                return Ok(absent(self.rules, problem));
            }
        };
        let mut findings = std::mem::take(&mut sight.findings);
        let look = self.compare(&name, sight, &mut findings);
        looks.push(look);
        Ok(failed(self.subject, step(begun), &name, &findings))
    }

    /// A browser that ended is started once more, and one that a page got stuck in for the next page.
    fn look(&mut self, url: &Url) -> Result<Option<View>, Problem> {
        for _ in 0..2 {
            if self.browser.is_none() {
                self.browser = Browser::start(self.rules, url, &self.jar)?;
            }
            let Some(browser) = &mut self.browser else { return Ok(None) };
            let seen = browser.visit(url, Instant::now() + self.subject.remaining(LIMIT));
            if seen.is_err() || !browser.is_fit() {
                self.browser = None;
            }
            match seen {
                Ok(sight) => return Ok(Some(sight)),
                Err(Trouble::Interrupted) => common::interrupt::check()?,
                Err(_) => {}
            }
        }
        Ok(None)
    }

    fn compare(&self, name: &str, sight: View, findings: &mut Vec<Finding>) -> Look {
        let mut look = Look {
            page: name.to_owned(),
            load_ms: sight.load.map(milliseconds),
            difference_percent: None,
            screenshot: sight.picture,
            marked: None,
        };
        let earlier = self.subject.earlier.as_ref();
        let before = earlier.and_then(|structure| self.past.screenshot(structure, name));
        let Some((before, after)) = before.as_ref().zip(look.screenshot.as_ref()) else { return look };
        let Ok(difference) = picture::compare(before, after) else { return look };
        look.difference_percent = Some((difference.percent * 100.0).round() / 100.0);
        look.marked = difference.marked;
        let limit = self.rules.visual.filter(|limit| difference.percent > *limit);
        findings.extend(limit.map(|limit| {
            let phrase = format!("looks different in {:.2} % of its pixels", difference.percent);
            let since = earlier.map(|structure| structure.revision.as_str()).unwrap_or_default();
            Finding::new("looks-different", phrase)
                .line("expected", format!("at most {limit} %"))
                .line("since", since)
        }));
        look
    }
}

fn failed(subject: &Subject, step: Step, name: &str, findings: &[Finding]) -> Step {
    let environment = subject.place.environment();
    let slot = subject.slot.map(|slot| format!(" --slot {slot}")).unwrap_or_default();
    let hint = format!("verify {environment}{slot} --explain {}", quoted(&step.name));
    match Finding::tell(name, findings, hint) {
        Some(problem) => step.fail(problem),
        None => step,
    }
}
