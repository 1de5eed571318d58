//! Which page is opened when, and again: a browser that ended, or got stuck, must cost only the page
//! at fault. Pages end in any order.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;

use common::interrupt;
use common::report::Problem;

use super::super::LIMIT;
use super::{Seen, missing};
use crate::browser::{Browser, Trouble, View};
use crate::checks::Browser as Rules;
use crate::http::{Asker, Jar};
use crate::subject::{FAIR, Subject};

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
    /// None after a page that it did not get over, and where the time was over before it started.
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
        browser: Option<Browser<'a>>,
    ) -> Self {
        let task = |page| Task { page, alone: page == 0, suspect: false };
        let waiting = (0..rules.pages.len()).map(task).collect();
        Self { subject, rules, asker, jar, browser, waiting, open: Vec::new() }
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
                    self.close(view, &tell);
                    if !is_fit {
                        self.begin_again(None, &tell);
                    }
                }
                Err(trouble) => self.lose(&trouble, &tell)?,
            }
        }
    }

    /// Tells what was seen of a page, unless it was late and may only have waited for the others, or
    /// for want of time.
    fn close(&mut self, view: View, tell: &impl Fn(usize, Seen)) {
        let at = self.open.iter().position(|task| task.page == view.page);
        match at.map(|at| self.open.remove(at)).zip(view.late) {
            Some((_, granted)) if granted < FAIR => tell(view.page, Seen::Unasked),
            Some((task, _)) if !task.alone => self.waiting.push_front(Task { alone: true, ..task }),
            _ => tell(view.page, Seen::View(view)),
        }
    }

    /// Opens as many of the pages that wait as may be open at once.
    fn open_more(&mut self, tell: &impl Fn(usize, Seen)) -> Result<(), Problem> {
        while let Some(task) = self.waiting.front().copied() {
            if !self.open.is_empty() && (task.alone || self.open.iter().any(|task| task.alone)) {
                return Ok(());
            }
            if self.subject.remaining(LIMIT).is_zero() {
                self.waiting.pop_front();
                tell(task.page, Seen::Unasked);
                continue;
            }
            if let Err(problem) = self.revive() {
                interrupt::check()?;
                self.waiting.pop_front();
                let is_over = self.subject.remaining(LIMIT).is_zero();
                tell(task.page, if is_over { Seen::Unasked } else { Seen::Absent(problem) });
                continue;
            }
            let Some(browser) = self.browser.as_mut().filter(|browser| browser.has_room()) else {
                return Ok(());
            };
            self.waiting.pop_front();
            self.open.push(task);
            let url = self.asker.url(&self.rules.pages[task.page]);
            if let Err(trouble) = browser.open(task.page, &url, LIMIT) {
                self.lose(&trouble, tell)?;
            }
        }
        Ok(())
    }

    /// Starts a browser where there is none.
    fn revive(&mut self) -> Result<(), Problem> {
        if self.browser.is_none() {
            let started = Browser::start(self.rules, self.jar, self.subject.until)?;
            self.browser = Some(started.ok_or_else(missing)?);
        }
        Ok(())
    }

    /// The browser is gone, and nobody knows through which of the open pages.
    fn lose(&mut self, trouble: &Trouble, tell: &impl Fn(usize, Seen)) -> Result<(), Problem> {
        if *trouble == Trouble::Interrupted {
            interrupt::check()?;
        }
        self.begin_again(Some(trouble), tell);
        Ok(())
    }

    /// Ends the browser, which that trouble or a page made useless, and puts its open pages back, where
    /// one that was open alone is told instead if this is the second browser that it lost. What was
    /// seen of others by then counts.
    fn begin_again(&mut self, lost: Option<&Trouble>, tell: &impl Fn(usize, Seen)) {
        for view in self.browser.take().into_iter().flat_map(Browser::give_up) {
            self.close(view, tell);
        }
        for task in self.open.drain(..).rev() {
            if let Some(trouble) = lost.filter(|_| task.suspect) {
                tell(task.page, Seen::Fatal(trouble.clone()));
                continue;
            }
            let suspect = lost.is_some() || task.suspect;
            self.waiting.push_front(Task { alone: task.alone || suspect, suspect, ..task });
        }
    }
}
