//! A restore with further files, and a creation with a second place, ended at every point where
//! they reach the disk: each file and the database are old or new, nothing is lost, and the same
//! command goes on.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use crate::project::{Project, names};

/// Files of the app and what they hold now, in the order of the backup's: changed, gone, the same.
const FILES: [(&str, Option<&str>); 3] = [("one", Some("newer")), ("two", None), ("same", Some("same"))];

/// In memory where there is such a place: what is ended here is a process, never the disk.
fn project() -> Project {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let project = Project::in_dir(dir.unwrap());
    project.configure("{ keep = 3 }", "{ keep = 3, files = [\"uploads\"], second = \"mount\" }");
    fs::create_dir(project.dir.path().join("mount")).unwrap();
    fs::create_dir(project.shared().join("uploads")).unwrap();
    for (name, _) in FILES {
        fs::write(project.shared().join("uploads").join(name), name).unwrap();
    }
    project.sql("PRAGMA journal_mode = WAL; CREATE TABLE t(a); INSERT INTO t VALUES ('old'), ('old')");
    project
}

/// The points that a run passes.
fn points(project: &Project, args: &[&str]) -> Vec<String> {
    let trace = project.dir.path().join("trace");
    let output = project.command(args).env("DEPLOY_FAULT_TRACE", &trace).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let points = fs::read_to_string(trace).unwrap().lines().map(str::to_owned).collect();
    fs::remove_file(project.dir.path().join("trace")).unwrap();
    points
}

fn broken_at(project: &Project, args: &[&str], point: &str) {
    let output = project.command(args).env("DEPLOY_FAULT", format!("{point}=abort")).output().unwrap();
    assert_eq!(output.status.signal(), Some(6), "{point}: {}", String::from_utf8_lossy(&output.stderr));
}

/// As an app leaves it that went on after the backup.
fn go_on(project: &Project) {
    project.sql("UPDATE t SET a = 'new'");
    let uploads = project.shared().join("uploads");
    for name in names(&uploads) {
        fs::remove_file(uploads.join(name)).unwrap();
    }
    for (name, content) in FILES {
        if let Some(content) = content {
            fs::write(uploads.join(name), content).unwrap();
        }
    }
}

/// Every run passes the same points then.
fn forget_all_but(project: &Project, id: &str) {
    for root in [project.backups(), project.dir.path().join("mount/x/dev")] {
        for name in names(&root).iter().filter(|name| !name.starts_with('.') && *name != id) {
            fs::remove_dir_all(root.join(name)).unwrap();
        }
    }
}

fn rows(project: &Project) -> String {
    let query = "SELECT group_concat(a) FROM t";
    project.database().query_row(query, [], |row| row.get(0)).unwrap()
}

fn contents(project: &Project) -> BTreeSet<String> {
    let uploads = project.shared().join("uploads");
    names(&uploads).iter().map(|name| fs::read_to_string(uploads.join(name)).unwrap()).collect()
}

#[test]
fn a_restore_ended_at_any_point_mixes_nothing_and_is_finished_by_the_same_command() {
    let project = project();
    let id = project.backup();
    let args = ["dev", "restore", &id, "--discard-writes"];
    go_on(&project);
    project.run(&args).succeeded();
    forget_all_but(&project, &id);
    go_on(&project);
    let points = points(&project, &args);
    forget_all_but(&project, &id);
    assert!(points.iter().any(|point| point.contains("exchange.after")), "{points:?}");
    for point in &points {
        go_on(&project);
        broken_at(&project, &args, point);
        assert!(["old,old", "new,new"].contains(&rows(&project).as_str()), "{point}");
        for (name, content) in FILES {
            let found = fs::read_to_string(project.shared().join("uploads").join(name)).ok();
            assert!(
                found.as_deref() == Some(name) || found.as_deref() == content,
                "{point}: {name} {found:?}"
            );
        }
        assert!(contents(&project).contains("newer"), "{point}");
        project.run(&args).succeeded();
        assert_eq!(rows(&project), "old,old", "{point}");
        for (name, _) in FILES {
            let found = fs::read_to_string(project.shared().join("uploads").join(name)).unwrap();
            assert_eq!(found, name, "{point}");
        }
        assert!(contents(&project).contains("newer"), "{point}");
        assert!(
            names(&project.shared().join("uploads")).iter().all(|name| !name.starts_with('.')),
            "{point}"
        );
        forget_all_but(&project, &id);
    }
    assert!(!project.run(&["dev", "list"]).stderr.contains("cut off"));
}

#[test]
fn a_restore_cut_off_between_database_and_files_is_told_until_it_is_finished() {
    let project = project();
    let id = project.backup();
    go_on(&project);
    let args = ["dev", "restore", &id, "--discard-writes"];
    broken_at(&project, &args, "backup:exchange.before#1");
    let told = format!("the restore of {id} was cut off");
    for args in [&["dev"][..], &["dev", "list"][..]] {
        let ended = project.run(args);
        ended.succeeded();
        assert!(ended.stderr.contains(&told), "{args:?}: {}", ended.stderr);
    }
    project.run(&args).succeeded();
    assert!(!project.run(&["dev"]).stderr.contains("cut off"));
}

#[test]
fn a_completion_ended_at_any_point_is_done_by_the_next() {
    let project = project();
    let id = project.backup();
    let set_aside = || {
        forget_all_but(&project, &id);
        go_on(&project);
        let done = project.run_for_a_deployment(&["dev", "restore", &id, "--discard-writes"]);
        done.succeeded();
        done.facts()["protected_snapshot"].as_str().unwrap().to_owned()
    };
    set_aside();
    let points = points(&project, &["dev", "export"]);
    assert!(points.len() > 5, "{points:?}");
    for point in &points {
        let snapshot = set_aside();
        broken_at(&project, &["dev", "export"], point);
        project.run(&["dev", "verify", &snapshot]).succeeded();
        project.run(&["dev", "export"]).succeeded();
        assert_eq!(
            names(&project.backups().join(&snapshot)),
            ["config.json", "database.db.zst", "database.sql", "git-tag.txt", "manifest.json"],
            "{point}"
        );
        project.run(&["dev", "verify", &snapshot]).succeeded();
    }
}

#[test]
fn a_creation_ended_at_any_point_leaves_whole_backups_in_both_places() {
    let project = project();
    project.backup();
    let points = points(&project, &["dev"]);
    for point in &points {
        broken_at(&project, &["dev"], point);
        let listed = project.run(&["dev", "list"]).facts();
        assert!(listed["unreadable"].is_null(), "{point}: {listed}");
        project.run(&["dev", "send"]).succeeded();
        let listed = project.run(&["dev", "list"]).facts();
        for backup in listed["backups"].as_array().unwrap() {
            let id = backup["id"].as_str().unwrap();
            for place in backup["places"].as_array().unwrap() {
                let there = (place == "second").then_some("--second");
                let args: Vec<&str> = ["dev", "verify", id].into_iter().chain(there).collect();
                project.run(&args).succeeded();
            }
        }
        for root in [project.backups(), project.dir.path().join("mount/x/dev")] {
            let left: Vec<String> = names(&root).into_iter().filter(|name| name.starts_with('.')).collect();
            assert!(left.is_empty(), "{point}: {left:?}");
        }
    }
}
