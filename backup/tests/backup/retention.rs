//! Which backups stay, with the real tool; the rule itself is a property test beside the code.

use std::fs;

use crate::project::{Project, names};

#[test]
fn the_newest_stay_with_protected_ones_and_what_is_not_ours() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a)");
    let first = project.run(&["dev", "--protect"]).facts()["id"].as_str().unwrap().to_owned();
    let noted = project.backup();
    fs::write(project.backups().join(&noted).join("note.txt"), "keep").unwrap();
    fs::create_dir(project.backups().join("2020-01-01_00-00-00")).unwrap();
    let mut made: Vec<String> = (0..5).map(|_| project.backup()).collect();
    let mut expected = vec![first, noted];
    expected.extend(made.split_off(2));
    expected.reverse();
    assert_eq!(project.ids(), expected);
    assert!(project.names().contains(&"2020-01-01_00-00-00".to_owned()));
    for (age, id) in project.ids().iter().enumerate() {
        let files = names(&project.backups().join(id));
        assert_eq!(files.contains(&"database.sql".to_owned()), age == 0, "{files:?}");
        assert_eq!(files.contains(&"database.sql.zst".to_owned()), age > 0, "{files:?}");
        project.run(&["dev", "verify", id]).succeeded();
    }
}

#[test]
fn a_dry_run_says_and_does_nothing() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a)");
    let made: Vec<String> = (0..3).map(|_| project.backup()).collect();
    let text = fs::read_to_string(project.dir.path().join("deploy.toml")).unwrap();
    project.write("deploy.toml", &text.replace("keep = 3", "keep = 1"));
    let facts = project.run(&["dev", "prune", "--dry-run"]).facts();
    assert_eq!(facts["removed"], serde_json::json!([made[1], made[0]]));
    assert_eq!(project.ids().len(), 3);
    assert_eq!(project.run(&["dev", "prune"]).facts()["removed"], facts["removed"]);
    assert_eq!(project.ids(), [made[2].clone()]);
}

#[test]
fn what_a_rollback_may_need_stays() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a)");
    let config = common::config::load(Some(&project.dir.path().join("deploy.toml"))).unwrap();
    let mut needed = Vec::new();
    for id in ["D1", "D2"] {
        let ledger = common::ledger::Ledger::open(&config).unwrap();
        let beginning = common::ledger::Beginning {
            id,
            environment: "dev",
            kind: common::ledger::Kind::Deploy,
            revision: "0123456789",
            branch: None,
            tree: None,
            replaced: None,
            restores: None,
            log_file: None,
        };
        ledger.begin(&beginning).unwrap();
        ledger.place(id, id, common::layout::Slot::Blue, None).unwrap();
        ledger.set_serving("dev", id).unwrap();
        ledger.set_verified("dev", id).unwrap();
        let ended = project.run(&["dev", "--reason", "deploy", "--deployment", id]);
        needed.push(ended.facts()["id"].as_str().unwrap().to_owned());
    }
    let made: Vec<String> = (0..5).map(|_| project.backup()).collect();
    let mut expected = needed;
    expected.extend(made[2..].iter().cloned());
    expected.reverse();
    assert_eq!(project.ids(), expected);
}
