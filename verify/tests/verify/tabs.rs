//! Pages beside and after each other in one Chromium: none reaches into another, and one that hangs,
//! crashes or comes too late costs only itself.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::{Pid, Signal, kill_process};

use crate::browser::{BROWSER, browser, has_browser, programs, wait_until};
use crate::world::World;
use crate::world::processes::{groups_of, is_busy, is_renderer, processes_of};

/// Each of them has a context of its own made, at the end of the run, too.
#[test]
fn pages_that_there_is_no_time_for_are_not_at_fault() {
    if !has_browser() {
        return;
    }
    let pages = often(&["lingering"], 600);
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    let world = World::new(&browser(&pages, ""), "deadlines = { verify = \"15s\" }").serving(&[]);
    let run = world.verify(BROWSER);
    let endings = pages.iter().map(|page| {
        let step = run.step(&format!("browser.GET /browser/{page}"));
        (step["status"] == "passed", step["problem"]["title"].as_str().unwrap_or_default())
    });
    for (passed, title) in endings.clone() {
        assert!(passed || title.contains("the time for the whole verification was over"), "{title}");
    }
    assert!(endings.clone().any(|(passed, _)| passed) && endings.clone().any(|(passed, _)| !passed));
}

/// Each page several times, under several addresses.
fn often(pages: &[&str], times: usize) -> Vec<String> {
    (0..times).flat_map(|number| pages.iter().map(move |page| format!("{page}?{number}"))).collect()
}

#[test]
fn pages_side_by_side_are_seen_as_each_would_be_alone() {
    if !has_browser() {
        return;
    }
    let expected = [
        ("front", "passed"),
        ("drawn", "script-error"),
        ("clean", "passed"),
        ("late", "script-error"),
        ("slow", "passed"),
    ];
    let pages = often(&expected.map(|(page, _)| page), 5);
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    let world = World::new(&browser(&pages, ""), "").serving(&[]);
    let path = std::env::var("PATH").unwrap();
    for program in programs() {
        // What is found first.
        let dir = tempfile::tempdir().unwrap();
        symlink(&program, dir.path().join("chromium-headless-shell")).unwrap();
        let run = world.verify_in(BROWSER, "PATH", &format!("{}:{path}", dir.path().display()));
        for page in &pages {
            let step = format!("browser.GET /browser/{page}");
            let (_, ending) = expected.iter().find(|(name, _)| page.starts_with(name)).unwrap();
            assert_eq!(run.ending(&step), *ending, "{} {page}: {}", program.display(), run.step(&step));
        }
        let looks = run.report["details"]["verify"]["browser"].as_array().unwrap();
        let seen: Vec<&str> = looks.iter().map(|look| look["page"].as_str().unwrap()).collect();
        assert_eq!(seen, pages.iter().map(|page| format!("GET /browser/{page}")).collect::<Vec<_>>());
    }
}

/// What a page has asked for before it was over is answered while the next one loads.
#[test]
fn a_late_answer_sets_no_cookie_for_the_next_page() {
    if !has_browser() {
        return;
    }
    for first in ["lingering", "deferred", "working", "framed"] {
        let asked = all_pass(&[first, "after"]).asked();
        // What the others ask for is given up with them when it has not been sent yet.
        assert!(first != "lingering" || !asked.is_empty(), "nothing was under way");
    }
}

/// A page is left with its scripts at rest: none of them keeps anything for the next one.
#[test]
fn a_page_that_is_left_keeps_nothing_for_the_next_one() {
    if has_browser() {
        all_pass(&["leaving", "clean", "leaving?1", "clean?1", "sound", "clean?2"]);
    }
}

fn all_pass(pages: &[&str]) -> World {
    let world = World::new(&browser(pages, ""), "").serving(&[]);
    let run = world.verify(BROWSER);
    for page in pages {
        let step = format!("browser.GET /browser/{page}");
        assert_eq!(run.ending(&step), "passed", "{pages:?} {}", run.step(&step));
    }
    world
}

#[test]
fn a_page_that_hangs_beside_others_costs_only_itself() {
    if !has_browser() {
        return;
    }
    let pages = ["sound", "endless", "sound?1", "late", "sound?2"];
    let world = World::new(&browser(&pages, ""), "deadlines = { verify = \"40s\" }").serving(&[]);
    let run = world.verify(BROWSER);
    let endings = pages.map(|page| run.ending(&format!("browser.GET /browser/{page}")).to_owned());
    assert_eq!(endings, ["passed", "load-slow", "passed", "script-error", "passed"], "{}", run.stdout);
}

#[test]
fn a_page_that_crashes_costs_only_itself() {
    if !has_browser() {
        return;
    }
    let pages = ["sound", "hang", "slow", "sound?1", "slow?1", "sound?2"];
    let world = World::new(&browser(&pages, ""), "").serving(&[]);
    let temporary = world.path("temporary");
    fs::create_dir(&temporary).unwrap();
    let run = world.verify_beside(BROWSER, &temporary, || {
        let busy = || processes_of(&groups_of(&temporary)).into_iter().find(|pid| is_busy(*pid));
        wait_until("the page to hang", || busy().is_some());
        kill_process(Pid::from_raw(busy().unwrap()).unwrap(), Signal::KILL).unwrap();
    });
    let endings = pages.map(|page| run.ending(&format!("browser.GET /browser/{page}")).to_owned());
    assert_eq!(endings, ["passed", "page-crashed", "passed", "passed", "passed", "passed"], "{}", run.stdout);
}

#[test]
fn a_browser_that_ends_is_started_again_and_no_page_is_lost() {
    if !has_browser() {
        return;
    }
    let pages = ["slow", "slow?1", "slow?2", "slow?3"];
    let world = World::new(&browser(&pages, ""), "").serving(&[]);
    let temporary = world.path("temporary");
    fs::create_dir(&temporary).unwrap();
    let run = world.verify_beside(BROWSER, &temporary, || {
        wait_until("a page", || processes_of(&groups_of(&temporary)).into_iter().any(is_renderer));
        for pid in processes_of(&groups_of(&temporary)) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    });
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
}
