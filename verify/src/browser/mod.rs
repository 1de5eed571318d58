//! Pages in a real browser: Chromium, headless, driven over a pipe.
//!
//! `process` starts and ends it, `wire` carries messages, `tab` looks at one page, `watch` tells what
//! is wrong with it; here several tabs are kept going. Every wait ends at a given moment.

mod process;
mod tab;
mod watch;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use common::report::{Problem, quoted};
use reqwest::Url;
use serde_json::{Value, json};

use crate::checks::Browser as Rules;
use crate::finding::Finding;
use crate::http::Jar;
use process::{BLANK, Process};
use tab::{Command, Tab};
pub(crate) use wire::Trouble;
use wire::Wire;

/// How long a browser may take until it can open a page.
const START: Duration = Duration::from_secs(20);
/// Pages that are looked at side by side: while one is watched for late errors another one loads.
const TABS: usize = 3;
const EVENTS: [&str; 5] =
    ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable", "Inspector.enable"];

/// What was seen of one page.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Its number.
    pub(crate) page: usize,
    pub(crate) findings: Vec<Finding>,
    /// PNG; none when the page could not be pictured.
    pub(crate) picture: Option<Vec<u8>>,
    /// From its navigation until it was loaded, if it ever was.
    pub(crate) load: Option<Duration>,
    /// Of the whole visit.
    pub(crate) duration: Duration,
    /// It was not over in time.
    pub(crate) late: bool,
}

/// A running browser and its tabs, each with cookies and stores of its own.
pub(crate) struct Browser<'a> {
    rules: &'a Rules,
    wire: Wire,
    process: Process,
    tabs: Vec<Tab<'a>>,
    /// What makes a clean start for a page.
    cleaning: Vec<Command>,
    seen: VecDeque<View>,
}

impl<'a> Browser<'a> {
    /// Starts one that sends the cookies of `jar` to the host of `url`; `None` when there is none.
    ///
    /// # Errors
    /// `unverified`: there is one, and it does not start.
    pub(crate) fn start(rules: &'a Rules, url: &Url, jar: &Jar) -> Result<Option<Self>, Problem> {
        let Some(program) = process::find() else { return Ok(None) };
        let (process, commands, answers) = Process::start(&program)?;
        let (wire, cleaning) = (Wire::new(commands, answers), cleaning(url, jar));
        let mut browser = Self { rules, wire, process, tabs: Vec::new(), cleaning, seen: VecDeque::new() };
        match browser.add_tab() {
            Ok(()) => Ok(Some(browser)),
            Err(_) => Err(Problem::unverified(format!("{} does not start", program.display()))
                .detail(browser.process.said())
                .hint(format!("{} --version", quoted(program.display())))),
        }
    }

    /// Whether it can open another page beside those that are open.
    pub(crate) fn has_room(&self) -> bool {
        self.is_fit() && (self.tabs.len() < TABS || self.tabs.iter().any(Tab::is_idle))
    }

    /// Whether no page has got it stuck.
    pub(crate) fn is_fit(&self) -> bool {
        self.tabs.iter().all(|tab| tab.is_fit)
    }

    /// Begins to look at `url`, the page of that number, for `limit` at most.
    ///
    /// # Errors
    /// The browser is gone or cannot open a tab, or a signal came.
    pub(crate) fn open(&mut self, page: usize, url: &Url, limit: Duration) -> Result<(), Trouble> {
        if !self.tabs.iter().any(Tab::is_idle) {
            self.add_tab()?;
        }
        let until = Instant::now() + limit;
        match self.tabs.iter_mut().find(|tab| tab.is_idle()) {
            Some(tab) => tab.open(&mut self.wire, (page, url), until, &self.cleaning),
            None => Err(Trouble::Late),
        }
    }

    /// Waits for the next of the open pages to be over.
    ///
    /// # Errors
    /// The browser is gone, or a signal came; what is wrong with a page is in its findings.
    pub(crate) fn next(&mut self) -> Result<View, Trouble> {
        loop {
            if let Some(view) = self.seen.pop_front() {
                return Ok(view);
            }
            let alarm = self.tabs.iter().filter_map(Tab::alarm).min();
            self.turn(alarm.ok_or(Trouble::Late)?)?;
        }
    }

    /// The tab that the browser began with, or one in a profile and a window of its own; every event
    /// is enabled before it goes anywhere.
    fn add_tab(&mut self) -> Result<(), Trouble> {
        let until = Instant::now() + START;
        let target = if self.tabs.is_empty() { self.first_target(until)? } else { self.new_target(until)? };
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = self.call(None, [("Target.attachToTarget", attach)], until)?;
        let session = attached["sessionId"].as_str().unwrap_or_default().to_owned();
        self.call(Some(&session), settings(self.rules), until)?;
        self.tabs.push(Tab::new(self.rules, session));
        Ok(())
    }

    /// It may not have come to opening one yet.
    fn first_target(&mut self, until: Instant) -> Result<Value, Trouble> {
        let mut targets = self.call(None, [("Target.getTargets", json!({}))], until)?;
        let known = targets["targetInfos"].as_array_mut().map(std::mem::take).unwrap_or_default();
        match known.into_iter().find(|target| target["type"] == "page") {
            Some(mut page) => Ok(page["targetId"].take()),
            None => self.new_target(until),
        }
    }

    fn new_target(&mut self, until: Instant) -> Result<Value, Trouble> {
        let context = self.call(None, [("Target.createBrowserContext", json!({}))], until)?;
        let wanted = json!({ "url": BLANK, "browserContextId": context["browserContextId"] });
        Ok(self.call(None, [("Target.createTarget", wanted)], until)?["targetId"].take())
    }

    /// Sends commands at once and waits until all are answered; gives what the last to be answered
    /// gave. The open pages go on meanwhile.
    fn call(
        &mut self,
        session: Option<&str>,
        commands: impl IntoIterator<Item = Command>,
        until: Instant,
    ) -> Result<Value, Trouble> {
        let mut sent = BTreeMap::new();
        for (method, params) in commands {
            sent.insert(self.wire.send(session, method, params)?, method);
        }
        let mut result = Value::Null;
        while !sent.is_empty() {
            if Instant::now() >= until {
                return Err(Trouble::Late);
            }
            let mut message = self.turn(until)?;
            let answered = message["id"].as_u64().and_then(|number| sent.remove(&number));
            let Some(method) = answered else { continue };
            if let Some(refusal) = message["error"]["message"].as_str() {
                return Err(Trouble::Refused(format!("{method}: {refusal}")));
            }
            result = message["result"].take();
        }
        Ok(result)
    }

    /// Waits for a message or for the clock, `until` at most, and moves the tabs on.
    fn turn(&mut self, until: Instant) -> Result<Value, Trouble> {
        let alarms = self.tabs.iter().filter_map(Tab::alarm);
        let message = match self.wire.receive(alarms.fold(until, Instant::min)) {
            Err(Trouble::Late) => Value::Null,
            received => received?,
        };
        for tab in &mut self.tabs {
            if tab.is_meant(&message) {
                self.seen.extend(tab.take(&mut self.wire, &message)?);
            }
            self.seen.extend(tab.advance(&mut self.wire)?);
        }
        Ok(message)
    }
}

/// The same window each time, in front of its user, and nothing that moves; scripts may not write
/// unless the release says so.
fn settings(rules: &Rules) -> Vec<Command> {
    let mut settings: Vec<Command> = EVENTS.iter().map(|name| (*name, json!({}))).collect();
    let window =
        json!({ "width": rules.width, "height": rules.height, "deviceScaleFactor": 1, "mobile": false });
    let still = json!({ "features": [{ "name": "prefers-reduced-motion", "value": "reduce" }] });
    settings.push(("Emulation.setDeviceMetricsOverride", window));
    settings.push(("Emulation.setEmulatedMedia", still));
    settings.push(("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })));
    if !rules.writes {
        let kinds = ["Document", "XHR", "Fetch", "Ping"];
        let patterns = kinds.map(|kind| json!({ "resourceType": kind }));
        settings.push(("Fetch.enable", json!({ "patterns": patterns })));
    }
    settings
}

/// Nothing of an earlier page is left, and only the login's cookies are there: what a page shows must
/// not depend on which tab it is opened in, nor on what is open beside it.
fn cleaning(url: &Url, jar: &Jar) -> Vec<Command> {
    let cookie = |(name, value)| json!({ "name": name, "value": value, "url": url.as_str() });
    let cookies: Vec<Value> = jar.pairs().map(cookie).collect();
    let kinds = "local_storage,indexeddb,cache_storage,service_workers";
    let stores = json!({ "origin": url.origin().ascii_serialization(), "storageTypes": kinds });
    vec![
        // Where there is no page yet it throws, and nobody minds.
        ("Runtime.evaluate", json!({ "expression": "sessionStorage.clear()" })),
        ("Network.clearBrowserCookies", json!({})),
        ("Storage.clearDataForOrigin", stores),
        ("Network.setCookies", json!({ "cookies": cookies })),
    ]
}
