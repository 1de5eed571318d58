//! What `up` remembers when it had nothing to do: it tells the same again, and only as long as
//! nothing has changed.

use std::fs::{self, File, FileTimes};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::Connection;
use serde_json::{Value, json};
use tests::disk::{Disk, with_own_mounts};

use crate::world::{Answer, World};

/// What changed within this time is not relied on.
const RECENT: Duration = Duration::from_millis(2100);
const MARK: &str = "remembered";

fn memo(world: &World) -> PathBuf {
    world.state().join("dev/migrate-seen.json")
}

/// Three migrations, applied.
fn applied() -> World {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    world.migration(2, "INSERT INTO t VALUES (1);", "DELETE FROM t;");
    world.migration(3, "CREATE TABLE u(a);", "DROP TABLE u;");
    world.run(&["dev", "up"]).good();
    world
}

/// Lets each of `worlds` remember that nothing is to be done, with a mark in what it remembers.
fn remember(worlds: &[World]) {
    sleep(RECENT);
    for world in worlds {
        let read = world.run(&["dev", "up"]).good();
        let mut kept: Value = serde_json::from_slice(&fs::read(memo(world)).unwrap()).unwrap();
        assert_eq!(kept["facts"], *read.details());
        kept["facts"][MARK] = json!(true);
        fs::write(memo(world), kept.to_string()).unwrap();
    }
}

fn is_recalled(answer: &Answer) -> bool {
    !answer.details()[MARK].is_null()
}

fn file(world: &World, name: &str) -> PathBuf {
    world.path().join("migrations").join(name)
}

/// Another text of the same length, and the times of before.
fn edit_in_secret(world: &World) {
    let path = file(world, "001_m.up.sql");
    let (meta, text) = (fs::metadata(&path).unwrap(), fs::read_to_string(&path).unwrap());
    fs::write(&path, text.replace("t(a)", "t(b)")).unwrap();
    let times =
        FileTimes::new().set_modified(meta.modified().unwrap()).set_accessed(meta.accessed().unwrap());
    File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
}

/// A change, and what `up` says to it: a problem, or the versions that it applies.
type Fall = (&'static str, fn(&World), Result<&'static [i64], &'static str>);

const FALLS: [Fall; 15] = [
    (
        "an edit",
        |world| {
            world.write("001_m.up.sql", "CREATE TABLE t(c);");
        },
        Err("migration-edited"),
    ),
    ("a secret edit", edit_in_secret, Err("migration-edited")),
    (
        "a new file",
        |world| {
            world.migration(4, "CREATE TABLE v(a);", "DROP TABLE v;");
        },
        Ok(&[4]),
    ),
    (
        "an older file",
        |world| {
            world.write("000001_m.up.sql", "SELECT 1;");
        },
        Err("migration-files"),
    ),
    ("a file less", |world| world.remove("002_m.up.sql"), Err("migration-files")),
    (
        "a migration less",
        |world| ["up", "down"].iter().for_each(|end| world.remove(&format!("002_m.{end}.sql"))),
        Err("migration-missing"),
    ),
    (
        "the last one less",
        |world| ["up", "down"].iter().for_each(|end| world.remove(&format!("003_m.{end}.sql"))),
        Ok(&[]),
    ),
    (
        "another name",
        |world| fs::rename(file(world, "003_m.up.sql"), file(world, "004_m.up.sql")).unwrap(),
        Err("migration-files"),
    ),
    ("another directory", another_directory, Err("migration-edited")),
    (
        "a layout",
        |world| fs::write(world.path().join("migrate.toml"), "layout = \"golang-migrate\"").unwrap(),
        Ok(&[]),
    ),
    (
        "a record less",
        |world| {
            world.script("DELETE FROM migrations WHERE version = 3; DROP TABLE u;");
        },
        Ok(&[3]),
    ),
    (
        "another's record",
        |world| {
            world.script("UPDATE migrations SET environment = 'prod'");
        },
        Err("wrong-database"),
    ),
    ("another database", another_database, Ok(&[1, 2, 3])),
    ("another content", |world| fs::write(world.database(), "").unwrap(), Ok(&[1, 2, 3])),
    ("no database", |world| fs::remove_file(world.database()).unwrap(), Ok(&[1, 2, 3])),
];

fn another_directory(world: &World) {
    let (dir, other) = (world.path().join("migrations"), world.path().join("other"));
    fs::create_dir(&other).unwrap();
    for entry in fs::read_dir(&dir).unwrap().flatten() {
        fs::copy(entry.path(), other.join(entry.file_name())).unwrap();
    }
    fs::write(other.join("002_m.up.sql"), "INSERT INTO t VALUES (2);").unwrap();
    fs::remove_dir_all(&dir).unwrap();
    fs::rename(other, dir).unwrap();
}

fn another_database(world: &World) {
    let other = world.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE other(a)").unwrap();
    fs::rename(other, world.database()).unwrap();
}

#[track_caller]
fn assert_noticed((name, change, expected): Fall, world: &World) {
    change(world);
    let answer = world.run(&["dev", "up"]);
    assert!(!is_recalled(&answer), "{name}: {:#}", answer.report);
    match expected {
        Err(problem) => assert_eq!(answer.problem(), problem, "{name}: {:#}", answer.report),
        Ok(versions) => {
            let applied = answer.good();
            let applied = applied.details()["applied"].as_array().unwrap().iter();
            assert_eq!(
                applied.map(|one| one["version"].as_i64().unwrap()).collect::<Vec<_>>(),
                versions,
                "{name}"
            );
        }
    }
}

#[test]
fn what_is_remembered_is_told_again_until_something_changes() {
    let worlds: Vec<World> = FALLS.iter().map(|_| applied()).collect();
    remember(&worlds);
    for (fall, world) in FALLS.into_iter().zip(&worlds) {
        let mut told = world.run(&["dev", "up"]).good();
        assert!(is_recalled(&told), "{:#}", told.report);
        told.report["details"]["migrate"].as_object_mut().unwrap().remove(MARK);
        let memo = fs::read(memo(world)).unwrap();
        fs::remove_file(self::memo(world)).unwrap();
        let mut read = world.run(&["dev", "up", "--each"]).good();
        for report in [&mut told.report, &mut read.report] {
            for name in ["deployment", "started_at", "duration_ms", "log_file"] {
                report.as_object_mut().unwrap().remove(name);
            }
        }
        assert_eq!(told.report, read.report);
        fs::write(self::memo(world), memo).unwrap();
        assert_noticed(fall, world);
    }
}

#[test]
fn a_commit_that_still_lies_beside_the_database_is_noticed() {
    let world = World::new();
    world.script("PRAGMA journal_mode=wal;");
    let app = Connection::open(world.database()).unwrap();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;").migration(
        2,
        "CREATE TABLE u(a);",
        "DROP TABLE u;",
    );
    world.run(&["dev", "up"]).good();
    app.execute_batch("PRAGMA wal_autocheckpoint = 0; INSERT INTO t VALUES (1)").unwrap();
    let worlds = [world];
    remember(&worlds);
    let [world] = worlds;
    let before = fs::metadata(world.database()).unwrap().modified().unwrap();
    assert!(is_recalled(&world.run(&["dev", "up"]).good()));
    app.execute_batch("DELETE FROM migrations WHERE version = 2; DROP TABLE u").unwrap();
    assert_eq!(fs::metadata(world.database()).unwrap().modified().unwrap(), before);
    let answer = world.run(&["dev", "up"]).good();
    assert_eq!((is_recalled(&answer), &answer.details()["applied"][0]["version"]), (false, &json!(2)));
}

#[test]
fn what_changed_just_now_is_not_remembered() {
    let (begun, world) = (Instant::now(), applied());
    world.run(&["dev", "up"]).good();
    let is_kept = memo(&world).exists();
    assert!(!is_kept || begun.elapsed() > RECENT);
}

#[test]
fn a_memo_that_is_torn_or_anothers_only_costs_the_reading() {
    let worlds = [applied(), applied()];
    remember(&worlds);
    let [world, other] = worlds;
    let whole = fs::read(memo(&world)).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    let mut later: Value = serde_json::from_slice(&whole).unwrap();
    later["traces"] = json!("0".repeat(64));
    for bytes in [
        Vec::new(),
        vec![0; 200],
        half,
        b"[]".to_vec(),
        later.to_string().into_bytes(),
        fs::read(memo(&other)).unwrap(),
    ] {
        fs::write(memo(&world), bytes).unwrap();
        assert!(!is_recalled(&world.run(&["dev", "up"]).good()));
        assert!(
            serde_json::from_slice::<Value>(&fs::read(memo(&world)).unwrap()).is_ok(),
            "it is written again"
        );
    }
}

#[test]
fn what_is_deferred_is_never_remembered() {
    let world = applied();
    world.write("004_m.up.sql", "-- phase: after\nDROP TABLE u;");
    world.run(&["dev", "up"]).good();
    sleep(RECENT);
    world.write("005_m.up.sql", "-- phase: after\nDROP TABLE t;");
    world.run(&["dev", "up", "--contract"]).good();
    sleep(RECENT);
    world.run(&["dev", "up"]).good();
    assert!(memo(&world).exists(), "nothing is deferred any more");
}

/// Killed, or without room, or where something else lies: the command itself is as good as ever.
#[test]
fn a_memo_that_cannot_be_written_is_no_failure() {
    let world = applied();
    sleep(RECENT);
    for point in ["before", "after"] {
        let mut killed = world.command(&["dev", "up"]);
        killed.env("DEPLOY_FAULT", format!("migrate:rename-for-now.{point}#1=abort"));
        assert_eq!(killed.output().unwrap().status.code(), None, "{point}");
        assert_eq!(memo(&world).exists(), point == "after");
        assert!(!is_recalled(&world.run(&["dev", "up"]).good()));
        fs::remove_file(memo(&world)).unwrap();
    }
    fs::create_dir(memo(&world)).unwrap();
    world.run(&["dev", "up"]).good();
    assert!(!memo(&world).with_extension("json.new").exists());
}

#[test]
fn a_full_disk_keeps_no_memo_and_is_no_failure() {
    with_own_mounts("remembering::a_full_disk_keeps_no_memo_and_is_no_failure", || {
        let (world, disk) = (World::new(), Disk::small(4));
        fs::create_dir_all(world.state()).unwrap();
        std::os::unix::fs::symlink(disk.mount(), world.state().join("dev")).unwrap();
        world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
        world.run(&["dev", "up"]).good();
        sleep(RECENT);
        let mut full = world.command(&["dev", "up"]);
        full.env("DEPLOY_FAULT", format!("migrate:lock.taken#1=run:{}", disk.fill_command()));
        World::finish(full.spawn().unwrap()).good();
        assert!(!memo(&world).exists() && !memo(&world).with_extension("json.new").exists());
        disk.empty();
        world.run(&["dev", "up"]).good();
        assert!(memo(&world).exists());
        drop(world);
        drop(disk);
    });
}

#[test]
fn the_lock_recovery_and_the_right_database_come_before_what_is_remembered() {
    let worlds = [applied()];
    remember(&worlds);
    let [world] = worlds;
    let mut killed = world.command(&["dev", "down"]);
    killed.env("DEPLOY_FAULT", "migrate:ledger.after-commit#1=abort");
    assert_eq!(killed.output().unwrap().status.code(), None);
    let ledger = Connection::open(world.state().join("ledger.db")).unwrap();
    let unfinished =
        || ledger.query_row("SELECT count(*) FROM deployments WHERE ended_ms IS NULL", [], |row| row.get(0));
    assert_eq!(unfinished(), Ok(1));
    assert!(is_recalled(&world.run(&["dev", "up"]).good()));
    assert_eq!(unfinished(), Ok(0));

    let lock = File::options().write(true).open(world.state().join("dev/lock")).unwrap();
    lock.lock().unwrap();
    world.run(&["dev", "up", "--wait", "0"]).refused("locked");
    drop(lock);

    let configuration = fs::read_to_string(world.path().join("deploy.toml")).unwrap();
    let path = world.database();
    let shared = format!(
        "listen = \"127.0.0.1:8003\"\npromote_from = \"dev\"\ndatabase = \"sqlite:{}\"",
        path.display()
    );
    let own = "listen = \"127.0.0.1:8003\"\npromote_from = \"dev\"\ndatabase = \"sqlite:instance/app.db\"";
    fs::write(world.path().join("deploy.toml"), configuration.replace(own, &shared)).unwrap();
    world.run(&["dev", "up"]).refused("wrong-database");
}

/// The files are looked at while the lock is taken: who had to wait for it, however short, looks again.
#[test]
fn what_changes_while_the_lock_is_waited_for_is_noticed() {
    let worlds = [applied()];
    remember(&worlds);
    let [world] = worlds;
    let path = world.state().join("dev/lock");
    let lock = File::options().write(true).open(&path).unwrap();
    lock.lock().unwrap();
    let mut waiting = world.start(&["dev", "up", "--wait", "60"]);
    let own = PathBuf::from(format!("/proc/{}", waiting.id()));
    let has_lock = || {
        let mut open = fs::read_dir(own.join("fd")).unwrap().flatten();
        open.any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == path))
    };
    // The look at the files is a thread of its own.
    let has_looked = || fs::read_dir(own.join("task")).unwrap().count() == 1;
    let begun = Instant::now();
    while !(has_lock() && has_looked()) {
        assert_eq!(waiting.try_wait().unwrap(), None);
        assert!(begun.elapsed() < Duration::from_secs(30));
        sleep(Duration::from_millis(1));
    }
    // Between opening the lock's file and asking for the lock there is a moment that shows nowhere.
    sleep(Duration::from_millis(100));
    edit_in_secret(&world);
    drop(lock);
    World::finish(waiting).refused("migration-edited");
}

/// Whatever is changed: what is recalled is what `status`, which reads all, says too.
#[test]
fn random_edits_are_never_overlooked() {
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let mut state = u64::try_from(seed % u128::from(u64::MAX)).unwrap() | 1;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below).unwrap()
    };
    let worlds: Vec<World> = (0..12).map(|_| applied()).collect();
    remember(&worlds);
    for world in &worlds {
        let edits: Vec<usize> = (0..next(3)).map(|_| next(8)).collect();
        for edit in &edits {
            scramble(world, *edit);
        }
        let status = world.run(&["dev", "status"]);
        let answer = world.run(&["dev", "up"]);
        let told = format!("seed {seed}, edits {edits:?}: {:#}", answer.report);
        assert_eq!(is_recalled(&answer), edits.is_empty(), "{told}");
        assert_eq!(answer.problem(), status.problem(), "{told}");
        let count = |list: &Value| list.as_array().map_or(0, Vec::len);
        if answer.code == Some(0) {
            assert_eq!(count(&answer.details()["applied"]), count(&status.details()["pending"]), "{told}");
        }
    }
}

fn scramble(world: &World, edit: usize) {
    match edit {
        0 => {
            world.write("002_m.up.sql", "INSERT INTO t VALUES (3);");
        }
        1 => {
            world.write("002_m.down.sql", "DELETE FROM t WHERE a = 1;");
        }
        2 => {
            world.migration(7, "CREATE TABLE w(a);", "DROP TABLE w;");
        }
        3 => {
            world.script("DELETE FROM migrations WHERE version = 3; DROP TABLE IF EXISTS u;");
        }
        4 => {
            world.script("INSERT INTO t VALUES (4);");
        }
        5 => edit_in_secret(world),
        6 => {
            world.write("001_m.up.sql", "CREATE TABLE t(a);");
        }
        _ => fs::write(file(world, "001_m.down.sql"), "").unwrap(),
    }
}
