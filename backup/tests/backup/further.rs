//! Further files: kept with a backup, linked when unchanged, put back without losing any.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::project::Project;

fn project() -> Project {
    let project = Project::keeping("{ keep = 3, files = [\"uploads\", \"instance/key\"] }");
    project.sql("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    fs::create_dir_all(project.shared().join("uploads/a/empty")).unwrap();
    for (name, text) in [("one", "1"), ("a/two", "two"), ("a/three", "two")] {
        fs::write(project.shared().join("uploads").join(name), text).unwrap();
    }
    fs::write(project.shared().join("instance/key"), "key").unwrap();
    symlink("a/two", project.shared().join("uploads/link")).unwrap();
    project
}

/// Everything below the shared directory but the database: links as `-> TARGET`, directories as `/`.
fn tree(project: &Project) -> BTreeMap<PathBuf, String> {
    below(&project.shared()).into_iter().filter(|(path, _)| !path.starts_with("instance/app.db")).collect()
}

fn below(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut due = vec![root.to_owned()];
    while let Some(dir) = due.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if meta.is_dir() {
                due.push(path.clone());
                "/".to_owned()
            } else {
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
            };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), content);
        }
    }
    found
}

fn kept(project: &Project, id: &str, name: &str) -> PathBuf {
    project.backups().join(id).join("files").join(name)
}

fn aside(project: &Project) -> Vec<(String, String)> {
    let is_aside = |path: &Path| path.to_string_lossy().contains(".aside-");
    let found = tree(project).into_iter().filter(|(path, _)| is_aside(path));
    let plain = |path: PathBuf| path.to_string_lossy().split(".aside-").next().unwrap().to_owned();
    found.map(|(path, content)| (plain(path), content)).collect()
}

#[test]
fn they_go_along_and_come_back_with_modes_times_and_links() {
    let project = project();
    let one = project.shared().join("uploads/one");
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    fs::File::options().append(true).open(&one).unwrap().set_modified(old).unwrap();
    fs::set_permissions(&one, fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(project.shared().join("uploads/a"), fs::Permissions::from_mode(0o750)).unwrap();
    let odd = OsStr::from_bytes(b"uploads/o%\xff dd\n");
    fs::write(project.shared().join(odd), "odd").unwrap();
    let before = tree(&project);
    let ended = project.run(&["dev"]);
    ended.succeeded();
    let id = ended.facts()["id"].as_str().unwrap().to_owned();
    assert_eq!(ended.facts()["further"], serde_json::json!({"files": 5, "bytes": 13, "linked": 1}));
    assert_eq!(fs::read_to_string(kept(&project, &id, "uploads/a/two")).unwrap(), "two");
    project.run(&["dev", "verify", &id]).succeeded();

    fs::remove_dir_all(project.shared().join("uploads")).unwrap();
    fs::remove_file(project.shared().join("instance/key")).unwrap();
    let done = project.run(&["dev", "restore", &id]);
    assert_eq!(done.succeeded()["changed"], true);
    assert_eq!(tree(&project), before);
    let meta = fs::metadata(&one).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.modified().unwrap()), (0o640, old));
    assert_eq!(fs::metadata(project.shared().join("uploads/a")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(done.facts()["further"]["set_aside"], 0);
    assert_eq!(project.run(&["dev", "restore", &id]).succeeded()["changed"], false);
}

#[test]
fn unchanged_files_are_one_file_in_all_backups_and_never_the_apps_own() {
    let project = project();
    let first = project.backup();
    fs::rename(project.shared().join("uploads/a/two"), project.shared().join("uploads/moved")).unwrap();
    fs::write(project.shared().join("uploads/one"), "2").unwrap();
    let second = project.backup();
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    let (old, new) =
        (inode(kept(&project, &first, "uploads/a/two")), inode(kept(&project, &second, "uploads/moved")));
    assert_eq!(old, new);
    assert_ne!(new, inode(project.shared().join("uploads/moved")));
    assert_eq!(fs::read_to_string(kept(&project, &first, "uploads/one")).unwrap(), "1");
    assert_eq!(fs::read_to_string(kept(&project, &second, "uploads/one")).unwrap(), "2");

    fs::write(kept(&project, &second, "instance/key"), "rot").unwrap();
    let third = project.backup();
    assert_eq!(fs::read_to_string(kept(&project, &third, "instance/key")).unwrap(), "key");
    project.run(&["dev", "verify", &third]).succeeded();
    for damaged in [&first, &second] {
        assert_eq!(project.run(&["dev", "verify", damaged]).failed(1), "backup-damaged");
        assert_eq!(project.run(&["dev", "restore", damaged]).failed(1), "backup-damaged");
    }
}

#[test]
fn a_restore_overwrites_no_file() {
    let project = project();
    let id = project.backup();
    let uploads = project.shared().join("uploads");
    fs::write(uploads.join("one"), "newer").unwrap();
    fs::write(uploads.join("later"), "later").unwrap();
    fs::remove_file(uploads.join("link")).unwrap();
    symlink("/etc/passwd", uploads.join("link")).unwrap();
    fs::remove_file(uploads.join("a/two")).unwrap();
    fs::create_dir(uploads.join("a/two")).unwrap();
    fs::write(uploads.join("a/two/inner"), "inner").unwrap();
    fs::remove_dir(uploads.join("a/empty")).unwrap();
    fs::write(uploads.join("a/empty"), "full").unwrap();
    project.sql("INSERT INTO t VALUES (2)");
    let refused = project.run(&["dev", "restore", &id]);
    assert_eq!(refused.failed(1), "would-lose-writes");
    assert!(aside(&project).is_empty());

    let done = project.run(&["dev", "restore", &id, "--discard-writes"]);
    done.succeeded();
    assert_eq!(project.count("SELECT count(*) FROM t"), 1);
    let expected = [
        ("uploads/a/empty", "full"),
        ("uploads/a/two", "/"),
        ("uploads/a/two", "inner"),
        ("uploads/link", "-> /etc/passwd"),
        ("uploads/one", "newer"),
    ];
    let expected: Vec<(String, String)> =
        expected.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect();
    assert_eq!(aside(&project), expected);
    let facts = &done.facts()["further"];
    assert_eq!((&facts["placed"], &facts["set_aside"], &facts["left"]), (&4.into(), &4.into(), &2.into()));
    let now = tree(&project);
    let content = |path: &str| now[Path::new(path)].as_str();
    assert_eq!((content("uploads/one"), content("uploads/later")), ("1", "later"));
    assert_eq!((content("uploads/link"), content("uploads/a/two")), ("-> a/two", "two"));
    assert_eq!(content("uploads/a/empty"), "/");
}

#[test]
fn what_leads_outside_is_refused_and_what_is_no_file_is_said() {
    let project = project();
    let uploads = project.shared().join("uploads");
    let socket = UnixListener::bind(uploads.join("socket")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, uploads.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let ended = project.run(&["dev"]);
    ended.succeeded();
    let warnings = ended.facts()["warnings"].to_string();
    assert!(warnings.contains("socket") && warnings.contains("is a pipe"), "{warnings}");
    drop(socket);
    let id = project.ids()[0].clone();

    let outside = project.dir.path().join("elsewhere");
    fs::rename(&uploads, &outside).unwrap();
    symlink(&outside, &uploads).unwrap();
    assert_eq!(project.run(&["dev"]).failed(1), "files-outside");
    assert_eq!(project.run(&["dev", "restore", &id]).failed(1), "files-outside");
    assert_eq!(project.ids(), [id]);
    for bad in ["../dev.env", "/etc/passwd", "uploads/../../x", ""] {
        project.configure("\"uploads\"", &format!("\"{bad}\""));
        assert_eq!(project.run(&["dev"]).failed(2), "configuration", "{bad}");
        project.configure(&format!("\"{bad}\""), "\"uploads\"");
    }
}

#[test]
fn the_database_is_no_further_file_and_another_one_is_pointed_out() {
    let project = Project::keeping("{ files = [\"instance\", \"nowhere\"] }");
    project.sql("PRAGMA journal_mode = WAL; CREATE TABLE t(a)");
    let app = project.database();
    app.execute_batch("INSERT INTO t VALUES (1)").unwrap();
    fs::write(project.shared().join("instance/note"), "note").unwrap();
    fs::copy(project.live(), project.shared().join("instance/other.db")).unwrap();
    let ended = project.run(&["dev"]);
    ended.succeeded();
    let id = project.ids()[0].clone();
    let names: Vec<String> = below(&project.backups().join(id).join("files"))
        .keys()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(names, ["instance", "instance/note", "instance/other.db"]);
    let warnings = ended.facts()["warnings"].to_string();
    assert!(warnings.contains("other.db is a database"), "{warnings}");
    assert!(warnings.contains("nowhere is not backed up: it is not there"), "{warnings}");
}

#[test]
fn a_file_that_never_holds_still_is_taken_and_said() {
    let project = project();
    let path = project.shared().join("uploads/log");
    // Reading it must take longer than a busy machine keeps the writer from its turn.
    fs::File::create(&path).unwrap().set_len(48 << 20).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let facts: Value = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = fs::File::options().append(true).open(&path).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::io::Write::write_all(&mut log, b"line\n").unwrap();
            }
        });
        let ended = project.run(&["dev"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        ended.succeeded();
        ended.facts()
    });
    assert!(facts["warnings"].to_string().contains("uploads/log changed while it was read"), "{facts}");
    project.run(&["dev", "verify", facts["id"].as_str().unwrap()]).succeeded();
}

#[test]
fn retention_removes_a_backup_with_its_files_and_leaves_foreign_ones() {
    let project = project();
    let noted = project.backup();
    fs::write(kept(&project, &noted, "uploads/mine"), "mine").unwrap();
    let made: Vec<String> = (0..4).map(|_| project.backup()).collect();
    let mut expected: Vec<String> = made[1..].iter().rev().cloned().collect();
    expected.push(noted);
    assert_eq!(project.ids(), expected);
    project.run(&["dev", "verify", &made[3]]).succeeded();
}
