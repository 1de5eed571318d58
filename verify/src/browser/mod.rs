//! Pages in a real browser: Chromium, headless, driven over a pipe.
//!
//! `process` starts and ends it, `wire` carries messages, `tab` looks at one page, `visit` is how far
//! that is, `watch` tells what is wrong with it and `ending` how that ended, `setting` is what each page
//! begins with; here several tabs are kept going. Every wait ends at a given moment.

mod ending;
mod process;
mod setting;
mod tab;
mod visit;
mod watch;
mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::report::{Problem, quoted};
use reqwest::Url;
use serde_json::{Value, json};

use crate::checks::Browser as Rules;
use crate::finding::Finding;
use crate::http::Jar;
use process::Process;
use tab::Tab;
pub(crate) use wire::Trouble;
use wire::Wire;

/// How long a browser may take until it answers.
const START: Duration = Duration::from_secs(20);
/// Pages that are looked at side by side: while one is watched for late errors another one loads.
const TABS: usize = 3;

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
    /// It was not over in this time, from its navigation on; zero when it was not even asked for.
    pub(crate) late: Option<Duration>,
}

/// A running browser and its tabs, each with cookies and stores of its own.
pub(crate) struct Browser<'a> {
    rules: &'a Rules,
    /// The login's cookies.
    jar: &'a Jar,
    /// Of the whole run.
    end: Instant,
    wire: Wire,
    process: Process,
    tabs: Vec<Tab<'a>>,
    seen: VecDeque<View>,
}

impl<'a> Browser<'a> {
    /// Starts one whose pages get the cookies of `jar`, and which does nothing after `end`; `None` when
    /// there is none.
    ///
    /// # Errors
    /// `unverified`: there is one, and it does not start, or not by then.
    pub(crate) fn start(rules: &'a Rules, jar: &'a Jar, end: Instant) -> Result<Option<Self>, Problem> {
        let Some(program) = process::find() else { return Ok(None) };
        let (process, commands, answers) = Process::start(&program)?;
        let wire = Wire::new(commands, answers);
        let (tabs, seen) = (Vec::new(), VecDeque::new());
        let mut browser = Self { rules, jar, end, wire, process, tabs, seen };
        match browser.await_answer() {
            Ok(()) => Ok(Some(browser)),
            Err(_) => Err(Problem::unverified(format!("{} does not start", program.display()))
                .detail(browser.process.said())
                .hint(format!("{} --version", quoted(program.display())))),
        }
    }

    /// From then on it tells of everything that pages open beside themselves.
    fn await_answer(&mut self) -> Result<(), Trouble> {
        let until = self.end.min(Instant::now() + START);
        let asked = self.wire.send(None, "Target.setDiscoverTargets", json!({ "discover": true }))?;
        while self.wire.receive(until)?["id"] != asked {}
        Ok(())
    }

    /// Whether it can open another page beside those that are open.
    pub(crate) fn has_room(&self) -> bool {
        self.is_fit() && (self.tabs.len() < TABS || self.tabs.iter().any(Tab::is_idle))
    }

    /// Whether no page has got it stuck.
    pub(crate) fn is_fit(&self) -> bool {
        self.tabs.iter().all(|tab| !tab.is_stuck)
    }

    /// Begins to look at `url`, the page of that number, for `limit` at most once it is asked for.
    ///
    /// # Errors
    /// The browser is gone.
    pub(crate) fn open(&mut self, page: usize, url: &Url, limit: Duration) -> Result<(), Trouble> {
        let at = self.tabs.iter().position(Tab::is_idle).unwrap_or(self.tabs.len());
        if at == self.tabs.len() {
            self.tabs.push(Tab::new(self.rules, self.jar, self.end));
        }
        self.tabs[at].open(&mut self.wire, (page, url), limit)
    }

    /// Waits for the next of the open pages to be over.
    ///
    /// # Errors
    /// The browser is gone or opens no page, or a signal came; what is wrong with a page is in its
    /// findings.
    pub(crate) fn next(&mut self) -> Result<View, Trouble> {
        loop {
            if let Some(view) = self.seen.pop_front() {
                return Ok(view);
            }
            let alarm = self.tabs.iter().filter_map(Tab::alarm).min();
            self.turn(alarm.ok_or(Trouble::Late)?)?;
        }
    }

    /// Ends it; what was seen of pages that were over, and that nobody has asked for yet.
    pub(crate) fn give_up(self) -> impl Iterator<Item = View> {
        self.seen.into_iter()
    }

    /// Waits for a message or for the clock, `until` at most, and moves the tabs on.
    fn turn(&mut self, until: Instant) -> Result<(), Trouble> {
        let message = match self.wire.receive(until) {
            Err(Trouble::Late) => Value::Null,
            received => received?,
        };
        for tab in &mut self.tabs {
            if tab.is_meant(&message) {
                self.seen.extend(tab.take(&mut self.wire, &message)?);
            }
            self.seen.extend(tab.advance(&mut self.wire)?);
        }
        Ok(())
    }
}
