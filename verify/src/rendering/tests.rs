//! One set of steps in each rendering.

use common::report::Step;

use super::*;

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
