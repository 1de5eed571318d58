//! The ladder of a way back: which rung is taken, what it keeps, and what it says.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::report::Report;
use rusqlite::Connection;
use serde_json::Value;
use tests::world::World;

/// v1 serves in dev, then v2, whose schema has a table of notes with a text and a place.
fn serving() -> World {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    migration(
        &world,
        2,
        "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT, place TEXT);\nINSERT INTO note VALUES (1, 'old', 'here'), (2, 'older', 'there');\n",
        Some("DROP TABLE note;\n"),
    );
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    world
}

fn migration(world: &World, number: u32, up: &str, down: Option<&str>) {
    world.write(&format!("migrations/{number:03}_note.up.sql"), up);
    if let Some(down) = down {
        world.write(&format!("migrations/{number:03}_note.down.sql"), down);
    }
}

/// Deploys a release with this migration, after which users write.
fn third(world: &World, up: &str, down: Option<&str>, users: &str) {
    migration(world, 3, up, down);
    world.release("v3");
    world.run("deploy", &["dev"]).ok();
    Connection::open(world.database("dev")).unwrap().execute_batch(users).unwrap();
}

fn notes(world: &World) -> String {
    let db = Connection::open(world.database("dev")).unwrap();
    let sql = "SELECT group_concat(line, ' ') FROM (SELECT id || '|' || text || '|' || ifnull(place, '-') AS line FROM note ORDER BY id)";
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn rung(report: &Report) -> (i64, String) {
    let rung = &report.details["rollback"]["rung"];
    (rung["number"].as_i64().unwrap(), rung["reason"].as_str().unwrap().to_owned())
}

/// Goes back as planned, and gives the report; the plan changes nothing.
fn as_planned(world: &World, args: &[&str]) -> Report {
    let before = world.footprint("dev");
    let words: Vec<&str> = ["dev"].iter().chain(args).copied().collect();
    let plan = world.run("rollback", &[&words[..], &["--plan"]].concat()).ok().report();
    assert_eq!(world.footprint("dev"), before);
    assert!(!plan.changed);
    let report = world.run("rollback", &words).ok().report();
    assert_eq!(rung(&report), rung(&plan));
    assert_eq!(world.get("dev", "/").1, "v2");
    world.run("verify", &["dev"]).ok();
    report
}

#[test]
fn a_schema_that_only_grew_stays_and_code_alone_goes_back() {
    let world = serving();
    third(
        &world,
        "ALTER TABLE note ADD COLUMN mark TEXT;\n",
        None,
        "INSERT INTO note VALUES (3, 'new', 'x', 'kept')",
    );
    let report = as_planned(&world, &["--discard-writes"]);
    assert_eq!(rung(&report).0, 1);
    let db = Connection::open(world.database("dev")).unwrap();
    let mark: String = db.query_row("SELECT mark FROM note WHERE id = 3", [], |row| row.get(0)).unwrap();
    assert_eq!(mark, "kept");
}

#[test]
fn a_text_that_keeps_everything_is_taken_and_what_has_no_room_is_listed() {
    let world = serving();
    third(
        &world,
        "ALTER TABLE note ADD COLUMN mark TEXT DEFAULT 'none';\nALTER TABLE note RENAME COLUMN place TO spot;\n",
        Some("ALTER TABLE note RENAME COLUMN spot TO place;\nALTER TABLE note DROP COLUMN mark;\n"),
        "INSERT INTO note VALUES (3, 'new', 'far', 'mine'), (4, 'plain', 'near', 'none')",
    );
    let report = as_planned(&world, &[]);
    let (number, reason) = rung(&report);
    assert_eq!((number, report.details["migrate"]["not_kept_total"].as_u64()), (2, Some(1)), "{reason}");
    assert!(reason.contains("migration 3_note"), "{reason}");
    assert_eq!(notes(&world), "1|old|here 2|older|there 3|new|far 4|plain|near");
    let file = report.details["migrate"]["not_kept_file"].as_str().unwrap();
    let line: Value = serde_json::from_str(std::fs::read_to_string(file).unwrap().trim()).unwrap();
    assert_eq!(
        (&line["table"], &line["key"], &line["column"]),
        (&"note".into(), &"{\"id\":3}".into(), &"mark".into())
    );
    assert_eq!(Path::new(file).metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_text_that_loses_values_gives_way_to_the_backup() {
    let world = serving();
    third(
        &world,
        "-- approve: destructive\nALTER TABLE note DROP COLUMN place;\n",
        Some("ALTER TABLE note ADD COLUMN place TEXT;\n"),
        "INSERT INTO note VALUES (3, 'new')",
    );
    let report = as_planned(&world, &[]);
    let (number, reason) = rung(&report);
    assert_eq!(number, 3);
    assert!(reason.contains("the way down loses 2 values of note.place"), "{reason}");
    assert_eq!(notes(&world), "1|old|here 2|older|there 3|new|-");
}

#[test]
fn a_text_that_loses_rows_gives_way_to_the_backup_and_nothing_is_lost() {
    let world = serving();
    third(
        &world,
        "-- approve: destructive\nALTER TABLE note DROP COLUMN place;\n",
        Some("DELETE FROM note WHERE id > 2;\nALTER TABLE note ADD COLUMN place TEXT;\n"),
        "INSERT INTO note VALUES (3, 'new'); UPDATE note SET text = 'mine' WHERE id = 1; DELETE FROM note WHERE id = 2",
    );
    let report = as_planned(&world, &[]);
    let (number, reason) = rung(&report);
    assert_eq!(number, 3);
    assert!(reason.contains("the way down loses 1 rows of note"), "{reason}");
    assert_eq!(notes(&world), "1|mine|here 3|new|-");
    assert_eq!(report.details["migrate"]["rebuilt"], serde_json::json!(["migrations", "note"]));
}

#[test]
fn a_journal_that_is_lost_is_made_up_for_by_the_schema_itself() {
    let world = serving();
    third(
        &world,
        "-- approve: destructive\nALTER TABLE note DROP COLUMN place;\n",
        None,
        "INSERT INTO note VALUES (3, 'new')",
    );
    std::fs::remove_file(world.state().join("ledger.db")).unwrap();
    let report = world.run("rollback", &["dev"]).ok().report();
    assert_eq!((rung(&report).0, notes(&world).as_str()), (3, "1|old|here 2|older|there 3|new|-"));
    assert_eq!(world.get("dev", "/").1, "v2");
}

#[test]
fn the_backup_from_before_a_migration_is_kept_however_many_deployments_follow() {
    let world = serving();
    world.configure("[environments.dev]\n", "[environments.dev]\nbackups = { keep = 1 }\n");
    let second = world.git(&["rev-parse", "HEAD"]);
    world.run("deploy", &["dev"]).ok();
    let up = "-- approve: destructive\nALTER TABLE note DROP COLUMN place;\n";
    third(&world, up, None, "INSERT INTO note VALUES (3, 'new')");
    for version in ["v4", "v5"] {
        world.release(version);
        world.run("deploy", &["dev"]).ok();
        world.run("backup", &["dev", "create"]).ok();
    }
    let report = world.run("rollback", &["dev", "--to-commit", &second]).ok().report();
    assert_eq!((rung(&report).0, notes(&world).as_str()), (3, "1|old|here 2|older|there 3|new|-"));
}

#[test]
fn without_a_text_and_without_a_backup_it_refuses_and_says_what_would_help() {
    let world = serving();
    third(
        &world,
        "-- approve: destructive\nALTER TABLE note DROP COLUMN place;\n",
        None,
        "INSERT INTO note VALUES (3, 'new')",
    );
    std::fs::remove_dir_all(world.state().join("backups/dev")).unwrap();
    let before = world.footprint("dev");
    for args in [&["dev"][..], &["dev", "--plan"]] {
        let problem = world.run("rollback", args).refused("migration-irreversible").problem.unwrap();
        assert!(problem.detail.unwrap().contains("no backup"));
    }
    world.run("rollback", &["dev", "--discard-writes"]).refused("no-backup");
    assert_eq!(world.footprint("dev"), before);
    assert_eq!(world.get("dev", "/").1, "v3");
}

#[test]
fn several_migrations_are_walked_back_at_once_and_forward_again() {
    let world = serving();
    third(
        &world,
        "-- approve: destructive\nALTER TABLE note DROP COLUMN place;\n",
        None,
        "INSERT INTO note VALUES (3, 'new')",
    );
    migration(&world, 4, "ALTER TABLE note RENAME TO memo;\n", None);
    let newest = world.release("v4");
    world.run("deploy", &["dev"]).ok();
    Connection::open(world.database("dev"))
        .unwrap()
        .execute_batch("INSERT INTO memo VALUES (4, 'newest')")
        .unwrap();
    let second = world.git(&["rev-parse", "HEAD~2"]);
    let report = as_planned(&world, &["--to-commit", &second]);
    assert_eq!((rung(&report).0, notes(&world).as_str()), (3, "1|old|here 2|older|there 3|new|- 4|newest|-"));
    // Back from the way back: its migrations have to run again, which a deployment does.
    world.run("rollback", &["dev", "--to-commit", &newest]).refused("schema-behind");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v4");
    let db = Connection::open(world.database("dev")).unwrap();
    assert_eq!(db.query_row("SELECT count(*) FROM memo", [], |row| row.get::<_, i64>(0)).unwrap(), 4);
}

#[test]
fn what_was_deferred_is_walked_back_from_the_backup_before_it_ran() {
    let world = serving();
    world.configure("[environments.dev]\n", "[environments.dev]\nbackups = { keep = 1 }\n");
    let second = world.git(&["rev-parse", "HEAD"]);
    world.run("deploy", &["dev"]).ok();
    let users = |sql: &str| Connection::open(world.database("dev")).unwrap().execute_batch(sql).unwrap();
    third(
        &world,
        "-- phase: after\n-- approve: destructive\nALTER TABLE note DROP COLUMN place;\n",
        None,
        "INSERT INTO note VALUES (3, 'new', 'near')",
    );
    migration(&world, 4, "ALTER TABLE note RENAME TO memo;\n", None);
    let newest = world.release("v4");
    world.run("deploy", &["dev"]).ok();
    users("INSERT INTO memo VALUES (4, 'newest')");
    // What v4 brought goes, what it settled stays.
    let report = world.run("rollback", &["dev"]).ok().report();
    let text = "SELECT group_concat(text) FROM note";
    let db = Connection::open(world.database("dev")).unwrap();
    let texts: String = db.query_row(text, [], |row| row.get(0)).unwrap();
    assert_eq!(
        (rung(&report).0, texts.as_str(), world.get("dev", "/").1.as_str()),
        (3, "old,older,new,newest", "v3")
    );
    drop(db);
    world.run("deploy", &["dev", "--revision", &newest]).ok();
    world.run("backup", &["dev", "create"]).ok();
    let report = world.run("rollback", &["dev", "--to-commit", &second]).ok().report();
    assert_eq!(
        (rung(&report).0, notes(&world).as_str()),
        (3, "1|old|here 2|older|there 3|new|near 4|newest|-")
    );
}
