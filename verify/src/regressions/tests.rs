//! Changes of a release, with and without the earlier one at hand.

use super::*;

struct Hosts {
    now: Option<Facts>,
    earlier: Option<Facts>,
}

impl Again for Hosts {
    fn now(&self, _: &Answered) -> Asked {
        asked(self.now.as_ref())
    }

    fn earlier(&self, _: &Answered) -> Asked {
        asked(self.earlier.as_ref())
    }
}

fn asked(facts: Option<&Facts>) -> Asked {
    facts.map_or(Asked::Silent, |facts| Asked::Answered(Box::new(facts.clone())))
}

/// Nobody has time any more; the earlier release still runs if `earlier` says so.
struct Late {
    earlier: bool,
}

impl Again for Late {
    fn now(&self, _: &Answered) -> Asked {
        Asked::NoTime
    }

    fn earlier(&self, _: &Answered) -> Asked {
        if self.earlier { Asked::NoTime } else { Asked::Silent }
    }
}

fn page(title: &str, links: &[&str], time_ms: u64) -> Facts {
    let links = links.iter().map(|link| (*link).to_owned()).collect();
    Facts { status: 200, title: Some(title.into()), links, time_ms, ..Facts::default() }
}

fn told(saved: Facts, found: Facts, hosts: &Hosts) -> Vec<String> {
    compared(saved, found, hosts).changes.iter().map(Change::sentence).collect()
}

fn compared(saved: Facts, found: Facts, hosts: &impl Again) -> Comparison {
    let page = Answered { name: "GET /".into(), path: "/".into(), cookies: None, facts: found };
    compare(&[("GET /".to_owned(), saved)].into(), &[page], hosts, &[])
}

#[test]
fn data_that_changed_meanwhile_is_no_regression_of_the_code() {
    let (saved, found) = (page("Inbox (2)", &["/a", "/b"], 1), page("Inbox (3)", &["/a"], 1));
    let nobody = Hosts { now: None, earlier: None };
    assert_eq!(
        told(saved.clone(), found.clone(), &nobody),
        ["GET / lost the link /b", "GET / changed its title from 'Inbox (2)' to 'Inbox (3)'"]
    );
    let same_data = Hosts { now: None, earlier: Some(page("Inbox (3)", &["/a"], 1)) };
    assert!(told(saved.clone(), found.clone(), &same_data).is_empty());
    let link_is_there = Hosts { now: None, earlier: Some(page("Inbox (3)", &["/a", "/b"], 1)) };
    assert_eq!(told(saved.clone(), found.clone(), &link_is_there), ["GET / lost the link /b"]);
    let new_data = Hosts { now: None, earlier: Some(page("Inbox (3)", &["/a", "/c"], 1)) };
    assert!(told(saved, found, &new_data).is_empty());
}

#[test]
fn an_earlier_release_that_answers_otherwise_by_now_tells_nothing() {
    let (saved, found) = (page("T", &["/a"], 1), page("T", &[], 1));
    let logged_out = Facts { status: 302, redirect: Some("/login".into()), ..Facts::default() };
    let failing = Facts { status: 500, ..Facts::default() };
    for earlier in [logged_out, failing] {
        let hosts = Hosts { now: None, earlier: Some(earlier) };
        assert_eq!(told(saved.clone(), found.clone(), &hosts), ["GET / lost the link /a"]);
    }
}

#[test]
fn of_a_crawled_page_only_the_earlier_release_itself_tells_what_changed() {
    let crawled = |title: &str| Facts { crawled: true, ..page(title, &[], 1) };
    let (saved, found) = (crawled("Before"), crawled("After"));
    let hosts = |earlier| Hosts { now: None, earlier };
    assert!(told(saved.clone(), found.clone(), &hosts(None)).is_empty());
    let gone = Facts { status: 404, ..Facts::default() };
    assert!(told(saved.clone(), found.clone(), &hosts(Some(gone))).is_empty());
    assert!(told(saved.clone(), page("After", &[], 1), &hosts(None)).is_empty(), "a route since");
    let same_data = hosts(Some(page("Before", &[], 1)));
    assert_eq!(told(saved, found, &same_data), ["GET / changed its title from 'Before' to 'After'"]);
}

#[test]
fn what_a_page_does_not_do_each_time_is_no_change() {
    let (saved, found) = (page("T", &["/a", "/b"], 1), page("T", &["/a"], 1));
    let earlier = || Some(page("T", &["/a", "/b"], 1));
    let random = Hosts { now: Some(page("T", &["/b"], 1)), earlier: earlier() };
    assert!(told(saved.clone(), found.clone(), &random).is_empty());
    let lost = Hosts { now: Some(page("T", &["/a"], 1)), earlier: earlier() };
    assert_eq!(told(saved, found, &lost), ["GET / lost the link /b"]);
}

#[test]
fn of_a_list_that_was_cut_no_link_is_said_to_be_lost() {
    let many = |first: usize| {
        let links: Vec<String> = (first..first + facts::MOST_LINKS).map(|at| format!("/{at:04}")).collect();
        page("T", &links.iter().map(String::as_str).collect::<Vec<_>>(), 1)
    };
    assert!(told(many(1), many(0), &Hosts { now: None, earlier: None }).is_empty());
}

#[test]
fn one_slow_answer_is_not_believed() {
    let (saved, found) = (page("T", &[], 10), page("T", &[], 2000));
    let quick = Hosts { now: Some(page("T", &[], 12)), earlier: None };
    assert!(told(saved.clone(), found.clone(), &quick).is_empty());
    let slow = Hosts { now: Some(page("T", &[], 1900)), earlier: None };
    assert_eq!(told(saved.clone(), found.clone(), &slow), ["GET / takes 1900 ms instead of 10 ms"]);
    let slow_host = Hosts { now: Some(page("T", &[], 1900)), earlier: Some(page("T", &[], 1500)) };
    assert!(told(saved, found, &slow_host).is_empty());
}

/// A change that the earlier release confirms stands, though there is no time to ask this one again.
#[test]
fn a_change_that_was_confirmed_once_stands() {
    struct Confirmed(Facts);
    impl Again for Confirmed {
        fn now(&self, _: &Answered) -> Asked {
            Asked::NoTime
        }

        fn earlier(&self, _: &Answered) -> Asked {
            asked(Some(&self.0))
        }
    }
    let saved = page("A", &[], 1);
    let comparison = compared(saved.clone(), page("B", &[], 1), &Confirmed(saved));
    assert_eq!((comparison.changes.len(), comparison.compared), (1, 1));
}

#[test]
fn what_there_was_no_time_to_ask_again_is_neither_changed_nor_compared() {
    let told = |saved: Facts, found: Facts, earlier: bool| {
        let comparison = compared(saved, found, &Late { earlier });
        let left = [comparison.left_routes.len(), comparison.left_crawled.len(), comparison.untold];
        (comparison.changes.len(), comparison.compared, left)
    };
    let crawled = |title: &str| Facts { crawled: true, ..page(title, &[], 1) };
    assert_eq!(told(page("T", &[], 1), page("T", &[], 1), true), (0, 1, [0, 0, 0]), "it is the same");
    assert_eq!(told(page("A", &[], 1), page("B", &[], 1), true), (0, 0, [1, 0, 0]));
    assert_eq!(told(page("A", &[], 1), page("A", &[], 900), false), (0, 0, [1, 0, 0]), "slow once");
    assert_eq!(told(page("A", &[], 1), page("B", &[], 1), false), (1, 1, [0, 0, 0]));
    assert_eq!(
        told(page("A", &[], 1), page("B", &[], 900), false),
        (1, 1, [0, 0, 0]),
        "changed and slow once"
    );
    assert_eq!(told(crawled("A"), crawled("B"), true), (0, 0, [0, 1, 0]));
    assert_eq!(told(crawled("A"), crawled("B"), false), (0, 0, [0, 0, 1]));
}
