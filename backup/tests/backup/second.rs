//! The second place: copies that are whole, failures that are said and made good, and the way back.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use crate::project::{Ended, Project, names};

fn project(keys: &str) -> Project {
    let project = Project::keeping(&format!("{{ keep = 3, {keys} }}"));
    project.sql("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    project
}

fn with_directory(keys: &str) -> (Project, PathBuf) {
    let project = project(&format!("second = \"mount\"{keys}"));
    fs::create_dir(project.dir.path().join("mount")).unwrap();
    let home = project.dir.path().join("mount/x/dev");
    (project, home)
}

fn places(project: &Project) -> Vec<(String, String)> {
    let facts = project.run(&["dev", "list"]).facts();
    let text = |backup: &serde_json::Value| {
        let places = backup["places"].as_array().unwrap().iter();
        let words: Vec<&str> = places.map(|place| place.as_str().unwrap()).collect();
        (backup["id"].as_str().unwrap().to_owned(), words.join(" "))
    };
    facts["backups"].as_array().unwrap().iter().map(text).collect()
}

fn warnings(ended: &Ended) -> String {
    ended.facts()["warnings"].to_string()
}

#[test]
fn copies_are_whole_private_and_kept_by_a_rule_of_their_own() {
    let (project, home) = with_directory(", second_keep = 4, files = [\"uploads\"]");
    fs::create_dir(project.shared().join("uploads")).unwrap();
    fs::write(project.shared().join("uploads/big"), "unchanged").unwrap();
    let mut made: Vec<String> = (0..5).map(|_| project.backup()).collect();
    made.reverse();
    assert_eq!(names(&home), made[..4].iter().rev().cloned().collect::<Vec<_>>());
    let expected: Vec<(String, String)> = made[..4]
        .iter()
        .enumerate()
        .map(|(age, id)| (id.clone(), if age < 3 { "here second" } else { "second" }.to_owned()))
        .collect();
    assert_eq!(places(&project), expected);
    let big = |id: &String| fs::metadata(home.join(id).join("files/uploads/big")).unwrap();
    assert_eq!(big(&made[0]).ino(), big(&made[3]).ino());
    for id in &made[..4] {
        assert_eq!(fs::metadata(home.join(id)).unwrap().mode() & 0o777, 0o700);
        assert_eq!(big(id).permissions().mode() & 0o777, 0o600);
        project.run(&["dev", "verify", id, "--second"]).succeeded();
    }
}

#[test]
fn what_is_gone_or_damaged_here_is_restored_from_there() {
    let (project, home) = with_directory(", files = [\"uploads\"]");
    fs::create_dir(project.shared().join("uploads")).unwrap();
    fs::write(project.shared().join("uploads/a"), "a").unwrap();
    let id = project.backup();
    project.sql("DELETE FROM t");
    fs::remove_file(project.shared().join("uploads/a")).unwrap();
    let damaged = project.backups().join(&id).join("database.db.zst");
    fs::write(&damaged, "rubbish").unwrap();
    assert_eq!(project.run(&["dev", "restore", &id, "--discard-writes"]).failed(1), "backup-damaged");
    project.run(&["dev", "restore", &id, "--second", "--discard-writes"]).succeeded();
    assert_eq!(project.count("SELECT count(*) FROM t"), 1);
    assert_eq!(fs::read_to_string(project.shared().join("uploads/a")).unwrap(), "a");

    project.sql("DELETE FROM t");
    fs::remove_dir_all(project.backups()).unwrap();
    let done = project.run(&["dev", "restore", &id, "--discard-writes"]);
    done.succeeded();
    assert_eq!(done.facts()["directory"], home.join(&id).display().to_string());
    assert_eq!(project.count("SELECT count(*) FROM t"), 1);
    fs::write(home.join(&id).join("database.db.zst"), "rubbish").unwrap();
    // The snapshot before that restore may have the same second for its name.
    assert_eq!(
        project.run(&["dev", "restore", &id, "--second", "--discard-writes"]).failed(1),
        "backup-damaged"
    );
}

#[test]
fn a_place_that_is_away_is_a_warning_and_gets_its_copies_later() {
    let project = project("second = \"mount\"");
    let ended = project.run(&["dev"]);
    ended.succeeded();
    assert!(warnings(&ended).contains("mount is not there"), "{}", warnings(&ended));
    assert!(ended.stderr.contains("warning: "), "{}", ended.stderr);
    assert!(!project.dir.path().join("mount").exists(), "a mount point is never made");
    let listed = project.run(&["dev", "list"]);
    assert!(warnings(&listed).contains("is not there"));
    assert_eq!(project.run(&["dev", "send"]).failed(1), "second-place");

    fs::create_dir(project.dir.path().join("mount")).unwrap();
    let id = project.ids()[0].clone();
    let pruned = project.run(&["dev", "prune"]);
    pruned.succeeded();
    assert_eq!(pruned.facts()["second"]["sent"], serde_json::json!([id]));
    assert_eq!(places(&project), [(id.clone(), "here second".to_owned())]);
    assert_eq!(project.run(&["dev", "send"]).facts()["second"]["sent"], serde_json::json!([]));
}

#[test]
fn a_deployment_does_not_wait_for_it() {
    let (project, home) = with_directory("");
    let ended = project.run(&["dev", "--reason", "deploy", "--deployment", "D1"]);
    let report = ended.succeeded();
    let step =
        report["steps"].as_array().unwrap().iter().find(|step| step["name"] == "backup.second").unwrap();
    assert_eq!(step["status"], "skipped");
    assert!(!home.exists());
    project.run(&["dev", "send"]).succeeded();
    assert_eq!(names(&home), project.ids());
}

#[test]
fn a_damaged_backup_is_not_copied_and_does_not_keep_back_the_others() {
    let (project, home) = with_directory("");
    let bad = project.run(&["dev", "--reason", "deploy"]).facts()["id"].as_str().unwrap().to_owned();
    let good = project.run(&["dev", "--reason", "deploy"]).facts()["id"].as_str().unwrap().to_owned();
    fs::write(project.backups().join(&bad).join("git-tag.txt"), "changed").unwrap();
    let ended = project.run(&["dev", "send"]);
    assert_eq!(ended.failed(1), "backup-damaged");
    assert_eq!(ended.facts()["second"]["pending"], serde_json::json!([bad]));
    assert_eq!(names(&home), [good]);
}

#[test]
fn what_lies_there_and_is_not_ours_stays() {
    let (project, home) = with_directory("");
    let first = project.backup();
    fs::write(home.join(&first).join("note"), "mine").unwrap();
    fs::create_dir(home.join("notes")).unwrap();
    let made: Vec<String> = (0..4).map(|_| project.backup()).collect();
    let mut expected = vec![first];
    expected.extend(made[1..].iter().cloned());
    expected.push("notes".into());
    assert_eq!(names(&home), expected);
}

/// Takes directories away like a program that talks too much, and fails while `fail` is there.
const COMMAND: &str = "second = \"command echo got $TOKEN >&2; test ! -e fail && mkdir -p taken && cp -r $BACKUP_DIRECTORY taken/$APP-$ENVIRONMENT-$BACKUP_ID\"";

#[test]
fn a_command_gets_each_finished_directory_once_and_shows_no_secret() {
    let project = project(COMMAND);
    project.write("fail", "");
    let ended = project.run(&["dev"]);
    ended.succeeded();
    assert!(warnings(&ended).contains("ended with exit status 1"), "{}", warnings(&ended));
    assert!(warnings(&ended).contains("got $TOKEN"), "{}", warnings(&ended));
    fs::remove_file(project.dir.path().join("fail")).unwrap();
    let again = project.run(&["dev"]);
    let sent = again.facts()["second"]["sent"].clone();
    let ids: Vec<String> = project.ids().into_iter().rev().collect();
    assert_eq!(sent, serde_json::json!(ids));
    let taken = project.dir.path().join("taken");
    let expected: Vec<String> = ids.iter().map(|id| format!("x-dev-{id}")).collect();
    assert_eq!(names(&taken), expected);
    assert_eq!(project.run(&["dev", "send"]).facts()["second"]["sent"], serde_json::json!([]));
    assert!(places(&project).iter().all(|(_, places)| places == "here second"));
    for ended in [ended, again] {
        assert!(!ended.stdout.contains("sentinel") && !ended.stderr.contains("sentinel"));
    }

    let id = &ids[1];
    fs::remove_dir_all(project.backups().join(id)).unwrap();
    fs::rename(taken.join(format!("x-dev-{id}")), project.backups().join(id)).unwrap();
    project.run(&["dev", "verify", id]).succeeded();
    assert_eq!(project.run(&["dev", "restore", id, "--second"]).failed(2), "usage");
    project.configure("echo got", "true");
    assert_eq!(project.run(&["dev", "send"]).facts()["second"]["sent"].as_array().unwrap().len(), 2);
}

#[test]
fn secrets_that_cannot_be_read_keep_the_command_from_running() {
    let project = project(COMMAND);
    fs::set_permissions(project.dir.path().join("dev.env"), fs::Permissions::from_mode(0o644)).unwrap();
    let ended = project.run(&["dev"]);
    ended.succeeded();
    assert!(warnings(&ended).contains("secrets"), "{}", warnings(&ended));
    assert!(!project.dir.path().join("taken").exists());
}

#[test]
fn a_second_place_that_makes_no_sense_is_a_mistake() {
    for keys in ["second = \"s3://bucket\"", "second = \"\"", "second = \"command \"", "second_keep = 2"] {
        assert_eq!(project(keys).run(&["dev"]).failed(2), "configuration", "{keys}");
    }
    let none = Project::new();
    assert_eq!(none.run(&["dev", "send"]).failed(2), "configuration");
}
