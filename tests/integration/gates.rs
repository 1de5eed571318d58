//! The app's tests as a gate: what their JUnit file and their coverage say, and what they leave.

use std::fs;
use std::process::{Command, Stdio};

use common::report::Report;
use serde_json::json;
use tests::world::World;

const GREEN: &str = r#"<testsuites><testsuite name="unit" tests="3" failures="0" errors="0" skipped="1" time="0.25">
<testcase classname="unit" name="test_a" time="0.1"/><testcase classname="unit" name="test_b"/>
<testcase classname="unit" name="test_c"><skipped/></testcase></testsuite></testsuites>"#;
const RED: &str = r#"<testsuites><testsuite name="unit"><testcase classname="unit" name="test_a"/>
<testcase classname="unit" name="test_b"><failure message="expected 1, got 2"/></testcase>
<testcase classname="unit" name="test_c"><error message="no such table"/></testcase></testsuite></testsuites>"#;

/// A world whose app has the test command `sh gate.sh`.
fn gated(script: &str) -> World {
    let world = World::new();
    world.write("gate.sh", script);
    world.configure("[app]\n", "[app]\ntest = \"sh gate.sh\"\n");
    world
}

fn publish(world: &World, script: &str) {
    world.write("gate.sh", script);
    world.publish("another gate");
}

fn junit(text: &str, end: &str) -> String {
    format!("echo noise\ncat >\"$JUNIT_FILE\" <<'END'\n{text}\nEND\n{end}\n")
}

fn covered(text: &str) -> String {
    format!("cat >reports/coverage.xml <<'END'\n{text}\nEND\n")
}

fn detail(report: &Report) -> &str {
    report.problem.as_ref().unwrap().detail.as_deref().unwrap_or_default()
}

#[test]
fn junit_totals_are_in_the_report_and_failed_tests_are_named() {
    let world = gated(&junit(GREEN, ""));
    let report = world.run("deploy", &["dev"]).ok().report();
    let totals = json!({"tests": 3, "failures": 0, "errors": 0, "skipped": 1, "duration_ms": 250});
    assert_eq!(report.details["deploy"]["tests"], totals);
    publish(&world, &junit(RED, "echo the end of a long log; exit 1"));
    let before = world.footprint("dev");
    let ran = world.run("deploy", &["dev"]);
    let report = ran.refused("tests-failed");
    assert_eq!(
        detail(&report),
        "2 of 3 tests failed\nunit.test_b: expected 1, got 2\nunit.test_c: no such table"
    );
    assert!(ran.stderr.contains("unit.test_b: expected 1, got 2"), "{}", ran.stderr);
    let tests = &report.details["deploy"]["tests"];
    assert_eq!((&tests["failures"], &tests["errors"]), (&json!(1), &json!(1)));
    assert_eq!(tests["failed"][0], json!({"name": "unit.test_b", "message": "expected 1, got 2"}));
    assert_eq!(world.footprint("dev"), before);
}

#[test]
fn a_test_command_that_ends_well_does_not_hide_failed_tests() {
    let world = gated(&junit(RED, "exit 0"));
    let report = world.run("deploy", &["dev"]).refused("tests-failed");
    assert!(detail(&report).contains("unit.test_c: no such table"));
    assert!(report.serving.is_none());
    // The other way round, the exit status decides.
    publish(&world, &junit(GREEN, "echo the disk is full; exit 3"));
    let report = world.run("deploy", &["dev"]).refused("tests-failed");
    assert!(detail(&report).contains("the disk is full"), "{}", detail(&report));
}

#[test]
fn a_gate_that_tested_nothing_is_not_passed() {
    let world = gated(&junit("<testsuites><testsuite name='unit' tests='0'/></testsuites>", ""));
    world.run("deploy", &["dev"]).refused("no-tests-ran");
    publish(&world, &junit("<testsuite><testcase name='a'><skipped/></testcase></testsuite>", ""));
    let report = world.run("deploy", &["dev"]).refused("no-tests-ran");
    assert!(detail(&report).contains("1 skipped"));
}

#[test]
fn a_junit_file_that_is_none_is_refused() {
    let world = gated("");
    let bomb = "<!DOCTYPE a [<!ENTITY a \"x\">]><testsuites><testsuite>";
    for script in [&junit(bomb, ""), "mkfifo \"$JUNIT_FILE\"", "mkdir \"$JUNIT_FILE\"", ": >\"$JUNIT_FILE\""]
    {
        publish(&world, script);
        world.run("deploy", &["dev"]).refused("junit-unreadable");
    }
    publish(&world, "echo broken >\"$JUNIT_FILE\"; echo what matters; exit 1");
    let report = world.run("deploy", &["dev"]).refused("tests-failed");
    assert!(detail(&report).contains("what matters"));
}

#[test]
fn a_secret_in_a_test_message_is_hidden() {
    let world = gated("");
    world.write_secrets("../dev.env", "API_TOKEN=sentinel-4711-of-dev\n");
    world.configure("[environments.dev]\n", "[environments.dev]\nenv_file = \"../dev.env\"\n");
    // Whole in one message, and where the other one is cut.
    let red = RED.replace("expected 1, got 2", "sentinel-4711-of-dev");
    let red = red.replace("no such table", &format!("{}sentinel-4711-of-dev", "x".repeat(290)));
    publish(&world, &junit(&red, "exit 1"));
    let ran = world.run("deploy", &["dev"]);
    assert!(detail(&ran.refused("tests-failed")).contains("xxx"));
    assert!(!ran.stdout.contains("sentinel-4") && !ran.stderr.contains("sentinel-4"), "{}", ran.stdout);
}

const CLASSES: &str = "<packages><package><classes><class filename='app/a.py'><lines>\
    <line number='1' hits='1'/><line number='2' hits='0'/></lines></class></classes></package></packages>";

fn with_threshold(script: &str) -> World {
    let world = gated(script);
    world.write("reports/kept", "");
    world.configure("[app]\n", "[app]\ncoverage = { file = \"reports/coverage.xml\", minimum = 80.0 }\n");
    world
}

#[test]
fn too_little_coverage_is_refused_and_names_the_worst_files() {
    let low = format!("<coverage lines-covered='7999' lines-valid='10000'>{CLASSES}</coverage>");
    let world = with_threshold(&covered(&low));
    let report = world.run("deploy", &["dev"]).refused("coverage-too-low");
    assert_eq!(detail(&report), "app/a.py: 50 %, 1 lines missed");
    assert!(report.problem.as_ref().unwrap().title.contains("79.99 %"));
    let coverage = &report.details["deploy"]["coverage"];
    assert_eq!((&coverage["percent"], &coverage["minimum"]), (&json!(79.99), &json!(80.0)));
    publish(&world, &covered("<coverage lines-covered='8000' lines-valid='10000' line-rate='0.8'/>"));
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(report.details["deploy"]["coverage"]["percent"], json!(80.0));
    publish(&world, &covered("<coverage"));
    world.run("deploy", &["dev"]).refused("coverage-unreadable");
}

#[test]
fn a_coverage_file_of_an_earlier_run_does_not_count_and_stays_in_the_release() {
    let world = with_threshold("true");
    let committed = "<coverage line-rate='1'/>";
    world.write("reports/coverage.xml", committed);
    world.publish("commit the coverage of last week");
    world.run("deploy", &["dev"]).refused("coverage-missing");
    publish(&world, "touch -d 2001-01-01 reports/other");
    world.run("deploy", &["dev"]).refused("coverage-missing");
    publish(&world, &covered("<coverage line-rate='0.9'/>"));
    let report = world.run("deploy", &["dev"]).ok().report();
    let release = world.state().join("dev/releases").join(report.deployment.unwrap());
    assert_eq!(fs::read_to_string(release.join("reports/coverage.xml")).unwrap(), committed);
}

#[test]
fn a_coverage_file_never_leads_out_of_the_release() {
    let world = with_threshold("true");
    let outside = world.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("coverage.xml"), "<coverage line-rate='1'/>").unwrap();
    fs::remove_dir_all(world.checkout().join("reports")).unwrap();
    std::os::unix::fs::symlink(&outside, world.checkout().join("reports")).unwrap();
    world.publish("a link");
    world.run("deploy", &["dev"]).refused("coverage-unreadable");
    assert!(outside.join("coverage.xml").exists(), "something outside of the release was removed");
    for (key, value) in [
        ("file = \"reports/coverage.xml\"", "file = \"../coverage.xml\""),
        ("file = \"../coverage.xml\", minimum = 80.0", "file = \"c.xml\", minimum = nan"),
        ("file = \"c.xml\", minimum = nan", "file = \"c.xml\", minimum = 101.0"),
    ] {
        world.configure(key, value);
        world.run("deploy", &["dev"]).ended_with(2, "configuration");
    }
}

#[test]
fn what_the_tests_leave_is_neither_served_nor_shared() {
    let world = gated(
        "mkdir -p .cache/deep instance htmlcov && touch .coverage .cache/deep/x htmlcov/index.html\n\
         echo garbage >instance/app.db; chmod 0 .cache/deep",
    );
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(report.details["deploy"]["removed_after_tests"], 4);
    let release = world.state().join("dev/releases").join(report.deployment.unwrap());
    let listed =
        world.sh(&format!("cd '{}' && find . -mindepth 1 ! -type d | sort", release.display())).stdout;
    let tracked = world.sh("{ git ls-files; echo instance; } | sed 's|^|./|' | sort").stdout;
    assert_eq!(listed, tracked);
    // A first deployment took the database that the tests had left for its own.
    assert_ne!(fs::read(world.database("dev")).unwrap(), b"garbage\n");
}

#[test]
fn tests_that_change_the_revision_are_refused() {
    let world = gated("echo changed >>VERSION; rm app.py");
    let report = world.run("deploy", &["dev"]).refused("release-changed");
    assert_eq!(detail(&report), "VERSION\napp.py");
    assert!(report.serving.is_none());
}

#[test]
fn a_deploy_killed_in_its_tests_leaves_nothing_that_counts_later() {
    let world = with_threshold(&covered("<coverage line-rate='1'/>"));
    world.write("reports/coverage.xml", "<coverage line-rate='0.1'/>");
    let pipe = |name: &str| {
        let path = world.path().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    };
    let (reached, ending) = (pipe("reached"), pipe("ending"));
    let waiting = format!(": >'{}'\ncat '{}'\n", reached.display(), ending.display());
    publish(&world, &(covered("<coverage line-rate='1'/>") + &waiting));
    let mut deploy =
        world.command("deploy", &["dev"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    drop(fs::File::open(&reached).unwrap());
    deploy.kill().unwrap();
    deploy.wait().unwrap();
    // What still works for a killed deployment keeps its lock.
    drop(fs::File::options().write(true).open(&ending).unwrap());
    publish(&world, "true");
    world.run("deploy", &["dev", "--wait", "60"]).refused("coverage-missing");
    assert_eq!(world.status("dev")["unfinished"], json!([]));
    assert!(world.footprint("dev").releases.is_empty());
}
