//! Two runners at once, runners killed at any moment, and the lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::world::World;

/// `make soak` takes the long form.
fn rounds(short: u32, long: u32) -> u32 {
    if std::env::var_os("SOAK").is_some() { long } else { short }
}

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

fn race(runners: usize, args: &[&str]) {
    let world = World::new();
    busy_migrations(&world, 30);
    let runners: Vec<_> = (0..runners).map(|_| world.start(args)).collect();
    let answers: Vec<_> = runners.into_iter().map(|child| World::finish(child).good()).collect();
    let applied: usize =
        answers.iter().map(|answer| answer.details()["applied"].as_array().unwrap().len()).sum();
    assert_eq!(applied, 30);
    assert_eq!(world.number("SELECT count(*) FROM migrations"), 30);
    assert_eq!(world.number("SELECT count(*) FROM t30"), 8);
}

#[test]
fn two_runners_at_once_both_succeed_and_each_migration_runs_once() {
    for round in 0..rounds(10, 50) {
        race(2, if round % 2 == 0 { &["dev", "up"] } else { &["dev", "up", "--each"] });
    }
}

#[test]
fn ten_runners_at_once_all_succeed_and_each_migration_runs_once() {
    for _ in 0..rounds(2, 50) {
        race(10, &["dev", "up"]);
    }
}

/// Lets `args` run for a random part of the time that it needs, and kills it.
fn kill_somewhere(world: &World, args: &[&str], needed: Duration) {
    let mut child = world.start(args);
    let nanoseconds =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    sleep(needed.mul_f64(f64::from(nanoseconds % 1_000_000) / 1e6));
    child.kill().unwrap();
    child.wait().unwrap();
}

fn time_of(world: &World, args: &[&str]) -> Duration {
    let begun = std::time::Instant::now();
    world.run(args).good();
    begun.elapsed()
}

const TABLES: &str = "SELECT count(*) FROM sqlite_master WHERE name GLOB 't[0-9]*'";

fn assert_healed(world: &World, count: i64) {
    world.run(&["dev", "up"]).good();
    assert_eq!((world.number(TABLES), world.number("SELECT count(*) FROM migrations")), (count, count));
    assert_eq!(world.number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"), 1);
}

#[test]
fn a_runner_killed_at_any_moment_leaves_all_or_nothing_and_the_next_one_heals() {
    let world = World::new();
    busy_migrations(&world, 60);
    let needed = time_of(&world, &["dev", "up"]);
    for round in 0..rounds(15, 100) {
        world.run(&["dev", "down", "--to", "0"]).good();
        kill_somewhere(&world, &["dev", "up"], needed);
        if round % 2 == 0 {
            let found = world.number(TABLES);
            assert!(found == 0 || found == 60, "round {round}: {found}");
        } else {
            world.run(&["dev", "rehearse"]).good();
        }
        assert_healed(&world, 60);
    }
}

/// Most of the time of such a run is spent inside COMMIT.
#[test]
fn a_runner_killed_between_and_inside_commits_leaves_whole_migrations_only() {
    let world = World::new();
    busy_migrations(&world, 40);
    let needed = time_of(&world, &["dev", "up", "--each"]);
    for round in 0..rounds(10, 70) {
        world.run(&["dev", "down", "--to", "0"]).good();
        kill_somewhere(&world, &["dev", "up", "--each"], needed);
        let tables = world.number(TABLES);
        let recorded = if tables == 0 { 0 } else { world.number("SELECT count(*) FROM migrations") };
        assert_eq!(tables, recorded, "round {round}");
        assert_healed(&world, 40);
    }
}

#[test]
fn a_script_and_a_run_outside_of_transactions_heal_when_killed() {
    let world = World::new();
    let up = "    for n in range(200):\n        db.execute('INSERT INTO t1 VALUES (?)', (n,))\n";
    world.write("001_m.up.sql", "CREATE TABLE t1(a);").write("001_m.down.sql", "DROP TABLE t1;");
    world
        .write("002_m.py", format!("def up(db):\n{up}\n\ndef down(db):\n    db.execute('DELETE FROM t1')\n"));
    let inserts = "INSERT INTO t1 VALUES (1);\n".repeat(40);
    world
        .write("003_m.up.sql", format!("-- no-transaction\n{inserts}VACUUM;\n{inserts}"))
        .write("003_m.down.sql", "DELETE FROM t1;");
    let needed = time_of(&world, &["dev", "up"]);
    for _ in 0..rounds(6, 30) {
        world.run(&["dev", "down", "--to", "0"]).good();
        kill_somewhere(&world, &["dev", "up"], needed);
        world.run(&["dev", "up"]).good();
        assert_eq!(world.number("SELECT count(*) FROM t1"), 280);
        assert_eq!(world.number("SELECT count(*) FROM migrations WHERE unfinished IS NULL"), 3);
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
