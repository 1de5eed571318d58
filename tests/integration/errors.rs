//! The errors in the logs of instances: counted once, by kind, without secrets, and known again.

use std::fs;

use serde_json::Value;
use tests::world::World;

const SECRET: &str = "sentinel-log-93ad";
const COMPLAINT: &str = r#"print("ERROR a complaint","#;

/// v1 serves; `/complain` makes it write an error.
fn world() -> World {
    let world = World::new();
    world.write_secrets("../dev.env", &format!("LOG_TOKEN={SECRET}\n"));
    world.configure("[environments.dev]\n", "[environments.dev]\nenv_file = \"../dev.env\"\n");
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world
}

/// A release that complains of something else, with a secret in it.
fn other_complaint(world: &World, version: &str) {
    let app = fs::read_to_string(world.checkout().join("app.py")).unwrap();
    assert!(app.contains(COMPLAINT));
    world.write("app.py", &app.replace(COMPLAINT, r#"print("ERROR no", os.environ.get("LOG_TOKEN"),"#));
    world.release(version);
}

fn complain(world: &World, times: usize) {
    (0..times).for_each(|_| drop(world.get("dev", "/complain")));
}

fn errors(world: &World) -> Value {
    world.run("status", &["dev", "errors"]).ok().report().details["status"]["dev"].clone()
}

fn ledger(world: &World) -> Vec<u8> {
    let file = |name| fs::read(world.state().join(name)).unwrap_or_default();
    [file("ledger.db"), file("ledger.db-wal")].concat()
}

#[test]
fn errors_are_counted_once_by_kind_and_new_ones_come_first() {
    let world = world();
    complain(&world, 3);
    let before = ledger(&world);
    let found = errors(&world);
    assert_eq!(
        (&found["kinds"], &found["new"], &found["errors"][0]["count"]),
        (&1.into(), &1.into(), &3.into())
    );
    assert_eq!(ledger(&world), before, "looking has written");
    world.run("status", &["watch", "--once"]).ok();
    world.run("status", &["watch", "--once"]).ok();
    complain(&world, 1);
    assert_eq!(errors(&world)["errors"][0]["count"], 4);

    other_complaint(&world, "v2");
    world.run("deploy", &["dev"]).ok();
    complain(&world, 2);
    let ran = world.run("status", &["dev", "errors"]);
    let found = ran.ok().report().details["status"]["dev"].clone();
    assert_eq!((&found["kinds"], &found["new"]), (&2.into(), &1.into()));
    let first = &found["errors"][0];
    assert_eq!(
        (&first["title"], &first["count"], &first["new"]),
        (&"ERROR no $LOG_TOKEN".into(), &2.into(), &true.into())
    );
    assert!(!ran.stdout.contains(SECRET), "{}", ran.stdout);
    world.run("status", &["watch", "--once"]).ok();
    let kept = ledger(&world);
    let holds = |text: &str| kept.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("ERROR no $LOG_TOKEN") && !holds(SECRET));
}

#[test]
fn what_an_earlier_release_had_is_known_when_its_log_is_gone() {
    let world = world();
    complain(&world, 2);
    for version in ["v2", "v3"] {
        world.release(version);
        world.run("deploy", &["dev"]).ok();
    }
    complain(&world, 1);
    let found = errors(&world);
    assert_eq!(
        (&found["kinds"], &found["new"], &found["errors"][0]["count"]),
        (&1.into(), &0.into(), &3.into())
    );
}

#[test]
fn a_release_with_a_new_kind_of_error_is_refused_also_the_second_time() {
    let world = world();
    complain(&world, 1);
    world.write("verify.toml", "[routes]\n\"/complain\" = \"200\"\n[errors]\nnew = 0\n");
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    other_complaint(&world, "v3");
    for _ in 0..2 {
        let report = world.run("deploy", &["dev"]).refused("errors-new");
        let problem = report.problem.unwrap();
        assert!(problem.title.ends_with("1 times: ERROR no $LOG_TOKEN"), "{problem}");
        world.run("status", &["watch", "--once"]).ok();
        assert_eq!(world.get("dev", "/").1, "v2");
    }
    world.write("verify.toml", "[routes]\n\"/complain\" = \"200\"\n[errors]\nignore = [\"ERROR no\"]\n");
    world.release("v4");
    world.run("deploy", &["dev"]).ok();
}
