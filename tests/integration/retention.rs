//! Which releases stay: whatever was deployed, undone or cut off before.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::chores;
use common::config;
use common::ledger::{Beginning, Kind, State};
use common::release;
use common::site::Site;
use tests::ran::Ran;
use tests::world::{World, steps};

const WAIT: Duration = Duration::from_secs(60);

fn deploy(world: &World, versions: std::ops::RangeInclusive<u32>) -> Vec<String> {
    let one = |number| {
        world.release(&format!("v{number}"));
        world.run("deploy", &["dev", "--wait", "60"]).ok();
        world.git(&["rev-parse", "HEAD"])
    };
    versions.map(one).collect()
}

/// The environment under its lock, as a command has it. A program that another test starts at that
/// moment holds a copy of the open lock file until it is executed: what comes next waits.
fn site(world: &World) -> Site {
    let config = config::load(Some(&world.checkout().join("deploy.toml"))).unwrap();
    Site::open(config, "dev", "deploy", WAIT).unwrap()
}

fn releases(world: &World) -> PathBuf {
    world.state().join("dev/releases")
}

/// What stands in each release directory, by the version that its app answers.
fn kept(world: &World) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(releases(world)).unwrap().flatten().map(|entry| entry.path());
    entries.map(|path| (fs::read_to_string(path.join("VERSION")).unwrap(), path)).collect()
}

fn versions(world: &World) -> Vec<String> {
    kept(world).into_keys().collect()
}

#[test]
fn the_oldest_release_stays_while_it_serves_and_while_it_is_warm() {
    let world = World::new();
    let revisions = deploy(&world, 1..=5);
    world.run("rollback", &["dev", "--wait", "60", "--to-commit", &revisions[0]]).ok();
    deploy(&world, 6..=6);
    assert_eq!(versions(&world), ["v1", "v2", "v3", "v4", "v5", "v6"], "v1 is warm, the others are recent");
    let report = world.run("rollback", &["dev", "--wait", "60", "--to-commit", &revisions[0]]).ok().report();
    assert_eq!(report.details["rollback"]["warm"], true);
    for _ in 0..2 {
        chores::prune(&site(&world)).unwrap();
        assert_eq!(versions(&world), ["v1", "v2", "v3", "v4", "v5", "v6"], "v1 serves");
    }
    assert_eq!(world.get("dev", "/").1, "v1");
    deploy(&world, 7..=8);
    assert_eq!(versions(&world), ["v4", "v5", "v6", "v7", "v8"], "v1 neither serves nor is warm");
    let report = world.run("rollback", &["dev", "--wait", "60", "--to-commit", &revisions[0]]).ok().report();
    assert_eq!(steps(&report, "release.rebuild").len(), 1);
    chores::prune(&site(&world)).unwrap();
    assert_eq!(world.get("dev", "/").1, "v1");
    assert!(versions(&world).contains(&"v1".to_owned()), "what was built again serves");
}

#[test]
fn the_newest_verified_release_stays_however_many_came_after_it() {
    let world = World::new();
    world.configure("[environments.dev]\n", "[environments.dev]\nkeep_warm = false\n");
    let verified = deploy(&world, 1..=1).remove(0);
    for number in 2..=8 {
        world.release(&format!("v{number}"));
        world.run("deploy", &["dev", "--no-verify"]).ok();
    }
    chores::prune(&site(&world)).unwrap();
    assert!(versions(&world).contains(&"v1".to_owned()), "{:?}", versions(&world));
    assert!(versions(&world).contains(&"v8".to_owned()), "{:?}", versions(&world));
    let report = world.run("rollback", &["dev", "--wait", "60"]).ok().report();
    assert!(steps(&report, "release.rebuild").is_empty(), "it was built again");
    assert_eq!(report.serving, Some(verified));
}

#[test]
fn unfinished_and_broken_deployments_keep_their_releases_until_they_are_past() {
    let world = World::new();
    deploy(&world, 1..=2);
    let revision = world.git(&["rev-parse", "HEAD"]);
    for id in ["unfinished", "broken"] {
        let site = site(&world);
        fs::create_dir(releases(&world).join(id)).unwrap();
        fs::write(releases(&world).join(id).join("VERSION"), id).unwrap();
        release::seal(&releases(&world).join(id)).unwrap();
        site.ledger
            .begin(&Beginning {
                id,
                environment: "dev",
                kind: Kind::Deploy,
                revision: &revision,
                branch: None,
                tree: None,
                replaced: None,
                restores: None,
                log_file: None,
            })
            .unwrap();
    }
    {
        let site = site(&world);
        site.ledger.journal_begin("broken", "instance.start", "{}").unwrap();
        site.ledger.set_state("broken", State::Broken).unwrap();
        site.ledger.end("broken", &common::report::Report::new("deploy")).unwrap();
        chores::prune(&site).unwrap();
    }
    assert_eq!(versions(&world), ["broken", "unfinished", "v1", "v2"]);
    {
        let site = site(&world);
        site.ledger.set_state("unfinished", State::Failed).unwrap();
        site.ledger.end("unfinished", &common::report::Report::new("deploy")).unwrap();
        site.ledger.set_verified("dev", &site.ledger.serving("dev").unwrap().unwrap().id).unwrap();
        chores::prune(&site).unwrap();
    }
    assert_eq!(versions(&world), ["v1", "v2"]);
}

/// Half a release was taken for a whole one by the next rollback to it.
#[test]
fn a_release_whose_removal_was_cut_off_is_never_started_and_goes_with_the_next_prune() {
    let world = World::new();
    let revisions = deploy(&world, 1..=6);
    world.release("v7");
    let mut command = world.command("deploy", &["dev"]);
    let killed = Ran::of(command.env("DEPLOY_FAULT", "deploy:prune.after-rename#1").output().unwrap());
    assert_ne!(killed.status, 0);
    let half = world.footprint("dev").releases.into_iter().find(|name| name.starts_with('.')).unwrap();
    world
        .sh(&format!("chmod -R u+w '{0}'; rm '{0}/app.py'", releases(&world).join(&half).display()))
        .ok_shell();
    let report = world.run("rollback", &["dev", "--to-commit", &revisions[1]]).ok().report();
    assert_eq!(steps(&report, "release.rebuild").len(), 1);
    assert_eq!(world.get("dev", "/").1, "v2");
    deploy(&world, 8..=8);
    assert!(!world.footprint("dev").releases.iter().any(|name| name.starts_with('.')));
}

#[test]
fn a_sealed_release_of_any_mode_goes_and_what_was_written_late_is_kept() {
    let world = World::new();
    deploy(&world, 1..=5);
    let old = kept(&world).remove("v1").unwrap();
    let kept_note = world.state().join("dev/kept").join(old.file_name().unwrap()).join("late/deep/note");
    // A prune that was cut off had kept an earlier one already.
    fs::create_dir_all(kept_note.parent().unwrap()).unwrap();
    fs::write(&kept_note, "earlier").unwrap();
    world.sh(&format!("chmod 444 '{}'", kept_note.display())).ok_shell();
    let line = "chmod u+w . && mkdir -p late/deep && echo late >late/deep/note && touch -d tomorrow late/deep/note && chmod 444 late/deep/note \
                && chmod 500 late/deep && chmod 500 late && chmod 111 migrations";
    world.sh(&format!("cd '{}' && {line}", old.display())).ok_shell();
    world.release("v6");
    let report = world.run("deploy", &["dev", "--wait", "60"]).ok().report();
    assert_eq!(versions(&world), ["v2", "v3", "v4", "v5", "v6"], "{}", report.details["deploy"]);
    assert_eq!(fs::read_to_string(&kept_note).unwrap(), "late\n");
}

#[test]
fn a_verified_deployment_brings_its_backup_to_the_second_place_and_an_absent_one_undoes_nothing() {
    let world = World::new();
    world.configure("[environments.dev]\n", "[environments.dev]\nbackups = { second = \"../mount\" }\n");
    let mount = world.checkout().parent().unwrap().join("mount");
    deploy(&world, 1..=1);
    world.write("migrations/002_more.up.sql", "CREATE TABLE more(a);\n");
    world.write("migrations/002_more.down.sql", "DROP TABLE more;\n");
    world.release("v2");
    let report = world.run("deploy", &["dev", "--wait", "60"]).ok().report();
    let warnings = report.details["deploy"]["warnings"].to_string();
    assert!(warnings.contains("mount is not there"), "{warnings}");
    let ids = |report: &Ran| {
        let listed = report.report().details["backup"]["backups"].as_array().unwrap().clone();
        listed
            .into_iter()
            .map(|backup| (backup["id"].clone(), backup["places"].to_string()))
            .collect::<Vec<_>>()
    };
    let before = ids(&world.run("backup", &["dev", "list"]));
    assert!(!before.is_empty() && before.iter().all(|(_, places)| places == "[\"here\"]"), "{before:?}");
    fs::create_dir(&mount).unwrap();
    let report = {
        world.release("v3");
        world.run("deploy", &["dev", "--wait", "60"]).ok().report()
    };
    assert!(!report.details["deploy"]["warnings"].to_string().contains("mount"), "{report:?}");
    let after = ids(&world.run("backup", &["dev", "list"]));
    assert!(after.iter().all(|(_, places)| places == "[\"here\",\"second\"]"), "{after:?}");
}
