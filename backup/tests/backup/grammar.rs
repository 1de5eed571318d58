//! The command line, stdin, and the exit status.

use crate::project::Project;

fn report(outcome: &str, environment: &str) -> String {
    let success = outcome == "succeeded";
    format!(
        "{{\"version\":1,\"tool\":\"deploy\",\"environment\":\"{environment}\",\"deployment\":\"D1\",\"started_at\":\"2026-01-01T00:00:00Z\"\n\
         ,\"success\":{success},\"outcome\":\"{outcome}\",\"changed\":true,\"serving\":\"abc\",\"duration_ms\":1}}\n"
    )
}

#[test]
fn mistakes_are_exit_2_and_touch_nothing() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a)");
    let wrong: [&[&str]; 10] = [
        &["nowhere"],
        &["dev", "restore"],
        &["dev", "restore", "2026-01-01_00-00-00"],
        &["dev", "restore", "../dev"],
        &["dev", "verify", "2026-01-01_00-00-00"],
        &["dev", "--reason", "whim"],
        &["dev", "--reason", "deploy", "list"],
        &["dev", "list", "--protect"],
        &["list"],
        &["dev", "create", "--discard-writes"],
    ];
    for args in wrong {
        assert_eq!(project.run(args).failed(2), "usage", "{args:?}");
    }
    assert!(!project.backups().exists());
}

#[test]
fn options_stand_after_the_environment_or_after_the_verb() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a)");
    project.run(&["dev", "--reason", "deploy", "--deployment", "D7"]).succeeded();
    project.run(&["dev", "create", "--reason", "pre-rollback", "--protect", "--wait", "1"]).succeeded();
    let listed = project.run(&["dev", "list"]).facts();
    assert_eq!(listed["backups"][0]["reason"], "pre-rollback");
    assert_eq!(listed["backups"][0]["protected"], true);
    assert_eq!(listed["backups"][1]["reason"], "deploy");
    assert_eq!(listed["backups"][1]["deployment"], "D7");
}

#[test]
fn a_good_report_is_continued() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a)");
    for args in [&["create"][..], &[][..]] {
        let report = project.run_with_stdin(args, &report("succeeded", "dev")).succeeded();
        assert_eq!((&report["deployment"], &report["serving"]), (&"D1".into(), &"abc".into()));
        let listed = project.run(&["dev", "list"]).facts();
        assert_eq!(listed["backups"][0]["id"], report["details"]["backup"]["id"]);
        assert!(listed["backups"][0]["deployment"].is_null(), "the ledger does not know D1");
    }
    let config = common::config::load(Some(&project.dir.path().join("deploy.toml"))).unwrap();
    let ledger = common::ledger::Ledger::open(&config).unwrap();
    begin(&ledger, "D1", "dev");
    ledger.set_serving("dev", "D1").unwrap();
    project.run_with_stdin(&[], &report("succeeded", "dev")).succeeded();
    assert_eq!(project.run(&["dev", "list"]).facts()["backups"][0]["deployment"], "D1");
    begin(&ledger, "D2", "dev");
    ledger.set_serving("dev", "D2").unwrap();
    assert_eq!(project.run_with_stdin(&[], &report("succeeded", "dev")).failed(1), "superseded");
}

fn begin(ledger: &common::ledger::Ledger, id: &str, environment: &str) {
    ledger
        .begin(&common::ledger::Beginning {
            id,
            environment,
            kind: common::ledger::Kind::Deploy,
            revision: "abc",
            branch: None,
            tree: None,
            replaced: None,
            restores: None,
            log_file: None,
        })
        .unwrap();
}

#[test]
fn a_failed_report_passes_through_and_nothing_is_done() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a)");
    for outcome in ["failed", "rolled_back", "broken", "unverified"] {
        let ended = project.run_with_stdin(&["create"], &report(outcome, "dev"));
        assert_eq!(ended.status, 1);
        let passed = ended.report();
        assert_eq!((&passed["outcome"], &passed["deployment"]), (&outcome.into(), &"D1".into()));
        assert_eq!(passed["steps"].as_array().unwrap().len(), 0);
    }
    let cut = report("succeeded", "dev").lines().next().unwrap().to_owned();
    assert_eq!(project.run_with_stdin(&["create"], &cut).failed(1), "cut-off");
    assert!(!project.backups().exists());
}

#[test]
fn no_report_on_stdin_is_a_mistake() {
    let project = Project::new();
    for stdin in ["", "hello", "{\"a\":1}"] {
        assert_eq!(project.run_with_stdin(&["create"], stdin).failed(2), "usage", "{stdin}");
    }
    assert_eq!(project.run_with_stdin(&["create"], &report("succeeded", "nowhere")).failed(2), "usage");
}

#[test]
fn a_held_lock_is_waited_for_or_said() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a)");
    project.backup();
    let lock = std::fs::File::open(project.dir.path().join(".deploy/dev/lock")).unwrap();
    lock.lock().unwrap();
    let ended = project.run(&["dev"]);
    assert_eq!(ended.failed(1), "locked");
    assert_eq!(ended.report()["environment"], "dev");
    assert_eq!(project.run(&["dev", "prune"]).failed(1), "locked");
    let waiting = project.command(&["dev", "--wait", "20"]).spawn().unwrap();
    drop(lock);
    assert!(waiting.wait_with_output().unwrap().status.success());
}
