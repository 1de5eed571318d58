//! What happens on a page while it is looked at, as the browser tells it, and what of it is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::time::{Duration, Instant};

use reqwest::Url;
use serde_json::{Value, json};

use super::process::BLANK;
use crate::checks::{Browser, may_write};
use crate::finding::Finding;

/// A page that errs without end is told apart by its first errors.
const MOST: usize = 20;
const LONGEST: usize = 300;
/// Why a request that we kept back did not load.
const KEPT_BACK: &str = "inspector";

/// Targets that a window has by itself.
const OF_THE_BROWSER: [&str; 3] = ["browser", "browser_ui", "tab"];

/// A command that an event asks for.
pub(super) type Answer = (&'static str, Value);

/// One page from its navigation on.
pub(super) struct Watch<'a> {
    rules: &'a Browser,
    /// Id of the document that is shown, once there is one.
    pub(super) document: Option<String>,
    pub(super) loaded: bool,
    /// How long the last document took until it was loaded.
    pub(super) load: Option<Duration>,
    begun: Instant,
    pub(super) crashed: bool,
    pub(super) status: Option<u16>,
    /// Address of the document.
    pub(super) url: String,
    /// With the id of an exception that may still be handled.
    errors: Vec<(Option<i64>, Finding)>,
    more: usize,
    /// Address of each request that is under way.
    requests: BTreeMap<String, String>,
    not_sent: Vec<String>,
    /// Origins of the documents in its frames.
    origins: BTreeSet<String>,
    /// It has made workers, other windows or frames, of whose requests nothing is told here.
    has_company: bool,
    /// It is shown no more.
    pub(super) is_left: bool,
}

impl<'a> Watch<'a> {
    pub(super) fn new(rules: &'a Browser) -> Self {
        Self {
            rules,
            document: None,
            loaded: false,
            load: None,
            begun: Instant::now(),
            crashed: false,
            status: None,
            url: String::new(),
            errors: Vec::new(),
            more: 0,
            requests: BTreeMap::new(),
            not_sent: Vec::new(),
            origins: BTreeSet::new(),
            has_company: false,
            is_left: false,
        }
    }

    /// Takes one event; what it asks for must be sent at once.
    pub(super) fn see(&mut self, event: &str, facts: &Value) -> Option<Answer> {
        match event {
            "Page.frameNavigated" => self.navigated(&facts["frame"]),
            "Page.loadEventFired" if self.document.is_some() => {
                self.loaded = true;
                self.load = Some(self.begun.elapsed());
            }
            "Page.javascriptDialogOpening" => {
                return Some(("Page.handleJavaScriptDialog", json!({ "accept": true })));
            }
            "Inspector.targetCrashed" => self.crashed = true,
            "Runtime.exceptionThrown" => self.threw(&facts["exceptionDetails"]),
            "Runtime.exceptionRevoked" => {
                let id = facts["exceptionId"].as_i64();
                self.errors.retain(|(known, _)| known.is_none() || *known != id);
            }
            "Runtime.consoleAPICalled" => self.wrote(facts),
            "Log.entryAdded" => self.logged(&facts["entry"]),
            "Network.requestWillBeSent" => {
                self.requests.insert(text(&facts["requestId"]), text(&facts["request"]["url"]));
            }
            "Network.responseReceived" => self.responded(facts),
            "Network.loadingFinished" => drop(self.requests.remove(&text(&facts["requestId"]))),
            "Network.loadingFailed" => self.failed(facts),
            "Network.webSocketCreated" => self.has_company = true,
            "Target.attachedToTarget" | "Target.targetCreated" => {
                let kind = facts["targetInfo"]["type"].as_str().unwrap_or_default();
                self.has_company |= !OF_THE_BROWSER.contains(&kind);
            }
            "Fetch.requestPaused" => return Some(self.paused(facts)),
            _ => {}
        }
        None
    }

    /// Whether something of it may go on once it is left, or keep what is not of the origin of `url`.
    pub(super) fn may_linger(&self, url: &Url) -> bool {
        let own = url.origin().ascii_serialization();
        self.has_company || !self.requests.is_empty() || self.origins.iter().any(|origin| *origin != own)
    }

    /// Everything that is wrong, in the order of its happening.
    pub(super) fn findings(&mut self) -> Vec<Finding> {
        let (not_sent, more) = (take(&mut self.not_sent), self.more);
        let mut findings: Vec<Finding> =
            take(&mut self.errors).into_iter().map(|(_, finding)| finding).collect();
        if let Some(last) = findings.last_mut().filter(|_| more > 0) {
            *last = last.clone().line("more", format!("{more} further errors"));
        }
        if let Some(first) = findings.first_mut().filter(|_| !not_sent.is_empty()) {
            let sent = "its scripts may not write unless [browser] says writes = true";
            *first = first.clone().line("not sent", format!("{}: {sent}", not_sent.join(", ")));
        }
        findings
    }

    fn navigated(&mut self, frame: &Value) {
        let is_main = frame["parentId"].is_null();
        if frame["url"] == BLANK {
            self.is_left |= is_main;
            return;
        }
        self.origins.insert(text(&frame["securityOrigin"]));
        if !is_main {
            return;
        }
        self.document = Some(text(&frame["loaderId"]));
        self.url = text(&frame["url"]);
        self.loaded = false;
    }

    fn note(&mut self, id: Option<i64>, finding: Finding) {
        let about = format!("{} {}", finding.phrase, finding.detail);
        if self.rules.ignore.iter().any(|part| about.contains(part)) {
            return;
        }
        if self.errors.len() < MOST {
            self.errors.push((id, finding));
        } else {
            self.more += 1;
        }
    }

    fn threw(&mut self, details: &Value) {
        let thrown = &details["exception"];
        let what = [&thrown["description"], &thrown["value"]].into_iter().find(|value| !value.is_null());
        let what = what.map_or_else(|| text(&details["text"]), text);
        let what = shorten(what.lines().next().unwrap_or_default());
        let (kind, phrase) = if text(&details["text"]).contains("(in promise)") {
            ("promise-rejected", format!("rejects a promise that nobody handles: {what}"))
        } else {
            ("script-error", format!("throws {what}"))
        };
        let id = details["exceptionId"].as_i64();
        self.note(id, Finding::new(kind, phrase).line("at", place(details)));
    }

    fn wrote(&mut self, facts: &Value) {
        if !self.rules.console || !matches!(facts["type"].as_str(), Some("error" | "assert")) {
            return;
        }
        let words = facts["args"].as_array().map(Vec::as_slice).unwrap_or_default();
        let words: Vec<String> = words.iter().map(word).collect();
        let frame = &facts["stackTrace"]["callFrames"][0];
        let finding =
            Finding::new("console-error", format!("writes an error: {}", shorten(&words.join(" "))));
        self.note(None, finding.line("at", place(frame)));
    }

    /// What the browser itself writes to the console; requests are told apart by their own events.
    fn logged(&mut self, entry: &Value) {
        let said = text(&entry["text"]);
        if !self.rules.console || entry["level"] != "error" || said.starts_with("Failed to load resource") {
            return;
        }
        let finding =
            Finding::new("console-error", format!("makes the browser complain: {}", shorten(&said)));
        self.note(None, finding.line("at", place(entry)));
    }

    fn responded(&mut self, facts: &Value) {
        let status = facts["response"]["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        if facts["type"] == "Document" && facts["requestId"] == facts["loaderId"] {
            self.status = status;
            return;
        }
        let url = text(&facts["response"]["url"]);
        if let Some(status) = status.filter(|status| *status >= 400 && !is_favicon(&url)) {
            let finding =
                Finding::new("asset-failed", format!("needs {}, which answers {status}", path(&url)));
            self.note(None, finding.line("actual", status.to_string()).line("address", url));
        }
    }

    fn failed(&mut self, facts: &Value) {
        let url = self.requests.remove(&text(&facts["requestId"])).unwrap_or_default();
        let error = text(&facts["errorText"]);
        let is_ours = facts["blockedReason"] == KEPT_BACK;
        if is_ours || facts["canceled"] == true || facts["type"] == "Document" || is_favicon(&url) {
            return;
        }
        let blocked = facts["blockedReason"].as_str().map(|reason| format!(" ({reason})"));
        let finding = Finding::new("asset-failed", format!("needs {}, which cannot be loaded", path(&url)));
        let actual = format!("{error}{}", blocked.unwrap_or_default());
        self.note(None, finding.line("actual", actual).line("address", url));
    }

    fn paused(&mut self, facts: &Value) -> Answer {
        let method = text(&facts["request"]["method"]);
        let request = &facts["requestId"];
        if may_write(&method) && !self.rules.writes {
            self.not_sent.push(format!("{method} {}", path(&text(&facts["request"]["url"]))));
            let reason = "BlockedByClient";
            return ("Fetch.failRequest", json!({ "requestId": request, "errorReason": reason }));
        }
        ("Fetch.continueRequest", json!({ "requestId": request }))
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

/// One argument of a call to the console.
fn word(argument: &Value) -> String {
    let shown = [&argument["value"], &argument["unserializableValue"], &argument["description"]];
    text(shown.into_iter().find(|value| !value.is_null()).unwrap_or(&Value::Null))
}

fn place(facts: &Value) -> String {
    let url = text(&facts["url"]);
    let line = facts["lineNumber"].as_u64().map(|line| line + 1);
    match (url.is_empty(), line) {
        (true, _) => "the page itself".into(),
        (false, Some(line)) => format!("{}:{line}", path(&url)),
        (false, None) => path(&url).to_owned(),
    }
}

/// An address without scheme and host.
pub(super) fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or(url, |at| &rest[at..])
}

/// Browsers ask for one by themselves.
fn is_favicon(url: &str) -> bool {
    path(url).split('?').next() == Some("/favicon.ico")
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
