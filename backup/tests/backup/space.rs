//! A full disk: a clear problem, nothing left behind. A small file system needs root; without it
//! the test says that it did nothing.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::project::{Project, names};

/// A small file system in memory, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(directory: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&directory).unwrap();
        let options = format!("size={size},mode=0700");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&directory).output();
        let mounted = mount.is_ok_and(|output| output.status.success());
        mounted.then_some(Self(directory))
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A database of about 2 MiB that does not compress.
fn fill(project: &Project) {
    project.sql(
        "CREATE TABLE t(a); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) INSERT INTO t SELECT randomblob(1000) FROM c",
    );
}

#[test]
fn too_little_room_is_said_before_anything_is_written() {
    let project = Project::new();
    fill(&project);
    let Some(_disk) = SmallDisk::mount(project.backups(), "1m") else {
        skipped("mounting a small file system needs root");
        return;
    };
    assert_eq!(project.run(&["dev"]).failed(1), "no-space");
    assert!(project.names().is_empty());
}

#[test]
fn a_disk_that_fills_up_leaves_nothing_behind() {
    let project = Project::new();
    fill(&project);
    for size in ["2500k", "3m", "3500k"] {
        let Some(_disk) = SmallDisk::mount(project.backups(), size) else {
            skipped("mounting a small file system needs root");
            return;
        };
        let ended = project.run(&["dev"]);
        assert_eq!(ended.failed(1), "no-space", "{size}");
        assert!(project.names().is_empty(), "{size}: {:?}", project.names());
        assert_eq!(project.count("SELECT count(*) FROM t"), 2000);
    }
}

#[test]
fn without_room_for_the_text_the_backup_counts_and_gets_it_later() {
    let project = Project::new();
    fill(&project);
    for size in ["5m", "7m"] {
        let Some(disk) = SmallDisk::mount(project.backups(), size) else {
            skipped("mounting a small file system needs root");
            return;
        };
        let ended = project.run(&["dev"]);
        ended.succeeded();
        assert!(ended.stderr.contains("later by: backup dev export"), "{}", ended.stderr);
        let id = ended.facts()["id"].as_str().unwrap().to_owned();
        assert_eq!(project.names(), std::slice::from_ref(&id), "{size}");
        assert!(!names(&project.backups().join(&id)).contains(&"database.sql".to_owned()));
        project.run(&["dev", "verify", &id]).succeeded();
        assert_eq!(project.run(&["dev", "export"]).failed(1), "no-space");
        disk.resize("40m");
        let exported = project.run(&["dev", "export"]);
        exported.succeeded();
        assert_eq!(exported.facts()["exported"], serde_json::json!([id]));
        assert!(names(&project.backups().join(&id)).contains(&"database.sql".to_owned()));
        project.run(&["dev", "verify", &id]).succeeded();
    }
}

#[test]
fn a_full_disk_stops_a_restore_before_the_database_is_touched() {
    let project = Project::keeping("{ files = [\"uploads\"] }");
    fill(&project);
    let uploads = project.shared().join("uploads");
    let Some(_disk) = SmallDisk::mount(uploads.clone(), "2m") else {
        skipped("mounting a small file system needs root");
        return;
    };
    std::fs::write(uploads.join("one"), vec![1; 1 << 20]).unwrap();
    let id = project.run(&["dev"]).facts()["id"].as_str().unwrap().to_owned();
    std::fs::remove_file(uploads.join("one")).unwrap();
    std::fs::write(uploads.join("other"), vec![2; 3 << 19]).unwrap();
    project.sql("DELETE FROM t");
    assert_eq!(project.run(&["dev", "restore", &id, "--discard-writes"]).failed(1), "no-space");
    assert_eq!(project.count("SELECT count(*) FROM t"), 0);
    assert_eq!(names(&uploads), ["other"]);
    std::fs::remove_file(uploads.join("other")).unwrap();
    project.run(&["dev", "restore", &id, "--discard-writes"]).succeeded();
    assert_eq!(project.count("SELECT count(*) FROM t"), 2000);
    assert_eq!(std::fs::read(uploads.join("one")).unwrap(), vec![1; 1 << 20]);
}

#[test]
fn a_full_second_place_is_a_warning_and_gets_its_copy_later() {
    let project = Project::keeping("{ second = \"mount\" }");
    fill(&project);
    let mount = project.dir.path().join("mount");
    let disk = SmallDisk::mount(mount.clone(), "1m");
    if disk.is_none() {
        skipped("mounting a small file system needs root");
        return;
    }
    let ended = project.run(&["dev"]);
    ended.succeeded();
    let id = project.ids()[0].clone();
    assert_eq!(ended.facts()["second"]["pending"], serde_json::json!([id]));
    assert!(ended.facts()["warnings"][0].as_str().unwrap().contains("not enough room"), "{}", ended.stdout);
    assert!(names(&mount.join("x/dev")).is_empty());
    drop(disk);
    project.run(&["dev", "send"]).succeeded();
    project.run(&["dev", "verify", &id, "--second"]).succeeded();
}

/// Past the test runner's capture: a test that could not run must be seen.
fn skipped(reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}
