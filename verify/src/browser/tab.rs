//! One tab: a page on its way from a clean start over loading and settling to its picture, moved on
//! by each message and by the clock. It never waits itself, so that others go on beside it.
//!
//! It takes another page only where nothing of the one before can still be under way, and begins with
//! a browser context of its own otherwise: a late answer must not set a cookie for the next page.

use std::mem::take;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde_json::{Value, json};

use super::View;
use super::ending::Ending;
use super::process::BLANK;
use super::setting::{self, Command};
use super::visit::{Phase, Visit};
use super::watch::Watch;
use super::wire::{Trouble, Wire};
use crate::checks::Browser as Rules;
use crate::http::Jar;

/// A page that is not left in this time is thrown away with its context.
const LEAVING: Duration = Duration::from_secs(2);

/// A tab of the browser, with the page that is looked at in it.
pub(super) struct Tab<'a> {
    rules: &'a Rules,
    jar: &'a Jar,
    /// Of the whole run.
    end: Instant,
    /// Names its browser context, its target there, and itself in commands and events.
    context: String,
    target: String,
    session: String,
    /// Of the page that was opened last.
    watch: Watch<'a>,
    visit: Option<Visit>,
    /// A page hangs in it, or has crashed it.
    pub(super) is_stuck: bool,
}

impl<'a> Tab<'a> {
    /// For pages until `end`.
    pub(super) fn new(rules: &'a Rules, jar: &'a Jar, end: Instant) -> Self {
        let (context, target, session) = (String::new(), String::new(), String::new());
        let watch = Watch::new(rules);
        Self { rules, jar, end, context, target, session, watch, visit: None, is_stuck: false }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.visit.is_none()
    }

    /// Whether the message is for this tab: an event of it or of its context, or an answer.
    pub(super) fn is_meant(&self, message: &Value) -> bool {
        if let Some(session) = message["sessionId"].as_str() {
            return session == self.session;
        }
        if let Some(number) = message["id"].as_u64() {
            return self.visit.as_ref().is_some_and(|visit| visit.sent.contains(&number));
        }
        let target = &message["params"]["targetInfo"];
        target["browserContextId"] == self.context.as_str() && target["targetId"] != self.target.as_str()
    }

    /// When it must be looked after although no message has come.
    pub(super) fn alarm(&self) -> Option<Instant> {
        let visit = self.visit.as_ref()?;
        match visit.phase {
            Phase::Settling(end) => Some(end.min(visit.until)),
            _ => Some(visit.until),
        }
    }

    /// Begins to look at the page of that number, for `limit` once it is asked for.
    ///
    /// # Errors
    /// [`Trouble::Gone`].
    pub(super) fn open(
        &mut self,
        wire: &mut Wire,
        page: (usize, &Url),
        limit: Duration,
    ) -> Result<(), Trouble> {
        let mut visit = Visit::new(page, limit, self.end);
        let url = page.1;
        if self.context.is_empty() || self.watch.may_linger(url) {
            self.isolate(wire, &mut visit)?;
        } else {
            visit.sent = self.send(wire, setting::stopping(url))?;
            visit.enter(Phase::Stopping, Some(LEAVING));
        }
        self.visit = Some(visit);
        Ok(())
    }

    fn send(&self, wire: &mut Wire, commands: Vec<Command>) -> Result<Vec<u64>, Trouble> {
        let send = |(method, params)| wire.send(Some(&self.session), method, params);
        commands.into_iter().map(send).collect()
    }

    /// Ends all that pages have left in it.
    fn discard(&mut self, wire: &mut Wire) -> Result<(), Trouble> {
        let context = take(&mut self.context);
        if !context.is_empty() {
            wire.send(None, "Target.disposeBrowserContext", json!({ "browserContextId": context }))?;
        }
        self.session.clear();
        self.watch = Watch::new(self.rules);
        Ok(())
    }

    /// Has a context made for the next page.
    fn isolate(&mut self, wire: &mut Wire, visit: &mut Visit) -> Result<(), Trouble> {
        self.discard(wire)?;
        visit.sent = vec![wire.send(None, "Target.createBrowserContext", json!({}))?];
        visit.enter(Phase::Isolating, None);
        Ok(())
    }

    /// Takes a message for this tab; what was seen when it ends the visit.
    ///
    /// # Errors
    /// [`Trouble::Gone`]; the browser's own words when it refuses what has nothing to do with the page.
    pub(super) fn take(&mut self, wire: &mut Wire, message: &Value) -> Result<Option<View>, Trouble> {
        if let Some(event) = message["method"].as_str() {
            if let Some((method, params)) = self.watch.see(event, &message["params"]) {
                wire.send(Some(&self.session), method, params)?;
            }
            return Ok(None);
        }
        let Some(mut visit) = self.visit.take() else { return Ok(None) };
        let ending = self.answered(wire, &mut visit, message)?;
        Ok(self.go_on(visit, ending))
    }

    /// Takes the answer to a command; how the visit ends when that ends it.
    fn answered(
        &mut self,
        wire: &mut Wire,
        visit: &mut Visit,
        message: &Value,
    ) -> Result<Option<Ending>, Trouble> {
        let number = message["id"].as_u64().unwrap_or_default();
        let Some(at) = visit.sent.iter().position(|sent| *sent == number) else { return Ok(None) };
        visit.sent.remove(at);
        let (result, refusal) = (&message["result"], message["error"]["message"].as_str());
        Ok(match (visit.phase, refusal) {
            (Phase::Opening, _) => {
                visit.phase = Phase::Loading;
                refusal.or(result["errorText"].as_str()).map(|words| Ending::Refused(words.to_owned()))
            }
            (Phase::Picturing, Some(words)) => Some(Ending::Refused(words.to_owned())),
            (Phase::Picturing, None) => Some(Ending::Seen(result["data"].as_str().and_then(decode))),
            (Phase::Stopping | Phase::Leaving | Phase::Cleaning, Some(_)) => {
                self.isolate(wire, visit).map(|()| None)?
            }
            // The page's own cookies. The next must not begin in a window that is set half.
            (Phase::Setting, Some(words)) if visit.cookies == Some(number) => {
                self.discard(wire)?;
                Some(Ending::Refused(words.to_owned()))
            }
            (_, Some(words)) => return Err(Trouble::Refused(words.to_owned())),
            (_, None) => self.prepare(wire, visit, result).map(|()| None)?,
        })
    }

    /// Goes on with what the browser has made.
    fn prepare(&mut self, wire: &mut Wire, visit: &mut Visit, result: &Value) -> Result<(), Trouble> {
        let named = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
        match visit.phase {
            Phase::Isolating => {
                self.context = named("browserContextId");
                let target = json!({ "url": BLANK, "browserContextId": self.context });
                visit.sent.push(wire.send(None, "Target.createTarget", target)?);
                visit.phase = Phase::Creating;
            }
            Phase::Creating => {
                self.target = named("targetId");
                let target = json!({ "targetId": self.target, "flatten": true });
                visit.sent.push(wire.send(None, "Target.attachToTarget", target)?);
                visit.phase = Phase::Attaching;
            }
            Phase::Attaching => {
                self.session = named("sessionId");
                let commands = setting::beginning(self.rules, self.jar, &visit.url);
                let cookies = commands.iter().position(|(method, _)| *method == setting::COOKIES);
                visit.sent = self.send(wire, commands)?;
                visit.cookies = cookies.map(|at| visit.sent[at]);
                visit.phase = Phase::Setting;
            }
            _ => {}
        }
        Ok(())
    }

    /// Goes on as far as the page and the clock allow; what was seen when the visit is over.
    ///
    /// # Errors
    /// [`Trouble::Gone`], [`Trouble::Late`] when the browser opens no page although there is time.
    pub(super) fn advance(&mut self, wire: &mut Wire) -> Result<Option<View>, Trouble> {
        let Some(mut visit) = self.visit.take() else { return Ok(None) };
        let ending = self.advance_visit(wire, &mut visit)?;
        Ok(self.go_on(visit, ending))
    }

    fn advance_visit(&mut self, wire: &mut Wire, visit: &mut Visit) -> Result<Option<Ending>, Trouble> {
        let (now, is_answered) = (Instant::now(), visit.sent.is_empty());
        match visit.phase {
            _ if visit.is_too_late() => return Ok(Some(Ending::Late)),
            Phase::Leaving if is_answered && self.watch.is_left && !self.watch.may_linger(&visit.url) => {
                visit.sent = self.send(wire, setting::cleaning(self.jar, &visit.url))?;
                visit.enter(Phase::Cleaning, None);
            }
            Phase::Stopping | Phase::Leaving | Phase::Cleaning
                if now >= visit.until || self.watch.crashed =>
            {
                self.isolate(wire, visit)?;
            }
            Phase::Stopping if is_answered => {
                visit.sent = self.send(wire, vec![("Page.navigate", json!({ "url": BLANK }))])?;
                visit.phase = Phase::Leaving;
            }
            Phase::Setting | Phase::Cleaning if is_answered => {
                self.watch = Watch::new(self.rules);
                visit.sent =
                    self.send(wire, vec![("Page.navigate", json!({ "url": visit.url.as_str() }))])?;
                visit.navigate();
            }
            _ if visit.is_before_page() => {
                let is_stuck = self.watch.crashed || now >= visit.until;
                return if is_stuck { Err(Trouble::Late) } else { Ok(None) };
            }
            _ if self.watch.crashed => return Ok(Some(Ending::Crashed)),
            Phase::Settling(end) if self.watch.loaded && now >= end.min(visit.until) => {
                let format = json!({ "format": "png", "optimizeForSpeed": true });
                visit.sent = self.send(wire, vec![("Page.captureScreenshot", format)])?;
                visit.phase = Phase::Picturing;
            }
            // It has loaded, and was watched for as long as there was.
            Phase::Picturing if now >= visit.until && self.watch.loaded => {
                return Ok(Some(Ending::Seen(None)));
            }
            _ if now >= visit.until => return Ok(Some(Ending::Late)),
            Phase::Loading if self.watch.loaded => visit.phase = Phase::Settling(now + self.rules.settle),
            // A script has led elsewhere meanwhile.
            Phase::Settling(_) if !self.watch.loaded => visit.phase = Phase::Loading,
            _ => {}
        }
        Ok(None)
    }

    /// Keeps a visit that goes on; else what was seen.
    fn go_on(&mut self, visit: Visit, ending: Option<Ending>) -> Option<View> {
        let Some(ending) = ending else {
            self.visit = Some(visit);
            return None;
        };
        let duration = visit.begun.elapsed();
        let late = matches!(ending, Ending::Late).then(|| visit.granted());
        self.is_stuck = self.watch.crashed || late.is_some();
        let (mut findings, picture) = ending.told(&self.watch, &visit.url, duration);
        findings.extend(self.watch.findings());
        Some(View { page: visit.page, findings, picture, load: self.watch.load, duration, late })
    }
}

fn decode(picture: &str) -> Option<Vec<u8>> {
    STANDARD.decode(picture).ok()
}
