//! Which page is opened when, and again: a browser that ended, or got stuck, must cost only the page
//! at fault. Pages end in any order.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::time::Instant;

use common::interrupt;
use common::report::Problem;

use super::super::LIMIT;
use super::{Seen, missing};
use crate::browser::{Browser, Trouble};
use crate::checks::Browser as Rules;
use crate::http::{Asker, Jar};
use crate::subject::Subject;

/// A page to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Task {
    page: usize,
    /// Nothing is opened beside it.
    alone: bool,
    /// It was open when the browser ended.
    suspect: bool,
}

/// All pages, those that wait and those that are open.
pub(super) struct Visits<'a> {
    subject: &'a Subject,
    rules: &'a Rules,
    asker: &'a Asker,
    jar: &'a Jar,
    /// None after a page that it did not get over.
    browser: Option<Browser<'a>>,
    waiting: VecDeque<Task>,
    open: Vec<Task>,
}

impl<'a> Visits<'a> {
    /// The first page is opened alone: what an app says or makes once, it says and makes there.
    pub(super) fn new(
        subject: &'a Subject,
        rules: &'a Rules,
        asker: &'a Asker,
        jar: &'a Jar,
        browser: Browser<'a>,
    ) -> Self {
        let task = |page| Task { page, alone: page == 0, suspect: false };
        let waiting = (0..rules.pages.len()).map(task).collect();
        Self { subject, rules, asker, jar, browser: Some(browser), waiting, open: Vec::new() }
    }

    /// Has every page opened; what became of each goes to `seen`, with its number.
    ///
    /// # Errors
    /// `interrupted`.
    pub(super) fn run(mut self, seen: &Sender<(usize, Seen)>) -> Result<(), Problem> {
        let tell = |page, what| {
            // Nobody stops listening before the last page.
            let _ = seen.send((page, what));
        };
        loop {
            self.open_more(&tell)?;
            if self.open.is_empty() {
                return Ok(());
            }
            let Some(browser) = &mut self.browser else { continue };
            match browser.next() {
                Ok(view) => {
                    let is_fit = browser.is_fit();
                    self.open.retain(|task| task.page != view.page);
                    tell(view.page, Seen::View(view));
                    if !is_fit {
                        self.begin_again(false, &tell);
                    }
                }
                Err(trouble) => self.lose(&trouble, &tell)?,
            }
        }
    }

    /// Opens as many of the pages that wait as may be open at once.
    fn open_more(&mut self, tell: &impl Fn(usize, Seen)) -> Result<(), Problem> {
        while let Some(task) = self.waiting.front().copied() {
            if !self.open.is_empty() && (task.alone || self.open.iter().any(|task| task.alone)) {
                return Ok(());
            }
            let left = self.subject.remaining(LIMIT);
            if left.is_zero() {
                self.waiting.pop_front();
                tell(task.page, Seen::Unasked);
                continue;
            }
            if let Err(problem) = self.revive() {
                interrupt::check()?;
                self.waiting.pop_front();
                tell(task.page, Seen::Absent(problem));
                continue;
            }
            let Some(browser) = self.browser.as_mut().filter(|browser| browser.has_room()) else {
                return Ok(());
            };
            self.waiting.pop_front();
            self.open.push(task);
            let url = self.asker.url(&self.rules.pages[task.page]);
            if let Err(trouble) = browser.open(task.page, &url, Instant::now() + left) {
                self.lose(&trouble, tell)?;
            }
        }
        Ok(())
    }

    /// Starts a browser where there is none.
    fn revive(&mut self) -> Result<(), Problem> {
        if self.browser.is_none() {
            let started = Browser::start(self.rules, &self.asker.url("/"), self.jar)?;
            self.browser = Some(started.ok_or_else(missing)?);
        }
        Ok(())
    }

    /// The browser is gone, and nobody knows through which of the open pages.
    fn lose(&mut self, trouble: &Trouble, tell: &impl Fn(usize, Seen)) -> Result<(), Problem> {
        if *trouble == Trouble::Interrupted {
            interrupt::check()?;
        }
        self.begin_again(true, tell);
        Ok(())
    }

    /// Ends the browser and puts its open pages back, where one that was open alone is told instead
    /// if it ended its second browser.
    fn begin_again(&mut self, is_lost: bool, tell: &impl Fn(usize, Seen)) {
        self.browser = None;
        for task in self.open.drain(..).rev() {
            if is_lost && task.suspect {
                tell(task.page, Seen::Fatal);
                continue;
            }
            let suspect = is_lost || task.suspect;
            self.waiting.push_front(Task { alone: task.alone || suspect, suspect, ..task });
        }
    }
}
