//! Pages in a real browser: Chromium, headless, driven over a pipe.
//!
//! `process` starts and ends it, `wire` carries messages, `watch` tells what is wrong with a page;
//! here a page is opened, looked at and pictured. Every wait ends at a given moment.

mod process;
mod watch;
mod wire;

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::report::{Problem, quoted};
use reqwest::Url;
use serde_json::{Value, json};

use crate::checks::Browser as Rules;
use crate::finding::Finding;
use crate::http::Jar;
use process::Process;
use watch::Watch;
pub(crate) use wire::Trouble;
use wire::Wire;

/// How long a browser may take to start, and to answer what takes no time.
const START: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(5);
const EVENTS: [&str; 5] =
    ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable", "Inspector.enable"];

/// What was seen of one page.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    pub(crate) findings: Vec<Finding>,
    /// PNG; none when the page could not be pictured.
    pub(crate) picture: Option<Vec<u8>>,
    /// From its navigation until it was loaded.
    pub(crate) load: Duration,
}

/// A running browser, and the tab whose pages had no trouble so far.
pub(crate) struct Browser<'a> {
    rules: &'a Rules,
    wire: Wire,
    process: Process,
    tab: Option<Tab>,
}

struct Tab {
    context: String,
    session: String,
}

impl<'a> Browser<'a> {
    /// Starts one; `None` when the host has none.
    ///
    /// # Errors
    /// `unverified`: there is one, and it does not start.
    pub(crate) fn start(rules: &'a Rules) -> Result<Option<Self>, Problem> {
        let Some(program) = process::find() else { return Ok(None) };
        let (process, commands, answers) = Process::start(&program)?;
        let mut browser = Self { rules, wire: Wire::new(commands, answers), process, tab: None };
        let mut nothing = Watch::new(rules);
        match browser.call(&mut nothing, None, "Browser.getVersion", json!({}), Instant::now() + START) {
            Ok(_) => Ok(Some(browser)),
            Err(_) => Err(Problem::unverified(format!("{} does not start", program.display()))
                .detail(browser.process.said())
                .hint(format!("{} --version", quoted(program.display())))),
        }
    }

    /// Opens `url` with the cookies of `jar`, and looks at it until `until` at most.
    ///
    /// # Errors
    /// The browser is gone, or a signal came; what is wrong with the page is in its findings.
    pub(crate) fn visit(&mut self, url: &Url, jar: &Jar, until: Instant) -> Result<Sight, Trouble> {
        let tab = match self.tab.take() {
            Some(tab) => tab,
            None => self.open(url, jar)?,
        };
        let mut watch = Watch::new(self.rules);
        let begun = Instant::now();
        let shown = self.show(&mut watch, &tab, url, until);
        let load = begun.elapsed().saturating_sub(self.rules.settle);
        let (mut findings, picture) = match shown {
            Ok(picture) => (about_document(&watch, url), picture),
            Err(Trouble::Refused(_)) if watch.crashed => (about_document(&watch, url), None),
            Err(Trouble::Refused(words)) => (vec![unopened(&words)], None),
            Err(Trouble::Late) => (vec![late(&watch, begun.elapsed())], None),
            Err(trouble) => return Err(trouble),
        };
        if watch.crashed || picture.is_none() {
            self.close(&tab)?;
        } else {
            self.tab = Some(tab);
        }
        findings.extend(watch.findings());
        Ok(Sight { findings, picture, load })
    }

    /// A tab that shares nothing with others, every event enabled before it goes anywhere.
    fn open(&mut self, url: &Url, jar: &Jar) -> Result<Tab, Trouble> {
        let (until, rules) = (Instant::now() + ANSWER, self.rules);
        let watch = &mut Watch::new(rules);
        let context = self.call(watch, None, "Target.createBrowserContext", json!({}), until)?;
        let context = context["browserContextId"].as_str().unwrap_or_default().to_owned();
        let blank = json!({ "url": "about:blank", "browserContextId": context });
        let target = self.call(watch, None, "Target.createTarget", blank, until)?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(watch, None, "Target.attachToTarget", attach, until)?;
        let tab = Tab { context, session: session["sessionId"].as_str().unwrap_or_default().to_owned() };
        let mut settings: Vec<(&str, Value)> = EVENTS.iter().map(|name| (*name, json!({}))).collect();
        settings.extend(appearance(rules));
        if !rules.writes {
            settings.push((
                "Fetch.enable",
                json!({ "patterns": [
                { "resourceType": "Document" }, { "resourceType": "XHR" },
                { "resourceType": "Fetch" }, { "resourceType": "Ping" },
            ] }),
            ));
        }
        let cookies: Vec<Value> = jar
            .pairs()
            .map(|(name, value)| json!({ "name": name, "value": value, "url": url.as_str() }))
            .collect();
        settings.push(("Network.setCookies", json!({ "cookies": cookies })));
        for (method, params) in settings {
            self.call(watch, Some(&tab.session), method, params, until)?;
        }
        Ok(tab)
    }

    fn close(&mut self, tab: &Tab) -> Result<(), Trouble> {
        let context = json!({ "browserContextId": tab.context });
        self.wire.send(None, "Target.disposeBrowserContext", context).map(drop)
    }

    /// Navigates, waits until the page is loaded and has settled, and takes its picture.
    fn show(
        &mut self,
        watch: &mut Watch<'_>,
        tab: &Tab,
        url: &Url,
        until: Instant,
    ) -> Result<Option<Vec<u8>>, Trouble> {
        let session = Some(tab.session.as_str());
        let navigation = json!({ "url": url.as_str() });
        let begun = self.call(watch, session, "Page.navigate", navigation, until)?;
        if let Some(error) = begun["errorText"].as_str() {
            return Err(Trouble::Refused(error.to_owned()));
        }
        loop {
            while !watch.loaded && !watch.crashed {
                self.take(watch, session, until)?;
            }
            self.settle(watch, session, until)?;
            // A script may have led elsewhere meanwhile.
            if watch.loaded || watch.crashed {
                break;
            }
        }
        if watch.crashed {
            return Ok(None);
        }
        let format = json!({ "format": "png", "optimizeForSpeed": true });
        let picture = self.call(watch, session, "Page.captureScreenshot", format, until)?;
        Ok(picture["data"].as_str().and_then(|text| STANDARD.decode(text).ok()))
    }

    fn settle(
        &mut self,
        watch: &mut Watch<'_>,
        session: Option<&str>,
        until: Instant,
    ) -> Result<(), Trouble> {
        let settled = (Instant::now() + self.rules.settle).min(until);
        loop {
            match self.take(watch, session, settled) {
                Ok(_) => {}
                Err(Trouble::Late) => return Ok(()),
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Sends a command and gives what it answers.
    fn call(
        &mut self,
        watch: &mut Watch<'_>,
        session: Option<&str>,
        method: &str,
        params: Value,
        until: Instant,
    ) -> Result<Value, Trouble> {
        let number = self.wire.send(session, method, params)?;
        loop {
            let mut message = self.take(watch, session, until)?;
            if message["id"] != number {
                continue;
            }
            if let Some(refusal) = message["error"]["message"].as_str() {
                return Err(Trouble::Refused(format!("{method}: {refusal}")));
            }
            return Ok(message["result"].take());
        }
    }

    /// Takes the next message; an event of the tab goes to `watch`.
    fn take(
        &mut self,
        watch: &mut Watch<'_>,
        session: Option<&str>,
        until: Instant,
    ) -> Result<Value, Trouble> {
        if Instant::now() >= until {
            return Err(Trouble::Late);
        }
        let message = self.wire.receive(until)?;
        let event = message["method"].as_str().filter(|_| message["sessionId"].as_str() == session);
        if let Some((method, params)) = event.and_then(|event| watch.see(event, &message["params"])) {
            self.wire.send(session, method, params)?;
        }
        Ok(message)
    }
}

/// The same window each time, and nothing that moves.
fn appearance(rules: &Rules) -> [(&'static str, Value); 2] {
    let window =
        json!({ "width": rules.width, "height": rules.height, "deviceScaleFactor": 1, "mobile": false });
    let still = json!({ "features": [{ "name": "prefers-reduced-motion", "value": "reduce" }] });
    [("Emulation.setDeviceMetricsOverride", window), ("Emulation.setEmulatedMedia", still)]
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

fn late(watch: &Watch<'_>, waited: Duration) -> Finding {
    let seconds = waited.as_secs_f32();
    let what = match watch.document {
        Some(_) => format!("has not finished loading after {seconds:.1} s"),
        None => format!("did not answer the browser within {seconds:.1} s"),
    };
    Finding::new("load-slow", what)
}
