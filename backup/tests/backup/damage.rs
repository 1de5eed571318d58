//! Damage is found wherever it is, and stops a restore.

use std::fs;

use serde_json::Value;

use crate::project::{Project, names};

/// Changes a few bytes of each file of the backup, one at a time; `check` runs on each.
fn flip_everywhere(project: &Project, id: &str, check: &dyn Fn(&str)) {
    let directory = project.backups().join(id);
    for name in names(&directory) {
        let path = directory.join(&name);
        let good = fs::read(&path).unwrap();
        let places = (0..4).map(|part| part * (good.len() - 1) / 3);
        for place in places {
            let mut bad = good.clone();
            bad[place] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            check(&format!("{name}, byte {place}"));
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        check(&format!("{name}, cut"));
        fs::remove_file(&path).unwrap();
        check(&format!("{name}, gone"));
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn a_flipped_byte_anywhere_is_found_and_stops_a_restore() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a); INSERT INTO t VALUES ('one'), ('two')");
    let id = project.backup();
    project.sql("INSERT INTO t VALUES ('three')");
    flip_everywhere(&project, &id, &|what| {
        assert_eq!(project.run(&["dev", "verify", &id]).failed(1), "backup-damaged", "{what}");
        // A restore does not read the text.
        if what.contains("database.sql") {
            return;
        }
        let restored = project.run(&["dev", "restore", &id, "--discard-writes"]);
        assert_eq!(restored.failed(1), "backup-damaged", "{what}");
        assert_eq!(restored.report()["changed"], false);
    });
    assert_eq!(project.count("SELECT count(*) FROM t"), 3);
    project.run(&["dev", "verify", &id]).succeeded();
    assert_eq!(project.names(), std::slice::from_ref(&id));
    project.sql("INSERT INTO t VALUES ('four')");
    project.backup();
    assert!(names(&project.backups().join(&id)).contains(&"database.sql.zst".to_owned()));
    flip_everywhere(&project, &id, &|what| {
        assert_eq!(project.run(&["dev", "verify", &id]).failed(1), "backup-damaged", "{what}");
    });
    project.run(&["dev", "verify", &id]).succeeded();
}

#[test]
fn a_directory_that_is_no_whole_backup_is_listed_apart() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a)");
    let id = project.backup();
    fs::create_dir(project.backups().join("2020-01-01_00-00-00")).unwrap();
    fs::create_dir(project.backups().join("notes")).unwrap();
    let copy = project.backups().join("2021-01-01_00-00-00");
    fs::create_dir(&copy).unwrap();
    fs::copy(project.backups().join(&id).join("manifest.json"), copy.join("manifest.json")).unwrap();
    assert_eq!(project.ids(), [id]);
    let facts = project.run(&["dev", "list"]).facts();
    assert_eq!(facts["unreadable"].as_array().unwrap().len(), 3);
    assert_eq!(project.run(&["dev", "restore", "2021-01-01_00-00-00"]).failed(1), "backup-damaged");
}

/// A database with 2000 rows, backed up, then `object` made unreadable from its root page on.
fn damaged(object: &str) -> (Project, String) {
    let project = Project::new();
    project.sql(
        "CREATE TABLE t(a, b); CREATE INDEX i ON t(b);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) INSERT INTO t SELECT n, hex(randomblob(30)) FROM c",
    );
    let id = project.backup();
    let root = project.count(&format!("SELECT rootpage FROM sqlite_schema WHERE name = '{object}'"));
    let start = usize::try_from((root - 1) * project.count("PRAGMA page_size")).unwrap();
    let mut bytes = fs::read(project.live()).unwrap();
    bytes[start..start + 4000].fill(0xAA);
    fs::write(project.live(), &bytes).unwrap();
    assert_eq!(project.run(&["dev"]).failed(1), "database-damaged");
    assert_eq!(project.names(), std::slice::from_ref(&id));
    (project, id)
}

#[test]
fn a_damaged_live_database_is_not_a_backup_but_can_be_restored_over() {
    let (project, id) = damaged("t");
    assert_eq!(project.run(&["dev", "restore", &id]).failed(1), "would-lose-writes");
    let done = project.run(&["dev", "restore", &id, "--discard-writes"]);
    assert_eq!(done.succeeded()["changed"], true);
    let snapshot = done.facts()["protected_snapshot"].as_str().unwrap().to_owned();
    assert_eq!(project.count("SELECT count(*) FROM t"), 2000);
    let listed = project.run(&["dev", "list"]).facts();
    assert_eq!(listed["backups"][0]["id"], snapshot);
    assert_eq!(listed["backups"][0]["verified"], false);
    assert_eq!(project.run(&["dev", "verify", &snapshot]).failed(1), "database-damaged");
}

#[test]
fn the_same_content_on_damaged_pages_needs_no_flag() {
    let (project, id) = damaged("i");
    let done = project.run(&["dev", "restore", &id]).succeeded();
    assert_eq!(done["changed"], true);
    let check: String = project.database().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

/// 3,000 rows, of which users changed, added and deleted some after the backup; then one page of the
/// table is lost. Gives the backup's id.
fn worn() -> (Project, String) {
    let project = Project::new();
    project.sql(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT NOT NULL, filling TEXT);
         INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000)
             SELECT n, 'then', hex(randomblob(100)) FROM c;
         CREATE TABLE keyed(k TEXT PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO keyed VALUES ('a', 'then'), ('b', 'gone');
         CREATE TABLE plain(v UNIQUE); INSERT INTO plain VALUES ('x'), ('y'), ('z');
         CREATE VIRTUAL TABLE words USING fts5(body); INSERT INTO words VALUES ('then')",
    );
    let id = project.backup();
    project.sql(
        "UPDATE t SET v = 'now' WHERE id % 2 = 0; DELETE FROM t WHERE id = 7; INSERT INTO t VALUES (9000, 'now', '');
         UPDATE keyed SET v = 'now' WHERE k = 'a'; DELETE FROM keyed WHERE k = 'b'; INSERT INTO words VALUES ('now');
         DELETE FROM plain WHERE v = 'x'; UPDATE plain SET v = 'x' WHERE v = 'z'; PRAGMA wal_checkpoint(TRUNCATE)",
    );
    let place = "SELECT (pageno - 1) * (SELECT page_size FROM pragma_page_size) FROM dbstat
                 WHERE name = 't' AND pagetype = 'leaf' ORDER BY pageno LIMIT 1 OFFSET 20";
    let start = usize::try_from(project.count(place)).unwrap();
    let mut bytes = fs::read(project.live()).unwrap();
    bytes[start..start + 4096].fill(0xff);
    fs::write(project.live(), bytes).unwrap();
    (project, id)
}

#[test]
fn of_a_damaged_database_every_readable_row_is_kept_and_the_rest_is_named() {
    let (project, id) = worn();
    assert_eq!(project.run(&["dev", "restore", &id]).failed(1), "would-lose-writes");
    let done = project.run(&["dev", "restore", &id, "--salvage"]);
    done.succeeded();
    let all: Vec<Value> = done.facts()["salvaged"].as_array().unwrap().clone();
    let of = |name: &str| all.iter().find(|table| table["table"] == name).unwrap().clone();
    let ranges = of("t")["unreadable"].as_array().unwrap().clone();
    assert_eq!(ranges.len(), 1, "{ranges:?}");
    let (first, last) = (ranges[0][0].as_i64().unwrap(), ranges[0][1].as_i64().unwrap());
    assert!(last - first < 60, "one page: {first} to {last}");
    // Inside as the backup has it, outside as users left it.
    let outside = format!("id NOT BETWEEN {first} AND {last}");
    assert_eq!(
        project.count(&format!("SELECT count(*) FROM t WHERE {outside} AND id % 2 = 0 AND v <> 'now'")),
        0
    );
    assert_eq!(project.count(&format!("SELECT count(*) FROM t WHERE NOT ({outside}) AND v <> 'then'")), 0);
    assert_eq!(project.count("SELECT count(*) FROM t WHERE id <= 3000"), 3000, "a deleted row may be back");
    assert_eq!(project.count("SELECT count(*) FROM t WHERE id = 9000"), 1);
    // Whole tables are as they were, deletions too.
    assert_eq!(project.count("SELECT count(*) FROM keyed WHERE v = 'now'"), 1);
    assert_eq!(project.count("SELECT count(*) FROM keyed"), 1);
    assert_eq!(project.count("SELECT group_concat(rowid) = '2,3' AND group_concat(v) = 'y,x' FROM plain"), 1);
    assert_eq!(project.count("SELECT count(*) FROM words WHERE words MATCH 'now'"), 1);
    for name in ["keyed", "plain", "words"] {
        assert!(of(name).get("unreadable").is_none() && of(name).get("problem").is_none(), "{}", of(name));
    }
    project.database().query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap();
    let aside = names(project.live().parent().unwrap()).into_iter().any(|name| name.contains(".aside-"));
    assert!(aside, "the damaged file is kept");
}

/// A row that stood only against rows that are gone since then is kept, and what the older schema has
/// no room for is named, whatever kind of table it is.
#[test]
fn of_a_newer_schema_rows_are_kept_and_what_has_no_room_is_named() {
    let project = Project::new();
    project.sql(
        "CREATE TABLE user(id INTEGER PRIMARY KEY, email TEXT UNIQUE); INSERT INTO user VALUES (1, 'x'), (2, 'y');
         CREATE TABLE keyed(k TEXT PRIMARY KEY, v NOT NULL) WITHOUT ROWID; INSERT INTO keyed VALUES ('a', 1)",
    );
    let id = project.backup();
    project.sql(
        "ALTER TABLE user ADD COLUMN name; DELETE FROM user WHERE id = 1; INSERT INTO user VALUES (5, 'x', 'N');
         CREATE TABLE k2(k TEXT PRIMARY KEY, v, w) WITHOUT ROWID; INSERT INTO k2 VALUES ('a', 2, 'W'), ('b', NULL, '');
         DROP TABLE keyed; ALTER TABLE k2 RENAME TO keyed; CREATE TABLE further(a); INSERT INTO further VALUES (1)",
    );
    let done = project.run(&["dev", "restore", &id, "--salvage"]);
    done.succeeded();
    let all: Vec<Value> = done.facts()["salvaged"].as_array().unwrap().clone();
    let of = |name: &str| all.iter().find(|table| table["table"] == name).unwrap().clone();
    assert_eq!(project.count("SELECT count(*) FROM user WHERE id = 5 AND email = 'x'"), 1);
    assert_eq!(project.count("SELECT count(*) FROM user"), 2);
    assert_eq!(of("user")["left_out"], serde_json::json!(["name"]));
    assert_eq!(project.count("SELECT v FROM keyed WHERE k = 'a'"), 2);
    assert_eq!(of("keyed")["left_out"], serde_json::json!(["w"]));
    assert_eq!(of("keyed")["refused"].as_array().unwrap().len(), 1);
    assert_eq!(of("further")["problem"], "the backup has no such table");
}

#[test]
fn a_database_in_use_is_not_salvaged() {
    let (project, id) = worn();
    let _holder = project.database();
    assert_eq!(project.run(&["dev", "restore", &id, "--salvage"]).failed(1), "database-in-use");
    assert_eq!(project.run(&["dev", "restore", &id, "--salvage", "--discard-writes"]).failed(2), "usage");
}

#[test]
fn where_nothing_can_be_read_the_backup_stands_and_that_is_said() {
    let project = Project::new();
    project.sql("CREATE TABLE t(a); INSERT INTO t VALUES ('then')");
    let id = project.backup();
    fs::write(project.live(), vec![0xff; 8192]).unwrap();
    let done = project.run(&["dev", "restore", &id, "--salvage"]);
    done.succeeded();
    assert!(done.facts()["salvaged"][0]["problem"].is_string());
    assert_eq!(project.count("SELECT count(*) FROM t"), 1);
}
