//! Pages in a browser: what their scripts do wrong, what does not load, and how they look beside
//! the release before. `visits` opens them.

mod visits;

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::address::Address;
use common::report::{Problem, Step, quoted};
use serde::Serialize;

use super::sight::Sight;
use super::{LIMIT, TOOL, milliseconds, skipped};
use crate::browser::{Browser, Trouble, View};
use crate::checks::Browser as Rules;
use crate::finding::Finding;
use crate::http::Asker;
use crate::past::Past;
use crate::picture;
use crate::subject::Subject;
use visits::Visits;

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
    let browser = match Browser::start(rules, &jar, subject.until) {
        Ok(Some(browser)) => Some(browser),
        Err(_) if subject.remaining(LIMIT).is_zero() => None,
        Ok(None) => return Ok(vec![absent(rules, missing())]),
        Err(problem) => return Ok(vec![absent(rules, problem)]),
    };
    let judge = Judge { subject, rules, asker: &asker, past: Past::of(&subject.place) };
    let visits = Visits::new(subject, rules, &asker, &jar, browser);
    let mut steps = Vec::with_capacity(rules.pages.len());
    for (_, step, look) in judged(&judge, visits)? {
        steps.push(step);
        looks.extend(look);
    }
    Ok(steps)
}

/// Has the pages opened and judged, in the order of the file; comparing pictures takes no time from
/// the browser.
fn judged(judge: &Judge<'_>, visits: Visits<'_>) -> Result<Vec<Judged>, Problem> {
    thread::scope(|scope| {
        let (sender, seen) = mpsc::channel();
        let judging = scope.spawn(move || seen.iter().map(|(page, seen)| judge.step(page, seen)).collect());
        visits.run(&sender)?;
        drop(sender);
        let mut judged: Vec<Judged> = judging.join().unwrap_or_else(|panic| resume_unwind(panic));
        judged.sort_by_key(|(page, ..)| *page);
        Ok(judged)
    })
}

fn missing() -> Problem {
    Problem::unverified("no Chromium was found").hint("sudo apt-get install chromium-headless-shell")
}

/// Without a browser nothing is known of the pages.
fn absent(rules: &Rules, problem: Problem) -> Step {
    if rules.required {
        return Step::new(TOOL, "browser", 0).fail(problem);
    }
    skipped("browser", &problem.to_string())
}

/// Two browsers had that trouble.
fn fatal(name: &str, trouble: Trouble) -> Problem {
    match trouble {
        Trouble::Late => Problem::unverified(format!("no browser began with {name} in time")),
        Trouble::Refused(words) => Problem::unverified(format!("no browser began with {name}")).detail(words),
        Trouble::Gone | Trouble::Interrupted => {
            Problem::unverified(format!("{name} ended the browser twice"))
        }
    }
}

/// What became of a page.
enum Seen {
    View(View),
    /// The run had no time left for it.
    Unasked,
    /// It lost the browser, also alone.
    Fatal(Trouble),
    /// The browser did not start again.
    Absent(Problem),
}

/// Number of a page, its step, and how it looked if it was seen.
type Judged = (usize, Step, Option<Look>);

struct Judge<'a> {
    subject: &'a Subject,
    rules: &'a Rules,
    asker: &'a Asker,
    past: Past,
}

impl Judge<'_> {
    fn step(&self, page: usize, seen: Seen) -> Judged {
        let name = format!("GET {}", self.rules.pages[page]);
        let step = |duration| {
            let step = Step::new(TOOL, format!("browser.{name}"), milliseconds(duration));
            step.target(self.asker.url(&self.rules.pages[page]).as_str())
        };
        match seen {
            Seen::View(mut view) => {
                let mut findings = std::mem::take(&mut view.findings);
                let step = step(view.duration);
                let look = self.compare(&name, view, &mut findings);
                (page, failed(self.subject, step, &name, &findings), Some(look))
            }
            Seen::Unasked => {
                let findings = [Finding::unasked("was not opened")];
                (page, failed(self.subject, step(Duration::ZERO), &name, &findings), None)
            }
            Seen::Fatal(trouble) => (page, step(Duration::ZERO).fail(fatal(&name, trouble)), None),
            Seen::Absent(problem) => (page, absent(self.rules, problem), None),
        }
    }

    fn compare(&self, name: &str, view: View, findings: &mut Vec<Finding>) -> Look {
        let mut look = Look {
            page: name.to_owned(),
            load_ms: view.load.map(milliseconds),
            difference_percent: None,
            screenshot: view.picture,
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
