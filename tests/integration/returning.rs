//! `rollback` as asked: warm, cold and built again.

use std::fs;
use std::time::Instant;

use tests::world::World;

fn three_releases() -> (World, Vec<String>) {
    let world = World::new();
    let revisions = (1..=3)
        .map(|number| {
            let revision = world.release(&format!("v{number}"));
            world.run("deploy", &["dev"]).ok();
            revision
        })
        .collect();
    (world, revisions)
}

#[test]
fn last_walks_back_step_by_step_and_stops_at_the_first() {
    let (world, _) = three_releases();
    let report = world.run("rollback", &["dev"]).ok().report();
    assert_eq!(report.details["rollback"]["warm"], true);
    assert_eq!(world.get("dev", "/").1, "v2");
    let report = world.run("rollback", &["dev", "--last"]).ok().report();
    assert_eq!(report.details["rollback"]["warm"], false);
    assert_eq!(world.get("dev", "/").1, "v1");
    let before = world.footprint("dev");
    world.run("rollback", &["dev", "--last"]).refused("no-target");
    assert_eq!(world.footprint("dev"), before);
    world.release("v4");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v4");
    world.run("rollback", &["dev"]).ok();
    assert_eq!(world.status("dev")["identity"], "new");
}

#[test]
fn to_a_commit_or_a_tag_that_was_verified_here_and_no_other() {
    let (world, revisions) = three_releases();
    world.run("rollback", &["dev", "--to-commit", &revisions[0][..9]]).ok();
    assert_eq!(world.get("dev", "/").1, "v1");
    world.git(&["tag", "v1.2.0", &revisions[1]]);
    world.run("rollback", &["dev", "--to-version", "v1.2.0"]).ok();
    assert_eq!(world.get("dev", "/").1, "v2");
    world.run("rollback", &["dev", "--to-commit", &revisions[2]]).ok();
    assert_eq!(world.get("dev", "/").1, "v3");
    let before = world.footprint("dev");
    world.run("rollback", &["dev", "--to-version", "v9"]).refused("unknown-revision");
    let never = world.git(&["rev-parse", "main"]);
    let report = world.run("rollback", &["dev", "--to-commit", &never]).refused("not-verified");
    assert!(report.problem.unwrap().hint.unwrap().starts_with("deploy dev --revision"));
    assert_eq!(world.footprint("dev"), before);
}

#[test]
fn a_pruned_release_is_built_again() {
    let (world, revisions) = three_releases();
    for release in fs::read_dir(world.state().join("dev/releases")).unwrap().flatten() {
        let text = fs::read_to_string(release.path().join("VERSION")).unwrap();
        if text == "v1" {
            world.sh(&format!("chmod -R u+w '{0}' && rm -r '{0}'", release.path().display())).ok_shell();
        }
    }
    let report = world.run("rollback", &["dev", "--to-commit", &revisions[0]]).ok().report();
    assert!(report.steps.iter().any(|step| step.name == "release.rebuild"));
    assert_eq!(world.get("dev", "/").1, "v1");
}

#[test]
fn a_return_to_a_release_that_no_longer_starts_ends_where_it_began() {
    let (world, revisions) = three_releases();
    world.configure("ready_timeout = \"20s\"", "ready_timeout = \"1s\"");
    for release in fs::read_dir(world.state().join("dev/releases")).unwrap().flatten() {
        if fs::read_to_string(release.path().join("VERSION")).unwrap() == "v1" {
            world.sh(&format!("chmod -R u+w '{}'", release.path().display())).ok_shell();
            fs::write(release.path().join("behaviour.json"), "{\"exit_at_start\": 9}").unwrap();
        }
    }
    let report = world.run("rollback", &["dev", "--to-commit", &revisions[0]]).refused("instance-exited");
    assert_eq!(report.serving.as_deref(), Some(revisions[2].as_str()));
    assert_eq!(world.get("dev", "/").1, "v3");
    world.run("verify", &["dev"]).ok();
}

#[test]
fn nothing_to_return_to() {
    let world = World::new();
    world.run("rollback", &["dev"]).refused("nothing-serves");
    world.run("deploy", &["dev"]).ok();
    world.run("rollback", &["dev"]).refused("no-target");
}

#[test]
fn acknowledged_writes_survive_the_way_there_and_back() {
    let (world, _) = three_releases();
    for number in 0..20 {
        let (status, _) =
            tests::http::request(world.listen("dev"), "POST", &format!("/write?n={number}")).unwrap();
        assert_eq!(status, 200);
    }
    world.run("rollback", &["dev"]).ok();
    assert_eq!(world.get("dev", "/rows").1, "20");
    let begun = Instant::now();
    world.run("rollback", &["dev"]).ok();
    assert_eq!(world.get("dev", "/rows").1, "20");
    assert!(begun.elapsed().as_secs() < 30);
}
