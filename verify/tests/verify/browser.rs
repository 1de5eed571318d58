//! Pages in a real Chromium: each fault is told apart, nothing is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::world::World;
use crate::world::processes::{groups_of, is_renderer, processes_of};

pub(crate) const BROWSER: &[&str] = &["dev", "--slot", "blue", "--only", "browser"];

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

pub(crate) fn browser(pages: &[&str], more: &str) -> String {
    let pages: Vec<String> = pages.iter().map(|page| format!("\"/browser/{page}\"")).collect();
    format!("[browser]\npages = [{}]\n{more}", pages.join(", "))
}

pub(crate) fn has_browser() -> bool {
    let found = !programs().is_empty();
    if !found {
        tests::skipped("there is no Chromium");
    }
    found
}

/// Those that are here.
pub(crate) fn programs() -> Vec<PathBuf> {
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

/// Such a cookie needs https, whatever the page is.
#[test]
fn a_cookie_that_the_browser_refuses_costs_no_browser() {
    if !has_browser() {
        return;
    }
    let pages = ["sound", "sound?1", "throw", "sound?2", "sound?3"];
    let login = "session = \"user\"\n[routes]\n\"POST /guarded/\" = { form = { name = \"x\" }, to = \"/\", session = \"user\" }";
    let cookie = "Set-Cookie: __Host-session=sentinel-cookie; Secure; Path=/";
    let world = World::new(&browser(&pages, login), "")
        .with_site(&json!({
            "GET /guarded/": "<form method=post><input name=name></form>",
            "POST /guarded/": { "status": 302, "headers": ["Location: /", cookie] },
        }))
        .serving(&[]);
    let dir = tempfile::tempdir().unwrap();
    let (program, starts) = (dir.path().join("chromium-headless-shell"), dir.path().join("starts"));
    let counted =
        format!("#!/bin/sh\necho >>{}\nexec {} \"$@\"\n", starts.display(), programs()[0].display());
    fs::write(&program, counted).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let run = world.verify_in(BROWSER, "PATH", &path);
    for page in pages {
        let step = format!("browser.GET /browser/{page}");
        assert_eq!(run.ending(&step), "page-unopened", "{page}: {}", run.step(&step));
        let detail = run.step(&step)["problem"]["detail"].as_str().unwrap();
        assert!(detail.contains("cookie"), "the browser's own words: {detail}");
    }
    assert!(!run.stdout.contains("sentinel-cookie"), "{}", run.stdout);
    assert_eq!(fs::read_to_string(starts).unwrap().lines().count(), 1, "browsers");
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

pub(crate) fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
