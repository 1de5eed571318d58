//! The crawl: from the first pages over every link inside the app, each address asked once, with
//! GET alone. No body is kept; what is right or wrong of it is for the stages.
//!
//! `address` knows where a link leads, `sheet` what a page has, `attribute` and `style` what an
//! attribute or a style sheet names, `node` what is known of an address, `frontier` what is asked
//! next, `visit` asks.

pub(crate) mod address;
mod attribute;
mod frontier;
mod node;
pub(crate) mod sheet;
mod style;
mod visit;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use address::Target;
use frontier::{Frontier, Limits};
use sheet::FormSeen;

pub(crate) use address::Atlas;
pub(crate) use node::{Answer, Ending, Node, Reason, Referrer};
pub(crate) use visit::{Sighting, Visitor};

use crate::checks::Links;

/// Requests in flight at most.
pub(crate) const AT_ONCE: usize = 16;
/// So many links that lead out of the app, or nowhere, are told apart.
const STRAYS_KEPT: usize = 2000;

/// What a crawl found.
#[derive(Debug, Default)]
pub(crate) struct Crawl {
    pub(crate) nodes: Vec<Node>,
    /// Links that lead out of the app, or nowhere.
    pub(crate) strays: BTreeMap<Target, Stray>,
    /// Each form once, however many pages have it, by what it sends and where it is sent from.
    pub(crate) forms: BTreeMap<FormKey, FormPlace>,
    /// Number of each address.
    index: HashMap<String, usize>,
}

/// The first link of those that lead to one place, and how many there are.
#[derive(Debug)]
pub(crate) struct Stray {
    pub(crate) first: Referrer,
    pub(crate) count: usize,
}

/// A form and where its action leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FormKey {
    pub(crate) form: FormSeen,
    pub(crate) target: Target,
}

/// The first page that has a form, and how many have it.
#[derive(Debug)]
pub(crate) struct FormPlace {
    pub(crate) page: usize,
    pub(crate) count: usize,
}

/// Crawls from `first` pages; those that had been asked already come with what was seen.
pub(crate) fn crawl(
    visitor: &Visitor<'_>,
    links: &Links,
    until: Instant,
    first: Vec<(String, Option<Sighting>)>,
) -> Crawl {
    let limits = Limits {
        depth: links.depth,
        pages: links.pages,
        until: until.min(Instant::now() + links.time()),
        interval: links.rate.map(|rate| Duration::from_secs(1) / rate.max(1)),
        at_once: AT_ONCE,
    };
    let (frontier, found) = (Frontier::new(limits), Mutex::new(Crawl::default()));
    let numbers: Vec<usize> = first.iter().map(|(path, _)| frontier.enter(path)).collect();
    for (number, (path, sighting)) in numbers.into_iter().zip(first) {
        match sighting {
            Some(sighting) => {
                let leads = sort(&found, visitor, number, &path, &sighting);
                frontier.give_known(number, sighting.answer, leads);
            }
            None => frontier.queue(number),
        }
    }
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE {
            scope.spawn(|| work(visitor, &frontier, &found));
        }
        work(visitor, &frontier, &found);
    });
    let mut crawl = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    crawl.nodes = frontier.finish();
    crawl.index = crawl.nodes.iter().enumerate().map(|(number, node)| (node.path.clone(), number)).collect();
    crawl
}

fn work(visitor: &Visitor<'_>, frontier: &Frontier, found: &Mutex<Crawl>) {
    while let Some(task) = frontier.take() {
        match visitor.visit(&task, frontier) {
            Ok(sighting) => {
                let leads = sort(found, visitor, task.number, &task.path, &sighting);
                frontier.give(task.number, sighting.answer, leads);
            }
            Err(pause) => frontier.put_back(task.number, pause),
        }
    }
}

/// Tells the links into the app from the others, which are noted along with the forms.
fn sort(
    found: &Mutex<Crawl>,
    visitor: &Visitor<'_>,
    number: usize,
    path: &str,
    sighting: &Sighting,
) -> Vec<frontier::Lead> {
    let (leads, strays) = visitor.follow(path, sighting);
    let forms: Vec<FormKey> = visitor.forms(path, sighting).collect();
    let mut crawl = found.lock().unwrap_or_else(PoisonError::into_inner);
    for (target, written) in strays {
        crawl.note(target, Referrer { page: number, written });
    }
    for key in forms {
        crawl.forms.entry(key).or_insert(FormPlace { page: number, count: 0 }).count += 1;
    }
    leads
}

impl Crawl {
    fn note(&mut self, target: Target, first: Referrer) {
        if let Some(known) = self.strays.get_mut(&target) {
            known.count += 1;
        } else if self.strays.len() < STRAYS_KEPT {
            self.strays.insert(target, Stray { first, count: 1 });
        }
    }

    /// The address of that path.
    pub(crate) fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(*self.index.get(path)?)
    }

    /// Addresses that answered, with their answers.
    pub(crate) fn answered(&self) -> impl Iterator<Item = (&Node, &Answer)> {
        self.nodes.iter().filter_map(|node| Some((node, node.answer()?)))
    }
}
