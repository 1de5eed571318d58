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
use process::{BLANK, Process};
use watch::Watch;
pub(crate) use wire::Trouble;
use wire::Wire;

/// How long a browser may take until it can open a page.
const START: Duration = Duration::from_secs(20);
const EVENTS: [&str; 5] =
    ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable", "Inspector.enable"];

/// What was seen of one page.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) findings: Vec<Finding>,
    /// PNG; none when the page could not be pictured.
    pub(crate) picture: Option<Vec<u8>>,
    /// From its navigation until it was loaded, if it ever was.
    pub(crate) load: Option<Duration>,
}

/// A running browser and the one tab in which it opens all pages.
pub(crate) struct Browser<'a> {
    rules: &'a Rules,
    wire: Wire,
    process: Process,
    /// Names the tab in commands and events.
    session: String,
    /// A page hangs in it, or has crashed it.
    is_stuck: bool,
}

impl<'a> Browser<'a> {
    /// Starts one that sends the cookies of `jar` to the host of `url`; `None` when there is none.
    ///
    /// # Errors
    /// `unverified`: there is one, and it does not start.
    pub(crate) fn start(rules: &'a Rules, url: &Url, jar: &Jar) -> Result<Option<Self>, Problem> {
        let Some(program) = process::find() else { return Ok(None) };
        let (process, commands, answers) = Process::start(&program)?;
        let wire = Wire::new(commands, answers);
        let mut browser = Self { rules, wire, process, session: String::new(), is_stuck: false };
        match browser.prepare(url, jar) {
            Ok(()) => Ok(Some(browser)),
            Err(_) => Err(Problem::unverified(format!("{} does not start", program.display()))
                .detail(browser.process.said())
                .hint(format!("{} --version", quoted(program.display())))),
        }
    }

    /// Whether it can open another page.
    pub(crate) fn is_fit(&self) -> bool {
        !self.is_stuck
    }

    /// Opens `url` and looks at it until `until` at most.
    ///
    /// # Errors
    /// The browser is gone, or a signal came; what is wrong with the page is in its findings.
    pub(crate) fn visit(&mut self, url: &Url, until: Instant) -> Result<View, Trouble> {
        let mut watch = Watch::new(self.rules);
        let begun = Instant::now();
        let shown = self.show(&mut watch, url, until);
        self.is_stuck = watch.crashed || shown == Err(Trouble::Late);
        let (mut findings, picture) = match shown {
            Ok(picture) => (about_document(&watch, url), picture),
            Err(Trouble::Refused(_)) if watch.crashed => (about_document(&watch, url), None),
            Err(Trouble::Refused(words)) => (vec![unopened(&words)], None),
            Err(Trouble::Late) => (vec![late(&watch, begun.elapsed())], None),
            Err(trouble) => return Err(trouble),
        };
        let load = watch.load;
        findings.extend(watch.findings());
        Ok(View { findings, picture, load })
    }

    /// Takes the tab that it opened with, every event enabled before it goes anywhere.
    fn prepare(&mut self, url: &Url, jar: &Jar) -> Result<(), Trouble> {
        let (until, rules) = (Instant::now() + START, self.rules);
        let nothing = &mut Watch::new(rules);
        let target = self.first_tab(nothing, until)?;
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = self.call(nothing, None, "Target.attachToTarget", attach, until)?;
        attached["sessionId"].as_str().unwrap_or_default().clone_into(&mut self.session);
        let mut settings: Vec<(&str, Value)> = EVENTS.iter().map(|name| (*name, json!({}))).collect();
        settings.extend(appearance(rules));
        if !rules.writes {
            let kinds = ["Document", "XHR", "Fetch", "Ping"];
            let patterns = kinds.map(|kind| json!({ "resourceType": kind }));
            settings.push(("Fetch.enable", json!({ "patterns": patterns })));
        }
        let cookie = |(name, value)| json!({ "name": name, "value": value, "url": url.as_str() });
        let cookies: Vec<Value> = jar.pairs().map(cookie).collect();
        settings.push(("Network.setCookies", json!({ "cookies": cookies })));
        let session = self.session.clone();
        for (method, params) in settings {
            self.call(nothing, Some(&session), method, params, until)?;
        }
        Ok(())
    }

    /// It may not have come to opening one yet.
    fn first_tab(&mut self, nothing: &mut Watch<'_>, until: Instant) -> Result<Value, Trouble> {
        let mut targets = self.call(nothing, None, "Target.getTargets", json!({}), until)?;
        let known = targets["targetInfos"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let page = known.into_iter().find(|target| target["type"] == "page");
        let mut tab = match page {
            Some(page) => page,
            None => self.call(nothing, None, "Target.createTarget", json!({ "url": BLANK }), until)?,
        };
        Ok(tab["targetId"].take())
    }

    /// Navigates, waits until the page is loaded and has settled, and takes its picture.
    fn show(&mut self, watch: &mut Watch<'_>, url: &Url, until: Instant) -> Result<Option<Vec<u8>>, Trouble> {
        let session = self.session.clone();
        let session = Some(session.as_str());
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
