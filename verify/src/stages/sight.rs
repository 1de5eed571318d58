//! What was seen of the app: the lists of its routes, the pages of those, and the crawl from there.
//! Each is looked for once, by the first stage that needs it.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use common::report::Problem;

use super::pages::{Page, Visit};
use super::visiting;
use crate::crawl::{self, AT_ONCE, Atlas, Crawl, Sighting, Visitor, address};
use crate::discovery::Survey;
use crate::http::Asker;
use crate::subject::Subject;

/// So many pages that only the crawl comes to are compared with the release before.
const COMPARED: usize = 500;

/// Lazily, all that the stages judge.
pub(crate) struct Sight<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) asker: Asker,
    pub(crate) atlas: Atlas,
    survey: &'a OnceCell<Survey>,
    visit: OnceCell<Visit<'a>>,
    crawl: OnceCell<Result<Crawl, String>>,
}

impl<'a> Sight<'a> {
    /// `survey` is where the lists are kept, which outlive what is made of them.
    ///
    /// # Errors
    /// `unverified` when no request can be made at all.
    pub(crate) fn new(subject: &'a Subject, survey: &'a OnceCell<Survey>) -> Result<Self, Problem> {
        let asker = Asker::new(&subject.address)?.keeping(AT_ONCE)?;
        let hosts = subject.checks.links.iter().flat_map(|links| links.hosts.iter().cloned());
        let own = hosts.chain([subject.listen.to_string()]).collect();
        let atlas = Atlas::new(&asker.url("/"), own, &subject.elsewhere);
        Ok(Self { subject, asker, atlas, survey, visit: OnceCell::new(), crawl: OnceCell::new() })
    }

    /// The routes that the app lists.
    pub(crate) fn survey(&self) -> &'a Survey {
        self.survey.get_or_init(|| Survey::take(self.subject, &self.asker))
    }

    /// The pages of the routes, declared and discovered.
    pub(crate) fn visit(&self) -> &Visit<'a> {
        self.visit.get_or_init(|| {
            let routes: Vec<_> = self.subject.checks.routes.iter().chain(&self.survey().routes).collect();
            visiting::ask(self.subject, &self.asker, &routes)
        })
    }

    /// The page of a route, by the route's name, where any were asked.
    pub(super) fn asked(&self, name: &str) -> Option<&Page<'a>> {
        self.visit.get()?.pages.iter().find(|page| page.route.name() == name)
    }

    /// The crawl, or why there is none.
    pub(crate) fn crawl(&self) -> Result<&Crawl, &str> {
        self.crawl.get_or_init(|| self.begin_crawl()).as_ref().map_err(String::as_str)
    }

    /// The cookies of the crawl's session.
    pub(crate) fn cookies(&self) -> Option<String> {
        let session = self.subject.checks.links.as_ref()?.session.as_ref()?;
        self.visit().jar(session).ok()?.header()
    }

    fn begin_crawl(&self) -> Result<Crawl, String> {
        let links = self.subject.checks.links.as_ref().ok_or("verify.toml has no [links]")?;
        let visit = self.visit();
        if let Some(session) = &links.session {
            visit.jar(session)?;
        }
        let visitor = Visitor {
            asker: &self.asker,
            atlas: &self.atlas,
            links,
            cookies: self.cookies(),
            absent: &self.subject.checks.absent,
            until: self.subject.until,
            large: Mutex::new(()),
            secrets: self.subject.checks.regressions.as_ref().map(|_| &self.subject.secrets),
            room: AtomicUsize::new(COMPARED),
        };
        let mut first = vec![(address::path_of(&self.asker.url(&links.start)), None)];
        first.extend(visit.pages.iter().filter_map(|page| self.known(page)));
        first.sort_by_key(|(_, sighting)| sighting.is_none());
        let mut entered = HashSet::new();
        first.retain(|(path, _)| entered.insert(path.clone()));
        Ok(crawl::crawl(&visitor, links, self.subject.until, first))
    }

    /// A page that was asked already, as a visitor of the crawl would see it.
    fn known(&self, page: &Page<'_>) -> Option<(String, Option<Sighting>)> {
        let sighting = page.sighting()?.clone();
        Some((address::path_of(&self.asker.url(&page.asked().path)), Some(sighting)))
    }
}
