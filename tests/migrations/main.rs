//! Schema changes in whole deployments: what is applied, what is undone, what is refused.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tests::http;
use tests::load::{Load, Plan};
use tests::world::{Footprint, World, steps};

/// v1 serves in dev with the tiny app's one table and three acknowledged rows.
fn serving() -> World {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    for number in 1..=3 {
        http::request(world.listen("dev"), "POST", &format!("/write?n={number}")).unwrap();
    }
    world
}

fn migration(world: &World, number: u32, up: &str, down: Option<&str>) {
    world.write(&format!("migrations/{number:03}_change.up.sql"), up);
    if let Some(down) = down {
        world.write(&format!("migrations/{number:03}_change.down.sql"), down);
    }
}

/// All but the branches, which a new release moves and a backup tags.
fn assert_same_service(world: &World, before: Footprint) {
    let after = world.footprint("dev");
    assert_eq!(after, Footprint { branches: after.branches.clone(), ..before });
}

fn tables(world: &World) -> Vec<String> {
    let db = rusqlite::Connection::open(world.database("dev")).unwrap();
    let mut statement =
        db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn what_only_grows_is_rehearsed_backed_up_and_applied_beside_the_serving_release() {
    let world = serving();
    migration(
        &world,
        2,
        "ALTER TABLE acked ADD COLUMN note TEXT; CREATE TABLE tag(a);",
        Some("DROP TABLE tag; ALTER TABLE acked DROP COLUMN note;"),
    );
    world.release("v2");
    let report = world.run("deploy", &["dev"]).ok().report();
    for name in ["rehearse.up", "rehearse.down", "rehearse.again", "backup.snapshot", "migrate.apply"] {
        assert_eq!(steps(&report, name).len(), 1, "{name} in {:?}", report.steps);
    }
    assert_eq!(report.details["migrate"]["rehearsal"]["change"], "grew");
    assert_eq!(tables(&world), ["acked", "migrations", "tag"]);
    assert_eq!(world.status("dev")["database"]["version"], 2);
}

#[test]
fn a_rollback_leaves_what_grew_and_every_row() {
    let world = serving();
    migration(&world, 2, "CREATE TABLE tag(a);", Some("DROP TABLE tag;"));
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    http::request(world.listen("dev"), "POST", "/write?n=4").unwrap();
    world.run("rollback", &["dev"]).ok();
    assert_eq!(world.get("dev", "/rows").1, "4");
    assert_eq!(tables(&world), ["acked", "migrations", "tag"]);
    assert_eq!(world.status("dev")["database"]["migrations"], "ahead");
    world.run("verify", &["dev"]).ok();
    world.release("v3");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.status("dev")["database"]["migrations"], "current");
}

#[test]
fn a_failed_deployment_undoes_its_own_migrations_and_nothing_else() {
    let world = serving();
    let before = world.footprint("dev");
    migration(&world, 2, "CREATE TABLE tag(a);", Some("DROP TABLE tag;"));
    world.faulty("{\"exit_at_start\": 1}");
    let report = world.run("deploy", &["dev"]).refused("instance-exited");
    assert_eq!(steps(&report, "undo.migrations").len(), 1);
    assert_same_service(&world, before);
    assert_eq!(world.get("dev", "/rows").1, "3");
}

#[test]
fn a_migration_that_fails_is_found_on_the_copy() {
    let world = serving();
    let before = world.footprint("dev");
    migration(&world, 2, "CREATE TABLE tag(a); INSERT INTO nowhere VALUES (1);", Some("DROP TABLE tag;"));
    world.release("v2");
    let report = world.run("deploy", &["dev"]).refused("migration-failed");
    assert!(steps(&report, "backup").is_empty() && !report.changed, "{:?}", report.steps);
    assert_same_service(&world, before);
}

#[test]
fn a_plan_names_the_pending_migrations() {
    let world = serving();
    migration(&world, 2, "CREATE TABLE tag(a);", Some("DROP TABLE tag;"));
    world.release("v2");
    let report = world.run("deploy", &["dev", "--plan"]).ok().report();
    let plan = &report.details["deploy"]["plan"];
    assert_eq!(plan["pending_migrations"], serde_json::json!(["002_change.up.sql"]));
    assert_eq!(plan["backup"], true);
    assert_eq!(tables(&world), ["acked", "migrations"]);
}

#[test]
fn a_migration_that_verify_finds_bad_is_undone_by_the_end_of_its_chain() {
    let world = serving();
    for (number, line) in
        [(2, "migrate dev up | verify | rollback"), (3, "backup dev | migrate up | verify | rollback")]
    {
        let release =
            world.state().join("dev/releases").join(world.status("dev")["deployment"].as_str().unwrap());
        world.sh(&format!("chmod -R u+w '{}'", release.display())).ok_shell();
        std::fs::write(release.join("migrations/002_change.up.sql"), format!("CREATE TABLE t{number}(a);"))
            .unwrap();
        std::fs::write(release.join("migrations/002_change.down.sql"), format!("DROP TABLE t{number};"))
            .unwrap();
        std::fs::write(release.join("verify.toml"), "[routes]\n\"/\" = \"200 never there\"\n").unwrap();
        let ran = world.sh(line);
        let report = ran.report();
        assert_eq!((ran.status, report.outcome), (1, common::report::Outcome::RolledBack), "{}", ran.stdout);
        assert_eq!(tables(&world), ["acked", "migrations"]);
        assert_eq!(world.get("dev", "/rows").1, "3");
    }
}

/// An app's own connections give up after a few seconds: its visitors wait instead.
#[test]
fn requests_are_held_while_a_migration_locks_writers_out_for_long() {
    let world = serving();
    world.configure("[environments.dev]\n", "[environments.dev]\nhold_limit = \"120s\"\n");
    let up = "CREATE TABLE big(a); INSERT INTO big WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 4000000) SELECT n FROM c;";
    migration(&world, 2, up, Some("DROP TABLE big;"));
    world.release("v2");
    let load = Load::start(
        world.listen("dev"),
        Plan { fresh: 1, write: 1, first_write: 100, patience: Duration::from_secs(60), ..Plan::default() },
    );
    let report = world.run("deploy", &["dev"]).ok().report();
    let tally = load.stop();
    assert_eq!(
        (steps(&report, "gateway.hold").len(), steps(&report, "gateway.release").len()),
        (1, 1),
        "{:?}",
        report.steps
    );
    tally.assert_nothing_lost();
    assert_eq!(world.get("dev", "/rows").1, (3 + tally.acknowledged.len()).to_string());
}

/// v1 and v2 serve in turn; v3 brings a migration that takes away what v2 has added.
fn deferring() -> World {
    let world = serving();
    migration(
        &world,
        2,
        "ALTER TABLE acked ADD COLUMN note TEXT;",
        Some("ALTER TABLE acked DROP COLUMN note;"),
    );
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    migration(
        &world,
        3,
        "-- phase: after\n-- approve: destructive\nALTER TABLE acked DROP COLUMN note;",
        Some("ALTER TABLE acked ADD COLUMN note TEXT;"),
    );
    world.release("v3");
    world
}

fn has_note(world: &World) -> bool {
    let db = rusqlite::Connection::open(world.database("dev")).unwrap();
    db.prepare("SELECT note FROM acked").is_ok()
}

#[test]
fn a_later_phase_runs_in_the_next_deployment_when_the_release_before_is_stopped() {
    let world = deferring();
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(report.details["migrate"]["deferred"][0]["version"], 3);
    assert!(has_note(&world) && steps(&report, "contract.retire").is_empty());
    assert_eq!(world.status("dev")["database"]["deferred"], 1);
    world.run("verify", &["dev"]).ok();

    migration(&world, 4, "CREATE TABLE tag(a);", Some("DROP TABLE tag;"));
    world.release("v4");
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(steps(&report, "contract.retire").len(), 1, "{:?}", report.steps);
    assert_eq!(steps(&report, "migrate.apply").len(), 2);
    assert!(!has_note(&world));
    assert_eq!(world.status("dev")["database"]["deferred"], 0);

    // v3 was written for it, v2 was not.
    world.run("rollback", &["dev"]).ok();
    let report = world.run("rollback", &["dev"]).ok().report();
    assert_eq!(report.details["rollback"]["migrations_back_to"], 2);
    assert!(has_note(&world));
    assert_eq!(world.get("dev", "/rows").1, "3");
}

#[test]
fn a_later_phase_runs_at_once_on_request() {
    let world = deferring();
    let report = world.run("deploy", &["dev", "--contract"]).ok().report();
    assert_eq!(steps(&report, "contract.retire").len(), 1);
    assert!(!has_note(&world));
    assert_eq!(world.status("dev")["database"]["deferred"], 0);
    world.run("verify", &["dev"]).ok();
    world.run("rollback", &["dev"]).ok();
    assert!(has_note(&world));
    assert_eq!(world.get("dev", "/rows").1, "3");
}

#[test]
fn a_deployment_that_fails_leaves_what_was_deferred_before_it() {
    let world = deferring();
    world.run("deploy", &["dev"]).ok();
    migration(&world, 4, "CREATE TABLE tag(a);", Some("DROP TABLE tag;"));
    world.faulty("{\"exit_at_start\": 1}");
    world.run("deploy", &["dev"]).refused("instance-exited");
    assert!(!has_note(&world));
    assert_eq!(tables(&world), ["acked", "migrations"]);
    assert_eq!(world.get("dev", "/rows").1, "3");
    world.run("verify", &["dev"]).ok();
}
