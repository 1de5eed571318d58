//! The way back of a damaged database: a backup that the target can live with, and on it every row
//! that can still be read.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::Value;
use tests::fault::Act;
use tests::world::World;

/// Rows of the table, each of about a quarter of a page.
const ROWS: i64 = 400;

/// v1, then v2 with a table of many rows, of which the last few were written after the backup.
fn serving() -> World {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.write("migrations/002_doc.up.sql", "CREATE TABLE doc(id INTEGER PRIMARY KEY, text TEXT);\n");
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    write(&world, 1, ROWS - 100);
    world
}

/// Users write rows.
fn write(world: &World, first: i64, last: i64) {
    let sql = format!(
        "WITH RECURSIVE c(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM c WHERE n < {last})
         INSERT INTO doc(id, text) SELECT n, n || ':' || hex(zeroblob(500)) FROM c; PRAGMA wal_checkpoint(TRUNCATE)"
    );
    Connection::open(world.database("dev")).unwrap().execute_batch(&sql).unwrap();
}

/// Makes one page in the middle of the table unreadable, as a broken disk does, while the app runs.
fn damage(world: &World) -> Vec<u8> {
    let path = world.database("dev");
    let db = Connection::open(&path).unwrap();
    let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    drop(db);
    spoil_page(&path, pages / 2 + 1);
    fs::read(path).unwrap()
}

/// Pages are counted from 1 and have 4096 bytes.
fn spoil_page(path: &Path, number: i64) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(u64::try_from((number - 1) * 4096).unwrap())).unwrap();
    file.write_all(&[0xA5; 4096]).unwrap();
    file.sync_all().unwrap();
}

fn ids(world: &World) -> Vec<i64> {
    let db = Connection::open(world.database("dev")).unwrap();
    let mut list = db.prepare("SELECT id FROM doc ORDER BY id").unwrap();
    list.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The damaged files that were set aside.
fn aside(world: &World) -> Vec<PathBuf> {
    let directory = world.database("dev").parent().unwrap().to_owned();
    let files = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    files.filter(|path| path.to_string_lossy().contains(".aside-")).collect()
}

/// A release beside, whose migration v2 can live with; its backup has most rows.
fn third(world: &World) -> i64 {
    world.write("migrations/003_more.up.sql", "CREATE TABLE more(a);\n");
    world.release("v3");
    world.run("deploy", &["dev"]).ok();
    write(world, ROWS - 99, ROWS);
    let db = Connection::open(world.database("dev")).unwrap();
    db.execute_batch("INSERT INTO more VALUES (1)").unwrap();
    ROWS
}

#[test]
fn every_row_that_can_be_read_is_kept_and_the_damaged_file_too() {
    let world = serving();
    let all = third(&world);
    let damaged = damage(&world);
    let before = world.footprint("dev");
    let plan = world.run("rollback", &["dev", "--plan"]).ok().report();
    assert_eq!(plan.details["rollback"]["rung"]["number"], 4);
    assert_eq!(world.footprint("dev"), before);

    let report = world.run("rollback", &["dev"]).ok().report();
    let told = &report.details["rollback"]["rung"];
    assert_eq!(told, &plan.details["rollback"]["rung"]);
    assert!(told["reason"].as_str().unwrap().starts_with("the database is damaged: "), "{told}");
    assert_eq!(world.get("dev", "/").1, "v2");
    world.run("verify", &["dev"]).ok();
    // The lost page had rows that the backup from before v3 has, too.
    assert_eq!(ids(&world), (1..=all).collect::<Vec<_>>());
    let salvaged = report.details["backup"]["salvaged"].as_array().unwrap();
    let doc = salvaged.iter().find(|table| table["table"] == "doc").unwrap();
    assert_ne!(doc["unreadable"], Value::Null, "{doc}");
    let kept = aside(&world);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(fs::read(&kept[0]).unwrap(), damaged);
    // What only the newer schema had is named, and its migration runs again.
    let more = salvaged.iter().find(|table| table["table"] == "more").unwrap();
    assert_eq!(more["problem"], "the backup has no such table");
    world.run("deploy", &["dev"]).ok();
    let db = Connection::open(world.database("dev")).unwrap();
    assert_eq!(db.query_row("SELECT count(*) FROM more", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[test]
fn without_a_backup_that_suits_the_release_nothing_is_changed() {
    let world = serving();
    third(&world);
    let damaged = damage(&world);
    fs::remove_dir_all(world.state().join("backups/dev")).unwrap();
    let problem = world.run("rollback", &["dev"]).refused("database-damaged").problem.unwrap();
    assert!(problem.hint.unwrap().starts_with("backup dev list"));
    assert_eq!(world.get("dev", "/").1, "v3");
    assert_eq!(fs::read(world.database("dev")).unwrap(), damaged);
}

#[test]
fn a_way_back_that_fails_ends_with_the_damaged_file_where_it_was() {
    let world = serving();
    third(&world);
    let damaged = damage(&world);
    let mut act = Act::new("rollback", &["dev"]);
    act.faults.push("rollback:instance.ready#1=sigterm".into());
    let (answer, _) = act.run(&world, None);
    assert!(!answer.report().success);
    assert_eq!(world.get("dev", "/").1, "v3");
    assert_eq!(fs::read(world.database("dev")).unwrap(), damaged);
    assert!(aside(&world).is_empty());
}

/// From the standstill to the start of the target: where the database is in two minds.
fn critical(points: &[String]) -> Vec<String> {
    let at = |name: &str| points.iter().position(|point| point == name).unwrap();
    let (first, last) = (at("rollback:slot.retire#1"), at("rollback:instance.start#1"));
    points[first..=last].to_vec()
}

#[test]
fn a_kill_at_any_point_leaves_something_serving_and_the_next_command_recovers() {
    let act = Act::new("rollback", &["dev", "--wait", "60"]);
    let smooth = serving();
    third(&smooth);
    damage(&smooth);
    let points = critical(&act.run(&smooth, None).1);
    let world = serving();
    third(&world);
    let damaged = damage(&world);
    let stride = if std::env::var_os("SOAK").is_some() { 1 } else { 3 };
    for point in points.iter().step_by(stride) {
        act.run(&world, Some(&format!("{point}=abort")));
        world.run("backup", &["dev", "prune", "--wait", "60"]).ok();
        assert_eq!(world.get("dev", "/").1, "v3", "{point}");
        assert!(fs::read(world.database("dev")).unwrap() == damaged, "{point}");
        assert!(aside(&world).is_empty(), "{point}");
    }
    world.run("rollback", &["dev", "--wait", "60"]).ok();
    assert_eq!(ids(&world), (1..=ROWS).collect::<Vec<_>>());
}

/// A table that comes first takes the whole glance: each of its rows is slow to check.
#[test]
fn damage_behind_a_slow_table_is_found_before_the_schema_goes_back() {
    let world = serving();
    world.write("migrations/003_more.up.sql", "ALTER TABLE doc RENAME COLUMN text TO body;\n");
    world.write("migrations/003_more.down.sql", "ALTER TABLE doc RENAME COLUMN body TO text;\n");
    world.release("v3");
    world.run("deploy", &["dev"]).ok();
    let live = world.database("dev");
    let db = Connection::open(&live).unwrap();
    db.execute_batch(
        "CREATE TABLE aaa(id INTEGER PRIMARY KEY,
                          slow TEXT AS (substr(hex(zeroblob(200000 + id % 2)), 1, 1)) VIRTUAL NOT NULL);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 8000)
         INSERT INTO aaa SELECT n FROM c; PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .unwrap();
    let root: i64 =
        db.query_row("SELECT rootpage FROM sqlite_master WHERE name = 'doc'", [], |row| row.get(0)).unwrap();
    drop(db);
    spoil_page(&live, root);
    let plan = world.run("rollback", &["dev", "--plan"]).ok().report();
    assert_eq!(plan.details["rollback"]["rung"]["number"], 4);
}
