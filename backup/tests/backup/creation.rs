//! Making backups: one point in time, private, without secrets, named after what serves.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;

use crate::project::{Project, names};

/// Moves one unit from one account to another, over and over, with the pauses of an app, and adds
/// a row to a log each time.
const WRITER: &str = "
import random, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
while True:
    db.execute('BEGIN IMMEDIATE')
    a, b = random.sample(range(1, 101), 2)
    db.execute('UPDATE account SET balance = balance - 1 WHERE id = ?', (a,))
    db.execute('UPDATE account SET balance = balance + 1 WHERE id = ?', (b,))
    db.execute('INSERT INTO log(pad) VALUES (hex(randomblob(100)))')
    db.execute('UPDATE total SET n = n + 1')
    db.execute('COMMIT')
    print('x', flush=True)
    time.sleep(0.003)
";

/// A writer in a process of its own; ends with the test.
struct Writer(Child);

impl Writer {
    fn start(project: &Project) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", WRITER])
            .arg(project.live())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 2];
        let mut out = child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut out, &mut first).unwrap();
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        Self(child)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn unpacked(project: &Project, id: &str) -> Connection {
    let raw = project.dir.path().join(format!("{id}.db"));
    let packed = fs::File::open(project.backups().join(id).join("database.db.zst")).unwrap();
    zstd::stream::copy_decode(packed, fs::File::create(&raw).unwrap()).unwrap();
    Connection::open(raw).unwrap()
}

fn snapshots_beside_writers(mode: &str) {
    let project = Project::new();
    project.sql(&format!(
        "PRAGMA journal_mode = {mode}; CREATE TABLE account(id INTEGER PRIMARY KEY, balance INT);
         CREATE TABLE log(n INTEGER PRIMARY KEY, pad); CREATE TABLE total(n INT); INSERT INTO total VALUES (3000);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100) INSERT INTO account SELECT n, 10 FROM c;
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000) INSERT INTO log SELECT n, hex(randomblob(400)) FROM c;"
    ));
    let writers = [Writer::start(&project), Writer::start(&project)];
    for _ in 0..3 {
        let id = project.backup();
        project.run(&["dev", "verify", &id]).succeeded();
        let db = unpacked(&project, &id);
        let (balance, rows, total): (i64, i64, i64) = db
            .query_row(
                "SELECT (SELECT sum(balance) FROM account), (SELECT count(*) FROM log), (SELECT n FROM total)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert_eq!((balance, rows), (1000, total));
    }
    drop(writers);
    assert!(project.count("SELECT n FROM total") > 3000);
}

#[test]
fn beside_writers_in_wal_mode_it_is_one_point_in_time() {
    snapshots_beside_writers("WAL");
}

#[test]
fn beside_writers_in_rollback_journal_mode_it_is_one_point_in_time() {
    snapshots_beside_writers("DELETE");
}

/// Writes as fast as it can, and takes no for an answer at once.
const IMPATIENT: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
written = refused = 0
print('x', flush=True)
import select
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        db.execute('INSERT INTO log(pad) VALUES (hex(randomblob(100)))')
        written += 1
    except sqlite3.OperationalError:
        refused += 1
print(written, refused)
";

#[test]
fn in_wal_mode_no_write_is_refused_and_the_backup_ends() {
    let project = Project::new();
    project.sql(
        "PRAGMA journal_mode = WAL; CREATE TABLE log(n INTEGER PRIMARY KEY, pad);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000) INSERT INTO log SELECT n, hex(randomblob(400)) FROM c",
    );
    let mut writer = Command::new("python3")
        .args(["-c", IMPATIENT])
        .arg(project.live())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    lines.next();
    for _ in 0..3 {
        let id = project.backup();
        project.run(&["dev", "verify", &id]).succeeded();
    }
    drop(writer.stdin.take());
    let told = lines.next().unwrap().unwrap();
    writer.wait().unwrap();
    let (written, refused) = told.split_once(' ').unwrap();
    assert_eq!(refused, "0", "of {written}");
    assert!(written.parse::<u32>().unwrap() > 100, "{written}");
}

#[test]
fn two_at_once_are_told_apart() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a)");
    let begin = || project.command(&["dev", "--wait", "60"]).spawn().unwrap();
    let both = [begin(), begin(), begin()];
    for child in both {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert_eq!(project.ids().len(), 3);
    for id in project.ids() {
        project.run(&["dev", "verify", &id]).succeeded();
    }
}

#[test]
fn without_a_database_there_is_nothing_to_do() {
    let project = Project::new();
    let report = project.run(&["dev"]).succeeded();
    assert_eq!(report["steps"][0]["name"], "backup.database");
    assert_eq!(report["steps"][0]["status"], "skipped");
    assert!(project.names().is_empty());
}

#[test]
fn an_empty_database_file_is_a_database() {
    let project = Project::new();
    fs::write(project.live(), "").unwrap();
    let id = project.backup();
    project.run(&["dev", "verify", &id]).succeeded();
    project.sql("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    project.run(&["dev", "restore", &id, "--discard-writes"]).succeeded();
    assert_eq!(project.count("SELECT count(*) FROM sqlite_schema"), 0);
}

#[test]
fn only_the_owner_can_read_it_and_no_secret_is_in_it() {
    let project = Project::new();
    let text = fs::read_to_string(project.dir.path().join("deploy.toml")).unwrap();
    project.write("deploy.toml", &text.replace("run = \"true\"", "run = \"serve --token sentinel-4711\""));
    project.sql("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    let ended = project.run(&["dev"]);
    ended.succeeded();
    let facts = ended.facts();
    let directory = project.backups().join(facts["id"].as_str().unwrap());
    assert_eq!(facts["directory"], directory.display().to_string());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let expected = ["config.json", "database.db.zst", "database.sql", "git-tag.txt", "manifest.json"];
    assert_eq!(names(&directory), expected);
    for name in expected {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
        let bytes = fs::read(directory.join(name)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("sentinel-4711") && !text.contains("second sentinel"), "{name}");
    }
    let settings: serde_json::Value =
        serde_json::from_slice(&fs::read(directory.join("config.json")).unwrap()).unwrap();
    assert_eq!(settings["secrets"], serde_json::json!(["OTHER", "TOKEN"]));
    assert_eq!(settings["app"]["run"], "serve --token $TOKEN");
    assert_eq!(settings["settings"]["backups"]["keep"], 3);
    assert!(!ended.stdout.contains("sentinel-4711") && !ended.stderr.contains("sentinel-4711"));
}

#[test]
fn the_serving_revision_is_tagged() {
    let project = Project::new();
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(project.dir.path()).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?} {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch", "dev"]);
    git(&["config", "user.name", "T"]);
    git(&["config", "user.email", "t@example.org"]);
    git(&["commit", "--quiet", "--allow-empty", "--message", "one"]);
    let revision = git(&["rev-parse", "HEAD"]);
    project.sql("CREATE TABLE t(a)");
    project.backup();
    let config = common::config::load(Some(&project.dir.path().join("deploy.toml"))).unwrap();
    let ledger = common::ledger::Ledger::open(&config).unwrap();
    ledger
        .begin(&common::ledger::Beginning {
            id: "D1",
            environment: "dev",
            kind: common::ledger::Kind::Deploy,
            revision: &revision,
            branch: Some("dev"),
            tree: None,
            replaced: None,
            restores: None,
            log_file: None,
        })
        .unwrap();
    ledger.set_serving("dev", "D1").unwrap();
    let id = project.backup();
    assert_eq!(git(&["rev-parse", &format!("backup/dev/{id}^{{commit}}")]), revision);
    let text = fs::read_to_string(project.backups().join(&id).join("git-tag.txt")).unwrap();
    assert_eq!(text, format!("revision {revision}\nbranch dev\ntag backup/dev/{id}\n"));
    assert_eq!(git(&["tag"]).lines().count(), 1);
}

#[test]
fn rows_that_refer_to_nothing_do_not_stop_a_backup() {
    let project = Project::new();
    project.sql("PRAGMA foreign_keys = OFF; CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id)); INSERT INTO c VALUES (9)");
    let id = project.backup();
    project.run(&["dev", "verify", &id]).succeeded();
    let manifest = fs::read_to_string(project.backups().join(&id).join("manifest.json")).unwrap();
    assert!(manifest.contains("\"foreign_key_check\": false"));
}

#[test]
fn what_only_the_app_can_load_is_backed_up_without_an_export() {
    let project = Project::new();
    let script = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.create_collation('german', lambda a, b: (a > b) - (a < b))
db.execute('CREATE TABLE t(a TEXT COLLATE german, b)')
db.execute('CREATE INDEX i ON t(b)')
db.executemany('INSERT INTO t VALUES (?, ?)', [('b', 1), ('a', 2)])
db.commit()";
    assert!(Command::new("python3").args(["-c", script]).arg(project.live()).status().unwrap().success());
    let id = project.backup();
    project.run(&["dev", "verify", &id]).succeeded();
    let manifest = fs::read_to_string(project.backups().join(&id).join("manifest.json")).unwrap();
    assert!(manifest.contains("\"unexportable\": ") && manifest.contains("german"), "{manifest}");
    let again = project.run(&["dev", "export"]);
    again.succeeded();
    assert_eq!(again.facts()["unexportable"], serde_json::json!([]), "tried once");
}

#[test]
fn a_deployment_does_not_wait_for_the_text() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    let report = project.run(&["dev", "--reason", "deploy", "--deployment", "D1"]).succeeded();
    let step =
        report["steps"].as_array().unwrap().iter().find(|step| step["name"] == "backup.export").unwrap();
    assert_eq!(step["status"], "skipped");
    let id = project.ids().remove(0);
    let files = || names(&project.backups().join(&id));
    assert!(!files().contains(&"database.sql".to_owned()));
    // What a kill leaves between the name and the manifest.
    fs::write(project.backups().join(&id).join("database.sql"), "half").unwrap();
    project.run(&["dev", "verify", &id]).succeeded();
    let report = project.run(&["dev", "export"]).succeeded();
    assert_eq!(report["changed"], true);
    let text = fs::read_to_string(project.backups().join(&id).join("database.sql")).unwrap();
    assert!(text.contains("INSERT INTO") && text.contains("end of export"), "{text}");
    project.run(&["dev", "verify", &id]).succeeded();
    assert_eq!(project.run(&["dev", "export"]).succeeded()["changed"], false);
}

#[test]
fn other_programs_load_the_export() {
    let project = Project::new();
    project.sql(
        "CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'x;y' || char(10) || 'z'), (2, x'00'); CREATE VIRTUAL TABLE f USING fts5(x);
         INSERT INTO f VALUES ('hello world'); CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET b = 1; SELECT 1; END; CREATE VIEW v AS SELECT a FROM t",
    );
    let id = project.backup();
    let script = "
import sqlite3, sys
path = sys.argv[1] + '/loaded.db'
db = sqlite3.connect(path)
db.executescript(open(sys.argv[2]).read())
db.close()
db = sqlite3.connect(path)
print(db.execute('PRAGMA integrity_check').fetchall(), db.execute('SELECT * FROM t').fetchall(), db.execute(\"SELECT x FROM f WHERE f MATCH 'world'\").fetchall())";
    let output = Command::new("python3")
        .args(["-c", script])
        .args([project.dir.path(), &project.backups().join(id).join("database.sql")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        text.trim(),
        "[('ok',)] [(1, 'x;y\\nz'), (2, b'\\x00')] [('hello world',)]",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn an_unchanged_database_takes_no_room_again() {
    let project = Project::keeping("{ keep = 9 }");
    project.sql("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    let snapshot = |id: &String| project.backups().join(id).join("database.db.zst");
    let inode = |id: &String| fs::metadata(snapshot(id)).unwrap().ino();
    let (first, second) = (project.backup(), project.backup());
    assert_eq!(inode(&first), inode(&second));
    project.sql("INSERT INTO t VALUES (2)");
    let third = project.backup();
    assert_ne!(inode(&second), inode(&third));
    fs::write(snapshot(&third), "rot").unwrap();
    let fourth = project.backup();
    for (id, status) in [(&first, 0), (&second, 0), (&third, 1), (&fourth, 0)] {
        assert_eq!(project.run(&["dev", "verify", id]).status, status, "{id}");
    }
}
