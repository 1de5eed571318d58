//! Changes that two releases cannot share: requests wait while one instance ends and the next one
//! starts; what fails on the way goes back, and whatever is killed on the way comes back.

use common::report::Outcome;
use rusqlite::Connection;
use tests::campaign::under_load;
use tests::fault::Act;
use tests::world::{World, steps};

/// The serving release would miss `tag.b`.
const INCOMPATIBLE: (&str, &str) = ("ALTER TABLE tag DROP COLUMN b;\n", "ALTER TABLE tag ADD COLUMN b;\n");

/// v2 serves in dev; its schema has a table whose column the next release drops.
fn serving() -> World {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    migration(&world, 2, "CREATE TABLE tag(a, b);\n", "DROP TABLE tag;\n");
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    world
}

fn migration(world: &World, number: u32, up: &str, down: &str) {
    world.write(&format!("migrations/{number:03}_tag.up.sql"), up);
    world.write(&format!("migrations/{number:03}_tag.down.sql"), down);
}

fn incompatible(world: &World) {
    migration(world, 3, INCOMPATIBLE.0, INCOMPATIBLE.1);
}

fn columns(world: &World) -> String {
    let db = Connection::open(world.database("dev")).unwrap();
    db.query_row("SELECT group_concat(name) FROM pragma_table_info('tag')", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_change_that_the_serving_release_could_not_live_with_is_made_while_requests_wait_and_taken_back_so() {
    let world = serving();
    incompatible(&world);
    world.release("v3");
    let before = world.footprint("dev");
    let plan = world.run("deploy", &["dev", "--plan"]).ok().report();
    let foreseen = plan.details["deploy"]["standstill"]["reason"].as_str().unwrap().to_owned();
    assert_eq!(world.footprint("dev"), before);
    let report = under_load(&world, || world.run("deploy", &["dev"]).ok().report());
    let facts = &report.details["deploy"];
    assert_eq!(facts["standstill"]["reason"], foreseen.as_str());
    assert!(facts["standstill"]["reason"].as_str().unwrap().contains("tag.b is gone"), "{facts}");
    assert_eq!((facts["drain"]["requests_cut"].as_u64(), columns(&world).as_str()), (Some(0), "a"));
    assert!(facts["standstill"]["held_ms"].as_u64().unwrap() > 0, "{facts}");
    let order = |name: &str| report.steps.iter().position(|step| step.name == name).unwrap();
    assert!(order("standstill") < order("backup.snapshot"), "{:?}", report.steps);
    assert_eq!(world.get("dev", "/").1, "v3");

    let report = under_load(&world, || world.run("rollback", &["dev"]).ok().report());
    assert_eq!(report.details["rollback"]["migrations_back_to"], 2);
    assert_eq!((world.get("dev", "/").1.as_str(), columns(&world).as_str()), ("v2", "a,b"));
    assert_eq!(steps(&report, "backup.snapshot").len(), 1, "{:?}", report.steps);
    world.run("verify", &["dev"]).ok();
}

#[test]
fn the_way_forward_again_needs_a_deployment() {
    let world = serving();
    incompatible(&world);
    let newest = world.release("v3");
    world.run("deploy", &["dev"]).ok();
    world.run("rollback", &["dev"]).ok();
    let before = world.footprint("dev");
    world.run("rollback", &["dev", "--to-commit", &newest]).refused("schema-behind");
    assert_eq!(world.footprint("dev"), before);
    world.run("deploy", &["dev"]).ok();
    assert_eq!((world.get("dev", "/").1.as_str(), columns(&world).as_str()), ("v3", "a"));
}

#[test]
fn a_release_that_fails_in_a_standstill_gives_way_to_the_one_before() {
    for (fault, kind) in
        [("{\"exit_at_start\": 1}", "instance-exited"), ("{\"status\": {\"/\": 500}}", "route-status")]
    {
        let world = serving();
        world.write("verify.toml", "[routes]\n\"/\" = \"200\"\n");
        incompatible(&world);
        world.faulty(fault);
        let ran = under_load(&world, || world.run("deploy", &["dev"]));
        let report = ran.report();
        assert_eq!((ran.status, report.outcome), (1, Outcome::RolledBack), "{kind}: {}", ran.stdout);
        assert_eq!(report.problem.unwrap().kind, kind);
        assert_eq!((world.get("dev", "/").1.as_str(), columns(&world).as_str()), ("v2", "a,b"));
        assert_eq!(world.status("dev")["identity"], "new");
    }
}

#[test]
fn with_hold_two_instances_never_run_at_once() {
    let world = serving();
    world.write("build.sh", "");
    world.release("v3");
    let old = world.serving_pid("dev");
    // The new instance says at its start whether the old one is still there.
    let check = format!("(test -d /proc/{old} && echo BESIDE || echo ALONE); exec python3 -S -E app.py");
    world.configure("run = \"python3 -S -E app.py\"", &format!("run = \"{check}\""));
    under_load(&world, || world.run("deploy", &["dev", "--hold"]).ok().report());
    let slot = world.status("dev")["instance"]["slot"].as_str().unwrap().to_owned();
    let log = world.state().join("dev/slots").join(slot).join("app.log");
    assert!(std::fs::read_to_string(log).unwrap().starts_with("ALONE"));
}

#[test]
fn an_app_that_owns_one_port_is_restarted_without_a_lost_request() {
    let world = World::new();
    let (bind, _claim) = tests::ports::claim();
    let listen = format!("listen = \"{}\"", world.listen("dev"));
    world.configure(&listen, &format!("{listen}\nstrategy = \"restart\"\nbind = \"{bind}\""));
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.release("v2");
    let report = under_load(&world, || world.run("deploy", &["dev"]).ok().report());
    assert_eq!(report.details["deploy"]["standstill"]["reason"], "strategy is restart");
    assert_eq!(world.status("dev")["instance"]["address"], bind.to_string());
    world.faulty("{\"exit_at_start\": 1}");
    let ran = under_load(&world, || world.run("deploy", &["dev"]));
    assert_eq!(ran.report().outcome, Outcome::RolledBack, "{}", ran.stdout);
    assert_eq!(world.get("dev", "/").1, "v2");
    under_load(&world, || world.run("rollback", &["dev"]).ok().report());
    assert_eq!(world.get("dev", "/").1, "v1");
}

#[test]
fn a_standstill_that_is_killed_ends_at_once_and_no_request_is_lost() {
    for point in [
        "deploy:standstill.after-hold#1",
        "deploy:standstill.after-switch#1",
        "deploy:undo.migrations#2",
        "deploy:instance.before-start#1",
        "deploy:cutover.before-switch#1",
        "deploy:cutover.after-switch#1",
        "deploy:gateway.release#1",
    ] {
        let world = serving();
        incompatible(&world);
        world.release("v3");
        under_load(&world, || {
            let (_, passed) = Act::new("deploy", &["dev"]).run(&world, Some(&format!("{point}=abort")));
            assert!(passed.iter().any(|passed| passed == point), "{point} is not in {passed:?}");
            world.run("backup", &["dev", "create", "--wait", "60"]).ok();
        });
        assert_eq!((world.get("dev", "/").1.as_str(), columns(&world).as_str()), ("v2", "a,b"), "{point}");
        world.run("deploy", &["dev"]).ok();
        assert_eq!((world.get("dev", "/").1.as_str(), columns(&world).as_str()), ("v3", "a"), "{point}");
    }
}

#[test]
fn what_has_no_way_back_is_restored_as_long_as_no_user_has_reached_it() {
    let world = serving();
    let tag = || {
        let db = Connection::open(world.database("dev")).unwrap();
        db.query_row("SELECT group_concat(b) FROM tag", [], |row| row.get::<_, String>(0)).unwrap()
    };
    Connection::open(world.database("dev"))
        .unwrap()
        .execute("INSERT INTO tag VALUES (1, 'kept')", [])
        .unwrap();
    let approved = format!("-- approve: destructive\n{}", INCOMPATIBLE.0);
    world.write("migrations/003_tag.up.sql", &approved);
    world.faulty("{\"exit_at_start\": 1}");
    let report = world.run("deploy", &["dev"]).report();
    assert_eq!(report.outcome, Outcome::RolledBack, "{report:?}");
    assert_eq!((columns(&world), tag()), ("a,b".into(), "kept".into()));
    assert!(
        steps(&report, "undo.migrations")[0].target.as_ref().unwrap().starts_with("restored from backup")
    );
}

#[test]
fn what_has_no_way_back_is_undone_in_place_with_all_that_users_wrote() {
    let world = serving();
    world.write("migrations/003_tag.up.sql", INCOMPATIBLE.0);
    world.release("v3");
    let (ran, _) = Act::new("deploy", &["dev"]).run(&world, Some("deploy:gateway.release#1=sigterm"));
    assert_eq!((ran.status, ran.report().outcome), (143, Outcome::RolledBack), "{}", ran.stdout);
    assert_eq!((world.get("dev", "/").1.as_str(), columns(&world).as_str()), ("v2", "a,b"));
    world.run("deploy", &["dev"]).ok();
    assert_eq!((world.get("dev", "/").1.as_str(), columns(&world).as_str()), ("v3", "a"));
    let plan = world.run("rollback", &["dev", "--plan"]).ok().report();
    assert_eq!(plan.details["rollback"]["rung"]["number"], 3, "{:?}", plan.details);
    let report = under_load(&world, || world.run("rollback", &["dev"]).ok().report());
    assert_eq!(report.details["rollback"]["rung"], plan.details["rollback"]["rung"]);
    assert_eq!((world.get("dev", "/").1.as_str(), columns(&world).as_str()), ("v2", "a,b"));
}

#[test]
fn a_way_back_that_can_be_neither_finished_nor_undone_never_starts_a_release_on_a_foreign_schema() {
    let world = serving();
    incompatible(&world);
    world.release("v3");
    let newest = world.run("deploy", &["dev"]).ok().report().deployment.unwrap();
    let up = world.state().join("dev/releases").join(newest).join("migrations/003_tag.up.sql");
    std::fs::write(up, "INSERT INTO nowhere VALUES (1);\n").unwrap();
    let (ran, _) = Act::new("rollback", &["dev"]).run(&world, Some("rollback:gateway.release#1=sigterm"));
    assert_eq!((ran.status, ran.report().outcome), (143, Outcome::Broken), "{}", ran.stdout);
    assert_eq!((world.get("dev", "/").1.as_str(), columns(&world).as_str()), ("v2", "a,b"));
    world.run("deploy", &["dev"]).ok();
    assert_eq!((world.get("dev", "/").1.as_str(), columns(&world).as_str()), ("v3", "a"));
}
