//! Restoring: only what a person accepted is lost, the file stays, and nothing stale comes back.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use crate::project::{Ended, Project, names};

const TABLE: &str =
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three');";

fn restored_in(mode: &str) {
    let project = Project::new();
    project.sql(&format!(
        "PRAGMA journal_mode = {mode}; {TABLE} CREATE TABLE same(a); INSERT INTO same VALUES (1);"
    ));
    let id = project.backup();
    let app = project.database();
    app.execute_batch("UPDATE t SET a = 'TWO' WHERE id = 2; DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (4, 'four'), (5, 'five'); CREATE TABLE new(a); INSERT INTO new VALUES (1)").unwrap();
    let inode = fs::metadata(project.live()).unwrap().ino();
    let refused = project.run(&["dev", "restore", &id]);
    assert_eq!(refused.failed(1), "would-lose-writes");
    let lost = &refused.facts()["lost"];
    assert_eq!(lost["t"], serde_json::json!({"written": 3, "deleted": 1}));
    assert_eq!(lost["new"], serde_json::json!({"written": 1, "deleted": 0}));
    assert_eq!(lost.as_object().unwrap().len(), 2);
    assert!(refused.report()["problem"]["hint"].as_str().unwrap().contains("--discard-writes"));
    assert_eq!(refused.report()["changed"], false);
    assert_eq!(project.count("SELECT count(*) FROM t"), 4);

    let done = project.run(&["dev", "restore", &id, "--discard-writes"]);
    assert_eq!(done.succeeded()["changed"], true);
    let read = |query: &str| app.query_row(query, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(read("SELECT group_concat(a) FROM t"), "one,two,three");
    assert_eq!(read("PRAGMA journal_mode").to_uppercase(), mode);
    assert_eq!(fs::metadata(project.live()).unwrap().ino(), inode);
    app.execute_batch("INSERT INTO t VALUES (6, 'six')").unwrap();

    let snapshot = done.facts()["protected_snapshot"].as_str().unwrap().to_owned();
    project.run(&["dev", "verify", &snapshot]).succeeded();
    project.run(&["dev", "restore", &snapshot, "--discard-writes"]).succeeded();
    assert_eq!(read("SELECT group_concat(a) FROM t"), "one,TWO,four,five");
    let again = project.run(&["dev", "restore", &snapshot]).succeeded();
    assert_eq!(again["changed"], false);
}

#[test]
fn in_wal_mode_the_app_may_stay_up() {
    restored_in("WAL");
}

#[test]
fn in_rollback_journal_mode_the_app_may_stay_up() {
    restored_in("DELETE");
}

#[test]
fn the_live_journal_mode_stays_whatever_the_backup_had() {
    for (before, after) in [("WAL", "DELETE"), ("DELETE", "WAL")] {
        let project = Project::new();
        project.sql(&format!("PRAGMA journal_mode = {before}; {TABLE}"));
        let id = project.backup();
        project.sql(&format!("PRAGMA journal_mode = {after}; DELETE FROM t"));
        project.run(&["dev", "restore", &id, "--discard-writes"]).succeeded();
        let mode: String = project.database().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode.to_uppercase(), after);
        assert_eq!(project.count("SELECT count(*) FROM t"), 3);
    }
}

#[test]
fn the_live_page_size_stays_whatever_the_backup_had() {
    for mode in ["WAL", "DELETE"] {
        let project = Project::new();
        project.sql(&format!("PRAGMA page_size = 1024; {TABLE}"));
        let id = project.backup();
        project.sql(&format!("PRAGMA page_size = 8192; VACUUM; PRAGMA journal_mode = {mode}; DELETE FROM t"));
        let app = project.database();
        project.run(&["dev", "restore", &id, "--discard-writes"]).succeeded();
        assert_eq!(app.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)), Ok(3), "{mode}");
        assert_eq!(project.count("PRAGMA page_size"), 8192, "{mode}");
        assert_eq!(project.run(&["dev", "restore", &id]).succeeded()["changed"], false, "{mode}");
    }
}

#[test]
fn what_is_set_aside_is_completed_later_and_sent_then() {
    let project = Project::new();
    project.configure("{ keep = 3 }", "{ keep = 3, second = \"mount\" }");
    let second = project.dir.path().join("mount");
    fs::create_dir(&second).unwrap();
    project.sql(TABLE);
    let id = project.backup();
    project.sql("DELETE FROM t WHERE id = 1");
    let done = project.run_for_a_deployment(&["dev", "restore", &id, "--discard-writes"]);
    done.succeeded();
    let snapshot = done.facts()["protected_snapshot"].as_str().unwrap().to_owned();
    let listed = |project: &Project| {
        let facts = project.run(&["dev", "list"]).facts();
        let backups = facts["backups"].as_array().unwrap().clone();
        backups.into_iter().find(|backup| backup["id"] == snapshot.as_str()).unwrap()
    };
    assert_eq!(listed(&project)["verified"], false);
    assert_eq!(listed(&project)["places"], serde_json::json!(["here"]));
    assert!(names(&project.backups().join(&snapshot)).contains(&"database.db".to_owned()));

    let exported = project.run(&["dev", "export"]);
    assert_eq!(exported.succeeded()["changed"], true);
    assert_eq!(exported.facts()["completed"], serde_json::json!([snapshot]));
    assert_eq!(
        names(&project.backups().join(&snapshot)),
        ["config.json", "database.db.zst", "database.sql", "git-tag.txt", "manifest.json"]
    );
    project.run(&["dev", "send"]).succeeded();
    assert_eq!(listed(&project)["verified"], true);
    assert_eq!(listed(&project)["places"], serde_json::json!(["here", "second"]));
    project.run(&["dev", "verify", &snapshot]).succeeded();
    project.run(&["dev", "restore", &snapshot, "--discard-writes"]).succeeded();
    assert_eq!(project.count("SELECT count(*) FROM t"), 2);
}

#[test]
fn what_a_person_sets_aside_is_completed_at_once_and_before_it_is_restored() {
    let project = Project::new();
    project.sql(TABLE);
    let id = project.backup();
    project.sql("DELETE FROM t WHERE id = 1");
    let args = ["dev", "restore", &id, "--discard-writes"];
    let set_aside = |done: &Ended| {
        done.succeeded();
        let snapshot = done.facts()["protected_snapshot"].as_str().unwrap().to_owned();
        let directory = project.backups().join(&snapshot);
        (snapshot, directory)
    };
    let (_, directory) = set_aside(&project.run(&args));
    assert!(names(&directory).contains(&"database.db.zst".to_owned()));
    project.sql("DELETE FROM t WHERE id = 2");
    let (snapshot, directory) = set_aside(&project.run_for_a_deployment(&args));
    let plain = directory.join("database.db");
    let good = fs::read(&plain).unwrap();
    fs::write(&plain, [&good[..good.len() - 1], b"x"].concat()).unwrap();
    for verb in ["verify", "restore"] {
        assert_eq!(project.run(&["dev", verb, &snapshot]).failed(1), "backup-damaged");
    }
    fs::write(&plain, good).unwrap();
    project.run(&["dev", "restore", &snapshot, "--discard-writes"]).succeeded();
    assert_eq!(project.count("SELECT count(*) FROM t"), 2);
    assert!(!plain.exists());
}

#[test]
fn a_damaged_one_keeps_back_no_other_and_a_file_of_somebody_else_stays() {
    let project = Project::new();
    project.sql(TABLE);
    let id = project.backup();
    let set_aside = |change: &str| {
        project.sql(change);
        let done = project.run_for_a_deployment(&["dev", "restore", &id, "--discard-writes"]);
        done.succeeded();
        project.backups().join(done.facts()["protected_snapshot"].as_str().unwrap())
    };
    let (good, bad, newer) = (
        set_aside("DELETE FROM t"),
        set_aside("UPDATE t SET a = 1"),
        set_aside("DELETE FROM t WHERE id = 1"),
    );
    let bytes = fs::read(bad.join("database.db")).unwrap();
    fs::write(bad.join("database.db"), [&bytes[..bytes.len() - 1], b"x"].concat()).unwrap();
    fs::write(project.backups().join(&id).join("database.db"), "mine").unwrap();
    let exported = project.run(&["dev", "export"]);
    assert_eq!(exported.failed(1), "backup-damaged");
    assert_eq!(exported.facts()["completed"].as_array().unwrap().len(), 2);
    for directory in [good, newer] {
        let names = names(&directory);
        assert!(names.contains(&"database.sql".to_owned()) && !names.contains(&"database.db".to_owned()));
    }
    assert!(bad.join("database.db").exists());
    assert_eq!(fs::read_to_string(project.backups().join(&id).join("database.db")).unwrap(), "mine");
}

#[test]
fn a_missing_file_is_made_and_what_stale_files_held_stays_aside() {
    for stale in [true, false] {
        let project = Project::new();
        project.sql(&format!("PRAGMA journal_mode = WAL; {TABLE}"));
        let id = project.backup();
        let app = project.database();
        app.execute_batch("UPDATE t SET a = 'stale'").unwrap();
        let instance = project.live().parent().unwrap().to_owned();
        let wal = instance.join("app.db-wal");
        let kept = fs::read(&wal).unwrap();
        drop(app);
        fs::remove_dir_all(&instance).unwrap();
        if stale {
            fs::create_dir(&instance).unwrap();
            fs::write(&wal, &kept).unwrap();
        }
        let done = project.run(&["dev", "restore", &id]);
        assert_eq!(done.succeeded()["changed"], true);
        assert_eq!(project.count("SELECT count(*) FROM t WHERE a <> 'stale'"), 3);
        assert_eq!(
            names(&instance).iter().any(|name| name.starts_with("app.db.aside-") && name.ends_with("-wal")),
            stale
        );
        assert_eq!(done.facts().get("moved_aside").is_some(), stale);
    }
}

#[test]
fn a_file_that_is_no_database_is_moved_aside_unless_it_is_open() {
    let project = Project::new();
    project.sql(TABLE);
    let id = project.backup();
    fs::write(project.live(), "rubbish ".repeat(1000)).unwrap();
    assert_eq!(project.run(&["dev", "restore", &id]).failed(1), "would-lose-writes");
    let held = fs::File::open(project.live()).unwrap();
    assert_eq!(project.run(&["dev", "restore", &id, "--discard-writes"]).failed(1), "database-in-use");
    assert!(fs::read_to_string(project.live()).unwrap().starts_with("rubbish"));
    drop(held);
    project.run(&["dev", "restore", &id, "--discard-writes"]).succeeded();
    assert_eq!(project.count("SELECT count(*) FROM t"), 3);
    let aside = names(project.live().parent().unwrap());
    assert_eq!(aside.iter().filter(|name| name.contains(".aside-")).count(), 1);
}

#[test]
fn a_transaction_that_a_killed_app_left_half_done_is_no_content() {
    let project = Project::new();
    project.sql(TABLE);
    let script = "
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('PRAGMA cache_size = 1')
db.execute('BEGIN')
db.execute(\"UPDATE t SET a = 'half'\")
db.execute('WITH RECURSIVE c(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) INSERT INTO t SELECT n, hex(randomblob(50)) FROM c')
os.kill(os.getpid(), 9)";
    let status =
        Command::new("python3").args(["-c", script]).arg(project.live()).stderr(Stdio::null()).status();
    assert!(!status.unwrap().success());
    assert!(project.live().with_file_name("app.db-journal").exists());
    let facts = project.run(&["dev"]);
    facts.succeeded();
    assert_eq!(facts.facts()["rows"], 3);
}

/// Adds numbered rows, with the pauses of an app, and prints each number once its row is committed.
const COUNTER: &str = "
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
n = 0
while True:
    n += 1
    db.execute('INSERT INTO counted(n) VALUES (?)', (n,))
    print(n, flush=True)
    time.sleep(float(sys.argv[2]))
";

#[test]
fn what_was_acknowledged_before_a_restore_is_in_its_snapshot() {
    for (mode, pause) in [("WAL", "0.003"), ("DELETE", "0.003"), ("WAL", "0"), ("DELETE", "0")] {
        let project = Project::new();
        project.sql(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE counted(n); {TABLE}"));
        let id = project.backup();
        let mut app = Command::new("python3")
            .args(["-c", COUNTER])
            .arg(project.live())
            .arg(pause)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(app.stdout.take().unwrap()).lines();
        lines.next();
        let done = project.run(&["dev", "restore", &id, "--discard-writes"]);
        app.kill().unwrap();
        app.wait().unwrap();
        let acknowledged = 1 + lines.map(Result::unwrap).filter(|line| !line.is_empty()).count();
        let snapshot =
            done.succeeded()["details"]["backup"]["protected_snapshot"].as_str().unwrap().to_owned();
        let after: Vec<i64> = project.numbers("SELECT n FROM counted ORDER BY n");
        project.run(&["dev", "restore", &snapshot, "--discard-writes"]).succeeded();
        let before: Vec<i64> = project.numbers("SELECT n FROM counted ORDER BY n");
        let kept: Vec<i64> = before.into_iter().chain(after).collect();
        let count = i64::try_from(kept.len()).unwrap();
        assert_eq!(kept, (1..=count).collect::<Vec<_>>(), "{mode}");
        assert!(count >= i64::try_from(acknowledged).unwrap(), "{mode}: {count} of {acknowledged}");
    }
}

#[test]
fn a_restore_stands_in_the_ledger() {
    let project = Project::new();
    project.sql(TABLE);
    let id = project.backup();
    project.sql("DELETE FROM t");
    let refused = project.run(&["dev", "restore", &id]).report();
    let done = project.run(&["dev", "restore", &id, "--discard-writes"]).succeeded();
    let config = common::config::load(Some(&project.dir.path().join("deploy.toml"))).unwrap();
    let ledger = common::ledger::Ledger::open(&config).unwrap();
    let row = |report: &serde_json::Value| {
        ledger.deployment(report["deployment"].as_str().unwrap()).unwrap().unwrap()
    };
    assert_eq!(row(&refused).outcome.as_deref(), Some("failed"));
    assert_eq!(row(&done).outcome.as_deref(), Some("succeeded"));
    assert!(ledger.unfinished("dev").unwrap().is_empty());
}
