//! Two runners at once, runners killed at any moment, and the lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::world::World;

const ROUNDS: u32 = 20;

fn busy_migrations(world: &World, count: u32) {
    for version in 1..=count {
        world.migration(
            version,
            &format!(
                "CREATE TABLE t{version}(a); INSERT INTO t{version} SELECT hex(randomblob(50)) FROM generate;"
            ),
            &format!("DROP TABLE t{version};"),
        );
    }
    world.script(
        "CREATE TABLE generate(n); INSERT INTO generate VALUES (1), (2), (3), (4), (5), (6), (7), (8);",
    );
}

#[test]
fn two_runners_at_once_both_succeed_and_each_migration_runs_once() {
    for _ in 0..ROUNDS {
        let world = World::new();
        busy_migrations(&world, 30);
        let runners: Vec<_> = (0..2).map(|_| world.start(&["dev", "up"])).collect();
        let answers: Vec<_> = runners.into_iter().map(|child| World::finish(child).good()).collect();
        let applied: usize =
            answers.iter().map(|answer| answer.details()["applied"].as_array().unwrap().len()).sum();
        assert_eq!(applied, 30);
        assert_eq!(world.number("SELECT count(*) FROM migrations"), 30);
        assert_eq!(world.number("SELECT count(*) FROM t30"), 8);
    }
}

#[test]
fn a_runner_killed_at_any_moment_leaves_all_or_nothing_and_the_next_one_heals() {
    for round in 0..ROUNDS {
        let world = World::new();
        busy_migrations(&world, 60);
        world.run(&["dev", "down"]).good();
        let mut child = world.start(&["dev", "up"]);
        sleep(Duration::from_millis(u64::from(round) * 6));
        child.kill().unwrap();
        child.wait().unwrap();
        let tables = "SELECT count(*) FROM sqlite_master WHERE name GLOB 't[0-9]*'";
        if round % 2 == 0 {
            let found = world.number(tables);
            assert!(found == 0 || found == 60, "round {round}: {found}");
        } else {
            world.run(&["dev", "rehearse"]).good();
        }
        world.run(&["dev", "up"]).good();
        assert_eq!((world.number(tables), world.number("SELECT count(*) FROM migrations")), (60, 60));
        assert_eq!(
            world.number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"),
            1
        );
    }
}

#[test]
fn what_a_killed_writer_left_is_rolled_back_by_every_verb() {
    for verb in ["status", "plan", "rehearse", "up", "down", "baseline"] {
        let world = World::new();
        world.migration(1, "CREATE TABLE u(a);", "DROP TABLE u;");
        fs::create_dir_all(world.database().parent().unwrap()).unwrap();
        let source = world.path().join("source.db");
        let writer = rusqlite::Connection::open(&source).unwrap();
        writer
            .execute_batch(
                "CREATE TABLE t(a); INSERT INTO t VALUES ('kept'); PRAGMA cache_size=1; BEGIN IMMEDIATE;",
            )
            .unwrap();
        writer.execute_batch("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 500) INSERT INTO t SELECT hex(randomblob(500)) FROM c").unwrap();
        let journal = |path: &Path| PathBuf::from(format!("{}-journal", path.display()));
        fs::copy(&source, world.database()).unwrap();
        fs::copy(journal(&source), journal(&world.database())).unwrap();
        world.run(&["dev", verb]).good();
        assert_eq!(world.number("SELECT count(*) FROM t"), 1, "{verb}");
    }
}

#[test]
fn a_signal_ends_a_long_statement_and_nothing_is_changed() {
    let world = World::new();
    world.script("CREATE TABLE t(a);");
    let endless =
        "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c;";
    world.migration(1, "CREATE TABLE u(a);", "DROP TABLE u;").migration(2, endless, "SELECT 1;");
    let child = world.start(&["dev", "up"]);
    let journal = PathBuf::from(format!("{}-journal", world.database().display()));
    while !journal.exists() {
        sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let answer = World::finish(child);
    assert_eq!((answer.code, answer.problem()), (Some(143), "interrupted"));
    assert_eq!(answer.report["changed"], false);
    assert_eq!(world.number("SELECT count(*) FROM sqlite_master"), 1);
}

#[test]
fn changing_verbs_wait_for_the_lock_and_reading_ones_do_not() {
    let world = World::new();
    world.migration(1, "CREATE TABLE t(a);", "DROP TABLE t;");
    world.run(&["dev", "up"]).good();
    let lock = fs::File::options().write(true).open(world.state().join("dev/lock")).unwrap();
    lock.lock().unwrap();
    for args in
        [&["dev", "--wait", "0"][..], &["dev", "down", "--wait", "0"], &["dev", "baseline", "--wait", "0"]]
    {
        world.run(args).refused("locked");
    }
    for verb in ["status", "plan", "rehearse"] {
        world.run(&["dev", verb]).good();
    }
    let waiting = world.start(&["dev", "down"]);
    drop(lock);
    World::finish(waiting).good();
}
