//! What `status` tells: filtered histories, one deployment, and the facts of an environment.

use serde_json::Value;
use tests::ran::Ran;
use tests::world::World;

fn rows(ran: &Ran) -> Vec<Value> {
    ran.report().details["status"]["dev"].as_array().unwrap().clone()
}

/// v1 serves, one release failed, v2 serves.
fn eventful() -> World {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.faulty("{\"exit_at_start\": 1}");
    world.run("deploy", &["dev"]).refused("instance-exited");
    world.mend("v2");
    world.run("deploy", &["dev"]).ok();
    world
}

#[test]
fn the_history_is_filtered_by_state_time_and_number_and_knows_how_deployments_go() {
    let world = eventful();
    let all = world.run("status", &["dev", "history"]);
    let states: Vec<Value> = rows(&all).iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["verified", "failed", "superseded"]);
    let figures = &all.report().details["status"]["figures"]["dev"];
    assert_eq!((&figures["deployments"], &figures["succeeded"]), (&3.into(), &2.into()));
    assert!(figures["verification_ms"].as_i64().is_some() && figures["rollback_ms"].is_null());
    let filtered =
        |words: &[&str]| rows(world.run("status", &[&["dev", "history"], words].concat()).ok()).len();
    assert_eq!(filtered(&["--state", "failed"]), 1);
    assert_eq!(filtered(&["--state", "rolled_back"]), 0);
    assert_eq!(filtered(&["--since", "1h"]), 3);
    assert_eq!(filtered(&["--since", "2999-01-01"]), 0);
    assert_eq!(filtered(&["--state", "superseded", "--since", "7d", "--limit", "1"]), 1);
    assert_eq!(filtered(&["--limit", "2"]), 2);
    assert_eq!(world.run("status", &["dev", "history", "--state", "lost"]).status, 2);
    assert_eq!(world.run("status", &["dev", "history", "--since", "soon"]).status, 2);
}

#[test]
fn one_deployment_is_told_with_its_steps_its_log_and_its_report() {
    let world = eventful();
    let failed = rows(world.run("status", &["dev", "history", "--state", "failed"]).ok()).remove(0);
    let id = failed["id"].as_str().unwrap();
    for words in [&["dev", "show", id][..], &["show", id]] {
        let shown = world.run("status", words).ok().report();
        assert_eq!(shown.deployment.as_deref(), Some(id));
        let shown = &shown.details["status"]["shown"];
        assert_eq!(shown["report"]["problem"]["type"], "instance-exited");
        let steps = shown["steps"].as_array().unwrap();
        let broken = steps.iter().find(|step| step["status"] == "failed").unwrap();
        assert_eq!(broken["problem"]["type"], "instance-exited");
        let times: Vec<u64> = steps.iter().map(|step| step["after_ms"].as_u64().unwrap()).collect();
        assert!(times.is_sorted() && times[times.len() - 1] > 0, "{times:?}");
    }
    assert_eq!(world.run("status", &["prod", "show", id]).status, 2, "it is another environment's");
    assert_eq!(world.run("status", &["show", "20200101T000000Z-none"]).status, 2);
}

#[test]
fn an_environment_is_told_with_its_slots_its_backup_its_disk_and_its_distance() {
    let world = eventful();
    let branch = world.git(&["rev-parse", "HEAD"]);
    world.commit("one more");
    let dev = world.status("dev");
    assert_eq!(dev["git"], "1 commits behind dev");
    assert_eq!((&dev["subject"], &dev["author"]), (&"v2".into(), &"Tester".into()));
    assert_eq!(dev["revision"], branch.as_str());
    assert!(dev["written_at"].is_string() && dev["free_bytes"].as_u64().unwrap() > 0);
    let slots = dev["slots"].as_object().unwrap();
    assert!(
        slots.values().all(|slot| slot["condition"] == "running"),
        "the one before stays warm: {slots:?}"
    );
    world.run("backup", &["dev", "create"]).ok();
    let backup = &world.status("dev")["last_backup"];
    assert_eq!((&backup["verified"], &backup["reason"]), (&true.into(), &"manual".into()));
}
