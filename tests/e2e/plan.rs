//! Promises of the plan that no other test shows.

use std::fs;

use tests::world::World;

#[test]
fn each_production_deployment_is_backed_up_first() {
    let world = World::new();
    let backups = world.state().join("backups/prod");
    let ids = || fs::read_dir(&backups).map_or(0, |entries| entries.flatten().count());
    for (version, before) in [("v1", 0), ("v2", 1), ("v3", 2)] {
        world.release(version);
        world.run("deploy", &["dev"]).ok();
        world.run("deploy", &["prod", "--promote"]).ok();
        assert_eq!(ids(), before, "{version}");
    }
    let newest = fs::read_dir(&backups).unwrap().flatten().map(|entry| entry.path()).max().unwrap();
    for file in ["database.sql", "database.db.zst", "git-tag.txt", "config.json", "manifest.json"] {
        assert!(newest.join(file).is_file(), "{file} is missing in {}", newest.display());
    }
    assert!(fs::read_to_string(newest.join("git-tag.txt")).unwrap().contains("tag backup/prod/"));
}

#[test]
fn a_feature_branch_comes_to_dev_by_name() {
    let world = World::new();
    world.git(&["switch", "--quiet", "-c", "feature/colour"]);
    let revision = world.release("colour");
    world.git(&["switch", "--quiet", "dev"]);
    let report = world.run("deploy", &["dev", "--branch", "feature/colour"]).ok().report();
    assert_eq!(report.serving, Some(revision));
    assert_eq!(report.release.unwrap().branch.as_deref(), Some("feature/colour"));
    world.run("deploy", &["prod", "--branch", "feature/colour"]).refused("wrong-branch");
}
