//! SIGKILL at any moment: only whole backups are listed, the live database is old or new.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::project::Project;

const ROUNDS: u32 = 20;

/// Rows enough that the work takes a while.
fn fill(project: &Project, mode: &str, mark: &str) {
    project.sql(&format!(
        "PRAGMA journal_mode = {mode}; CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, mark, pad); DELETE FROM t;
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 6000) INSERT INTO t SELECT n, '{mark}', hex(randomblob(150)) FROM c;"
    ));
}

/// Runs the tool and kills it after part `round` of `whole`.
fn run_and_kill(project: &Project, args: &[&str], round: u32, whole: Duration) {
    let mut child = project.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let moment = Instant::now() + whole * round / ROUNDS;
    while Instant::now() < moment && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn killed_creations_leave_whole_backups_only() {
    let project = Project::new();
    fill(&project, "WAL", "old");
    let begun = Instant::now();
    project.backup();
    let whole = begun.elapsed();
    let mut known = Vec::new();
    for round in 0..ROUNDS {
        run_and_kill(&project, &["dev", "--protect"], round, whole);
        let listed = project.ids();
        for id in listed.iter().filter(|id| !known.contains(*id)) {
            project.run(&["dev", "verify", id]).succeeded();
        }
        known = listed;
    }
    let last = project.backup();
    assert_eq!(project.ids()[0], last);
    assert!(project.names().iter().all(|name| !name.starts_with('.')), "{:?}", project.names());
}

fn killed_restores(mode: &str) {
    let project = Project::new();
    fill(&project, mode, "old");
    let old = project.backup();
    fill(&project, mode, "new");
    let begun = Instant::now();
    project.run(&["dev", "restore", &old, "--discard-writes"]).succeeded();
    let whole = begun.elapsed();
    let reader = project.database();
    for round in 0..ROUNDS {
        project.sql("UPDATE t SET mark = 'new'");
        run_and_kill(&project, &["dev", "restore", &old, "--discard-writes"], round, whole);
        let state = "SELECT count(DISTINCT mark) || max(mark) || count(*) FROM t";
        let seen: String = reader.query_row(state, [], |row| row.get(0)).unwrap();
        assert!(["1old6000", "1new6000"].contains(&seen.as_str()), "{seen}");
        let check: String =
            project.database().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        prune_snapshots(&project, &old);
    }
    project.sql("UPDATE t SET mark = 'new'");
    project.run(&["dev", "restore", &old, "--discard-writes"]).succeeded();
    assert_eq!(project.count("SELECT count(*) FROM t WHERE mark = 'old'"), 6000);
    assert!(project.names().iter().all(|name| !name.starts_with('.')), "{:?}", project.names());
}

/// What every round leaves is whole; it goes so that the disk and the test stay small.
fn prune_snapshots(project: &Project, but: &str) {
    for id in project.ids().iter().filter(|id| *id != but) {
        project.run(&["dev", "verify", id]).succeeded();
        fs::remove_dir_all(project.backups().join(id)).unwrap();
    }
}

#[test]
fn killed_restores_in_wal_mode_leave_old_or_new() {
    killed_restores("WAL");
}

#[test]
fn killed_restores_in_rollback_journal_mode_leave_old_or_new() {
    killed_restores("DELETE");
}

#[test]
fn a_killed_restore_of_a_missing_file_is_done_by_the_next() {
    let project = Project::new();
    fill(&project, "WAL", "old");
    let begun = Instant::now();
    let old = project.backup();
    let whole = begun.elapsed();
    for round in 0..ROUNDS {
        fs::remove_dir_all(project.live().parent().unwrap()).unwrap();
        run_and_kill(&project, &["dev", "restore", &old], round, whole);
        if project.live().exists() {
            assert_eq!(project.count("SELECT count(*) FROM t WHERE mark = 'old'"), 6000);
        }
        project.run(&["dev", "restore", &old]).succeeded();
        assert_eq!(project.count("SELECT count(*) FROM t WHERE mark = 'old'"), 6000);
    }
}
