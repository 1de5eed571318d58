//! One tab: a page on its way from a clean start over loading and settling to its picture, moved on
//! by each message and by the clock. It never waits itself, so that others go on beside it.

use std::mem::replace;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde_json::{Value, json};

use super::View;
use super::watch::{self, Watch};
use super::wire::{Trouble, Wire};
use crate::checks::Browser as Rules;
use crate::finding::Finding;

/// A command with what it takes.
pub(super) type Command = (&'static str, Value);

/// A tab of the browser, with the page that is looked at in it.
pub(super) struct Tab<'a> {
    rules: &'a Rules,
    /// Names the tab in commands and events.
    session: String,
    watch: Watch<'a>,
    visit: Option<Visit>,
    /// No page hangs in it, or has crashed it.
    pub(super) is_fit: bool,
}

struct Visit {
    /// Number of the page.
    page: usize,
    url: Url,
    phase: Phase,
    begun: Instant,
    until: Instant,
}

/// How far a visit is; with the numbers of the commands that are not answered yet.
enum Phase {
    /// What the page before has left is taken away.
    Cleaning(Vec<u64>),
    Opening(u64),
    Loading,
    /// Loaded, and watched until then.
    Settling(Instant),
    Picturing(u64),
}

/// How a visit ended.
enum Ending {
    Seen(Option<Vec<u8>>),
    Refused(String),
    Late,
    Crashed,
}

impl<'a> Tab<'a> {
    pub(super) fn new(rules: &'a Rules, session: String) -> Self {
        Self { rules, session, watch: Watch::new(rules), visit: None, is_fit: true }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.visit.is_none()
    }

    /// Whether the message is for this tab.
    pub(super) fn is_meant(&self, message: &Value) -> bool {
        message["sessionId"] == self.session.as_str()
    }

    /// When it must be looked after although no message has come.
    pub(super) fn alarm(&self) -> Option<Instant> {
        let visit = self.visit.as_ref()?;
        match visit.phase {
            Phase::Settling(end) => Some(end.min(visit.until)),
            _ => Some(visit.until),
        }
    }

    /// Begins a visit that is over at `until`; `cleaning` is what makes a clean start.
    ///
    /// # Errors
    /// [`Trouble::Gone`].
    pub(super) fn open(
        &mut self,
        wire: &mut Wire,
        (page, url): (usize, &Url),
        until: Instant,
        cleaning: &[Command],
    ) -> Result<(), Trouble> {
        let send = |(method, params): &Command| wire.send(Some(&self.session), method, params.clone());
        let phase = Phase::Cleaning(cleaning.iter().map(send).collect::<Result<_, _>>()?);
        self.visit = Some(Visit { page, url: url.clone(), phase, begun: Instant::now(), until });
        Ok(())
    }

    /// Takes a message for this tab; what was seen when it ends the visit.
    ///
    /// # Errors
    /// [`Trouble::Gone`].
    pub(super) fn take(&mut self, wire: &mut Wire, message: &Value) -> Result<Option<View>, Trouble> {
        if let Some(event) = message["method"].as_str() {
            if let Some((method, params)) = self.watch.see(event, &message["params"]) {
                wire.send(Some(&self.session), method, params)?;
            }
            return Ok(None);
        }
        let number = message["id"].as_u64().unwrap_or_default();
        let ending = self.visit.as_mut().and_then(|visit| visit.answered(number, message));
        Ok(ending.and_then(|ending| self.end(ending)))
    }

    /// Goes on as far as the page and the clock allow; what was seen when the visit is over.
    ///
    /// # Errors
    /// [`Trouble::Gone`].
    pub(super) fn advance(&mut self, wire: &mut Wire) -> Result<Option<View>, Trouble> {
        let Some(visit) = &mut self.visit else { return Ok(None) };
        let now = Instant::now();
        let mut send = |method: &str, params| wire.send(Some(&self.session), method, params);
        match &visit.phase {
            _ if self.watch.crashed => return Ok(self.end(Ending::Crashed)),
            Phase::Settling(end) if self.watch.loaded && now >= (*end).min(visit.until) => {
                let format = json!({ "format": "png", "optimizeForSpeed": true });
                visit.phase = Phase::Picturing(send("Page.captureScreenshot", format)?);
            }
            _ if now >= visit.until => return Ok(self.end(Ending::Late)),
            Phase::Cleaning(left) if left.is_empty() => {
                self.watch = Watch::new(self.rules);
                visit.phase = Phase::Opening(send("Page.navigate", json!({ "url": visit.url.as_str() }))?);
            }
            Phase::Loading if self.watch.loaded => {
                visit.phase = Phase::Settling(now + self.rules.settle);
            }
            // A script has led elsewhere meanwhile.
            Phase::Settling(_) if !self.watch.loaded => visit.phase = Phase::Loading,
            _ => {}
        }
        Ok(None)
    }

    fn end(&mut self, ending: Ending) -> Option<View> {
        let visit = self.visit.take()?;
        let watch = replace(&mut self.watch, Watch::new(self.rules));
        let (duration, late) = (visit.begun.elapsed(), matches!(ending, Ending::Late));
        self.is_fit = !watch.crashed && !late;
        let (mut findings, picture) = match ending {
            Ending::Seen(picture) => (about_document(&watch, &visit.url), picture),
            Ending::Refused(words) if !watch.crashed => (vec![unopened(&words)], None),
            Ending::Late => (vec![unloaded(&watch, duration)], None),
            Ending::Refused(_) | Ending::Crashed => (about_document(&watch, &visit.url), None),
        };
        let load = watch.load;
        findings.extend(watch.findings());
        Some(View { page: visit.page, findings, picture, load, duration, late })
    }
}

impl Visit {
    /// Takes the answer to a command; how the visit ends when that ends it.
    fn answered(&mut self, number: u64, answer: &Value) -> Option<Ending> {
        let refusal = answer["error"]["message"].as_str();
        match &mut self.phase {
            Phase::Cleaning(sent) if sent.contains(&number) => {
                sent.retain(|known| *known != number);
                refusal.map(|words| Ending::Refused(words.to_owned()))
            }
            Phase::Opening(sent) if *sent == number => {
                self.phase = Phase::Loading;
                let error = refusal.or(answer["result"]["errorText"].as_str());
                error.map(|words| Ending::Refused(words.to_owned()))
            }
            Phase::Picturing(sent) if *sent == number => Some(match refusal {
                Some(words) => Ending::Refused(words.to_owned()),
                None => Ending::Seen(answer["result"]["data"].as_str().and_then(decode)),
            }),
            _ => None,
        }
    }
}

fn decode(picture: &str) -> Option<Vec<u8>> {
    STANDARD.decode(picture).ok()
}

fn about_document(watch: &Watch<'_>, url: &Url) -> Vec<Finding> {
    let mut findings = Vec::new();
    if watch.crashed {
        findings.push(Finding::new("page-crashed", "makes the browser's page crash"));
    }
    if let Some(status) = watch.status.filter(|status| *status >= 400) {
        findings.push(Finding::new("route-status", format!("answered {status} to the browser")));
    }
    let shown = watch.url.split('#').next().unwrap_or_default();
    if shown != url.as_str().split('#').next().unwrap_or_default() {
        let elsewhere = watch::path(shown);
        let finding = Finding::new("redirect-unexpected", format!("leads the browser to {elsewhere}"));
        findings.push(finding.line("expected", url.as_str()).line("actual", shown));
    }
    findings
}

fn unopened(words: &str) -> Finding {
    Finding::new("page-unopened", "cannot be opened in the browser").line("actual", words)
}

fn unloaded(watch: &Watch<'_>, waited: Duration) -> Finding {
    let seconds = waited.as_secs_f32();
    let what = match watch.document {
        Some(_) => format!("has not finished loading after {seconds:.1} s"),
        None => format!("did not answer the browser within {seconds:.1} s"),
    };
    Finding::new("load-slow", what)
}
