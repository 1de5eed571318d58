//! One set of steps in each rendering.

use common::report::{Outcome, Status, Step};

use super::*;
use crate::regressions::{Change, Structure};
use crate::stages::{Ended, Stage};

fn steps() -> Vec<Step> {
    let problem = Problem::new("route-status", "GET /a?b=1,2 answered 500 instead of 200")
        .detail("expected: 200\nexcerpt: <b>\"100%\"")
        .hint("curl -si 'http://x/'");
    vec![
        Step::new(TOOL, "service", 12),
        Step::new(TOOL, "routes.GET /a?b=1,2", 1034).fail(problem),
        Step::new(TOOL, "routes.GET /b#c", 0).skip("login failed"),
        Step::new(TOOL, "identity", 1).fail(Problem::unverified("not seen")),
    ]
}

#[test]
fn junit_has_what_every_reader_agrees_on() {
    let steps = steps();
    let xml = junit::render("dev", &steps.iter().collect::<Vec<_>>());
    insta::assert_snapshot!(xml, @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuite name="verify dev" tests="4" failures="2" errors="0" skipped="1" time="1.047">
      <testcase classname="verify.service" name="service" time="0.012"/>
      <testcase classname="verify.routes" name="routes.GET /a?b=1,2" time="1.034">
        <failure type="route-status" message="GET /a?b=1,2 answered 500 instead of 200">GET /a?b=1,2 answered 500 instead of 200&#10;expected: 200&#10;excerpt: &lt;b&gt;&quot;100%&quot;&#10;hint: curl -si 'http://x/'</failure>
      </testcase>
      <testcase classname="verify.routes" name="routes.GET /b#c" time="0.000">
        <skipped message="login failed"/>
      </testcase>
      <testcase classname="verify.identity" name="identity" time="0.001">
        <failure type="unverified" message="not seen">not seen</failure>
      </testcase>
    </testsuite>
    "#);
}

#[test]
fn tap_has_a_line_for_each_step() {
    let steps = steps();
    insta::assert_snapshot!(tap::render(&steps.iter().collect::<Vec<_>>()), @r#"
    TAP version 13
    1..4
    ok 1 - service
    not ok 2 - routes.GET /a?b=1,2
      ---
      type: route-status
      message: |
        GET /a?b=1,2 answered 500 instead of 200
        expected: 200
        excerpt: <b>"100%"
        hint: curl -si 'http://x/'
      ...
    ok 3 - routes.GET /b\#c # SKIP login failed
    not ok 4 - identity
      ---
      type: unverified
      message: |
        not seen
      ...
    "#);
}

#[test]
fn github_has_an_annotation_for_each_problem() {
    let steps = steps();
    insta::assert_snapshot!(github::render(&steps.iter().collect::<Vec<_>>()), @r#"
    ::error title=verify routes.GET /a?b=1%2C2::GET /a?b=1,2 answered 500 instead of 200%0Aexpected: 200%0Aexcerpt: <b>"100%25"%0Ahint: curl -si 'http://x/'
    ::warning title=verify identity::not seen
    "#);
}

#[test]
fn junit_has_no_character_that_xml_forbids() {
    let step = Step::new(TOOL, "x", 0).fail(Problem::new("x", "a\u{1}\u{1b}[31mb\u{ffff}"));
    assert!(junit::render("dev", &[&step]).contains("a\u{fffd}\u{fffd}[31mb\u{fffd}"));
}

fn stages() -> Vec<Ended> {
    let ended = |stage, status, duration_ms| Ended { stage, status, duration_ms };
    vec![
        ended(Stage::Service, Status::Passed, 12),
        ended(Stage::Identity, Status::Failed, 1),
        ended(Stage::Routes, Status::Failed, 1040),
        ended(Stage::Browser, Status::Skipped, 0),
    ]
}

#[test]
fn people_get_a_line_a_stage_and_three_a_failure() {
    let mut steps = steps();
    steps.push(Step::new(TOOL, "browser", 0).skip("no Chromium was found"));
    let lines = human::render(&stages(), &steps.iter().collect::<Vec<_>>());
    insta::assert_snapshot!(lines.join("\n"), @r#"
    service          12 ms  1 passed
    identity          1 ms  1 failed
    routes         1040 ms  1 failed, 1 skipped
    browser           0 ms  1 skipped: no Chromium was found
    ✗ GET /a?b=1,2 answered 500 instead of 200  [routes.GET /a?b=1,2]
        expected: 200 · excerpt: <b>"100%"
        curl -si 'http://x/'
    ✗ not seen  [identity]
    "#);
}

#[test]
fn of_many_failures_the_first_are_shown_and_all_are_counted() {
    let problem = Problem::new("route-status", "failed").detail("x".repeat(1000)).hint("curl");
    let steps: Vec<Step> =
        (0..50).map(|n| Step::new(TOOL, format!("routes.GET /{n}"), 1).fail(problem.clone())).collect();
    let lines = human::render(&stages(), &steps.iter().collect::<Vec<_>>());
    assert_eq!(lines.len(), 4 + 3 * 20 + 1);
    assert_eq!(lines.last().unwrap(), "and 30 more failed, 50 in all; --json has them");
    assert!(lines.iter().all(|line| line.chars().count() < 200));
}

#[test]
fn the_page_needs_nothing_else_and_holds_foreign_text_as_text() {
    let mut report = Report::new("verify");
    report.environment = Some("dev".into());
    report.steps = steps();
    let evil = "<script>alert(1)</script>\" onload='x'\u{1b}";
    report.steps.push(
        Step::new(TOOL, format!("routes.{evil}"), 1).fail(Problem::new("x", evil).detail(evil).hint(evil)),
    );
    report.conclude(Outcome::Failed);
    let mut structure = Structure::default();
    structure.screenshots.insert(evil.into(), "page-1.png".into());
    let (kind, phrase) = ("link-lost".to_owned(), evil.to_owned());
    structure.changes.push(Change {
        id: "i".into(),
        kind,
        phrase,
        pages: vec![evil.into()],
        accepted: Some(evil.into()),
    });
    let pictures = [("page-1.png", b"one".to_vec()), ("page-1-difference.png", b"two".to_vec())];
    let pictures = pictures.map(|(name, bytes)| (name.to_owned(), bytes)).into();
    let steps: Vec<&Step> = report.steps.iter().collect();
    let page = html::render(&report, &steps, &Leaving { structure, pictures });
    assert!(
        page.contains("&lt;b&gt;&quot;100%&quot;")
            && page.contains("verify dev: <span class=\"failed\">failed")
    );
    assert!(page.contains("data:image/png;base64,b25l") && page.contains("data:image/png;base64,dHdv"));
    assert!(page.contains("prefers-color-scheme: dark"));
    for forbidden in ["<script", "onload='", "\u{1b}", "src=\"http", "href=", "<link", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let open =
        |tag: &str| page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
    for tag in ["table", "tr", "article", "figure", "details", "pre", "ul", "li"] {
        assert_eq!(open(tag), page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}
