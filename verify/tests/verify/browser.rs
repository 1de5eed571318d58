//! Pages in a real Chromium: each fault is told apart, nothing is left behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::World;
use crate::world::processes::{groups_of, is_busy, is_renderer, processes_of};

const BROWSER: &[&str] = &["dev", "--slot", "blue", "--only", "browser"];

/// Page and problem type.
const ZOO: [(&str, &str); 14] = [
    ("sound", "passed"),
    ("throw", "script-error"),
    ("late", "script-error"),
    ("reject", "promise-rejected"),
    ("console", "console-error"),
    ("script", "asset-failed"),
    ("style", "asset-failed"),
    ("error", "route-status"),
    ("missing", "route-status"),
    ("away", "redirect-unexpected"),
    ("whose", "redirect-unexpected"),
    ("dialog", "passed"),
    ("icon", "passed"),
    ("beacon", "passed"),
];

fn browser(pages: &[&str], more: &str) -> String {
    let pages: Vec<String> = pages.iter().map(|page| format!("\"/browser/{page}\"")).collect();
    format!("[browser]\npages = [{}]\n{more}", pages.join(", "))
}

fn has_browser() -> bool {
    let found = !programs().is_empty();
    if !found {
        tests::skipped("there is no Chromium");
    }
    found
}

/// Those that are here.
fn programs() -> Vec<PathBuf> {
    let dirs: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect();
    let found = |name| dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
    ["chromium-headless-shell", "chromium", "google-chrome"].into_iter().filter_map(found).collect()
}

#[test]
fn each_fault_of_a_page_is_told_apart() {
    if !has_browser() {
        return;
    }
    let pages: Vec<&str> = ZOO.iter().map(|(page, _)| *page).collect();
    let world = World::new(&browser(&pages, ""), "").serving(&[]);
    let run = world.verify(BROWSER);
    for (page, ending) in ZOO {
        let step = format!("browser.GET /browser/{page}");
        assert_eq!(run.ending(&step), ending, "{page}: {}", run.step(&step));
    }
    assert!(!world.release().join("written").exists(), "a script may not write");
    let kept = PathBuf::from(run.report["details"]["verify"]["kept"].as_str().unwrap());
    let picture = fs::metadata(kept.join("page-1.png")).unwrap();
    assert_eq!(picture.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_page_that_never_ends_is_bounded_and_the_next_one_is_seen() {
    if !has_browser() {
        return;
    }
    let world =
        World::new(&browser(&["endless", "sound"], ""), "deadlines = { verify = \"8s\" }").serving(&[]);
    let begun = Instant::now();
    let run = world.verify(BROWSER);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(run.ending("browser.GET /browser/endless"), "load-slow");
    assert_eq!(run.ending("browser.GET /browser/sound"), "unverified");
}

#[test]
fn the_pages_of_a_session_get_its_cookies() {
    if !has_browser() {
        return;
    }
    let checks = browser(
        &["whose"],
        "session = \"user\"\nrequired = true\n[routes]\n\"POST /login/\" = { form = { user = \"$VERIFY_USER\", password = \"$VERIFY_PASSWORD\" }, to = \"/\", session = \"user\" }",
    );
    let world = World::new(&checks, "").serving(&[]);
    let run = world.verify(BROWSER);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    assert!(!run.stdout.contains("session-7"), "{}", run.stdout);
}

#[test]
fn without_a_browser_a_release_that_demands_one_is_unverified() {
    for (required, outcome) in [("true", ("unverified", 1)), ("false", ("succeeded", 0))] {
        let world = World::new(&browser(&["sound"], &format!("required = {required}")), "").serving(&[]);
        let run = world.verify_without_path(&[BROWSER, &["--quiet"]].concat());
        assert_eq!(run.outcome(), outcome, "{}", run.stdout);
        let told = run.step("browser")["problem"]["title"].as_str().unwrap().to_owned();
        assert!(told.contains("no Chromium was found"), "{told}");
    }
}

#[test]
fn a_browser_that_does_not_start_says_why() {
    for (required, outcome) in [("true", "unverified"), ("false", "succeeded")] {
        let world = World::new(&browser(&["sound"], &format!("required = {required}")), "").serving(&[]);
        let program = world.path("chromium");
        fs::write(&program, "#!/bin/sh\necho 'no usable sandbox' >&2\nexit 1\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let begun = Instant::now();
        let run = world.verify_without_path(BROWSER);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(run.outcome().0, outcome, "{}", run.stdout);
        let problem = run.step("browser")["problem"].clone();
        assert!(problem["title"].as_str().unwrap().contains("does not start"), "{problem}");
        if required == "true" {
            assert_eq!(problem["detail"], "no usable sandbox");
        }
    }
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
        all_pass(&[first, "after"]);
    }
}

/// A page is left with its scripts at rest: none of them keeps anything for the next one.
#[test]
fn a_page_that_is_left_keeps_nothing_for_the_next_one() {
    if has_browser() {
        all_pass(&["leaving", "clean", "leaving?1", "clean?1", "sound", "clean?2"]);
    }
}

fn all_pass(pages: &[&str]) {
    let world = World::new(&browser(pages, ""), "").serving(&[]);
    let run = world.verify(BROWSER);
    for page in pages {
        let step = format!("browser.GET /browser/{page}");
        assert_eq!(run.ending(&step), "passed", "{pages:?} {}", run.step(&step));
    }
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

/// A run of a page that never ends, killed or asked to stop while the browser is at it.
fn ended_by(signal: Signal) -> ExitStatus {
    let world = World::new(&browser(&["hang"], ""), "").serving(&[]);
    let temporary = world.path("temporary");
    fs::create_dir(&temporary).unwrap();
    let mut process = world.spawn_in(BROWSER, &temporary);
    let running = || processes_of(&groups_of(&temporary));
    wait_until("the browser to run", || running().into_iter().any(is_renderer));
    let groups = groups_of(&temporary);
    kill_process(Pid::from_child(&process), signal).unwrap();
    let status = process.wait().unwrap();
    wait_until("the browser to end", || processes_of(&groups).is_empty() && running().is_empty());
    wait_until("its profile to go", || fs::read_dir(&temporary).unwrap().next().is_none());
    status
}

#[test]
fn a_killed_run_leaves_neither_a_browser_nor_its_profile() {
    if has_browser() {
        assert_eq!(ended_by(Signal::KILL).signal(), Some(9));
    }
}

#[test]
fn a_signal_ends_a_run_and_its_browser() {
    if has_browser() {
        let begun = Instant::now();
        assert_eq!(ended_by(Signal::TERM).code(), Some(128 + 15));
        assert!(begun.elapsed() < Duration::from_secs(9), "before the page's own limit");
    }
}

#[test]
fn a_run_that_ends_leaves_neither_a_browser_nor_its_profile() {
    if !has_browser() {
        return;
    }
    let world = World::new(&browser(&["sound"], ""), "").serving(&[]);
    let temporary = world.path("temporary");
    fs::create_dir(&temporary).unwrap();
    assert!(world.spawn_in(BROWSER, &temporary).wait().unwrap().success());
    wait_until("the browser to end", || groups_of(&temporary).is_empty());
    assert!(fs::read_dir(&temporary).unwrap().next().is_none());
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
