//! The points and the places that reach the disk, as they stand in the sources: none is missed, and
//! none is passed by no run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tests::fault::{Act, names};
use tests::world::World;

const CRATES: [&str; 7] = ["common", "deploy", "verify", "status", "rollback", "migrate", "backup"];
/// What only `common::durable` may do.
const DURABLE: [&str; 8] = [
    "fs::rename",
    ".persist(",
    "sync_all",
    "sync_data",
    "renameat",
    "syncfs",
    "fdatasync",
    "rustix::fs::fsync",
];
/// Points whose name is made when they are passed, and from what.
const MADE: [(&str, &str); 2] = [
    ("common/src/cli/run.rs", "name"), // the step
    ("common/src/journal/mod.rs", "undo.step()"),
];
/// Points that no command passes: gateways and keepers do, which do not inherit our environment.
/// `deploy/tests/gateway/faults.rs` breaks a gateway there. Units of systemd pass the others:
/// `systemd/adopting.rs`, `systemd/crashes.rs` and `systemd/gateways.rs` break in there; and nginx,
/// `nginx/broken.rs`; and a restore of further files, `backup/tests/backup/faults.rs`.
const ELSEWHERE: [&str; 12] = [
    "adopted.before-drop-in",
    "adopted.after-drop-in",
    "adopted.given-back",
    "exchange.before",
    "exchange.after",
    "rename-for-now.before",
    "rename-for-now.after",
    "remove.before",
    "remove.after",
    "gateway.successor-started",
    "nginx.before-reload",
    "nginx.after-reload",
];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files = CRATES.iter().flat_map(|name| walkdir::WalkDir::new(root.join(name).join("src")));
    let files = files.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "rs"));
    files
        .map(|entry| {
            let text = fs::read_to_string(entry.path()).unwrap();
            (entry.path().strip_prefix(root).unwrap().to_owned(), text)
        })
        .collect()
}

#[test]
fn only_one_module_renames_and_syncs() {
    for (file, text) in sources().iter().filter(|(file, _)| file != Path::new("common/src/durable.rs")) {
        for word in DURABLE {
            assert!(!text.contains(word), "{}: {word} belongs into common::durable", file.display());
        }
    }
}

/// The arguments of all `fault::point(…)`: names, and expressions with their files.
fn points() -> (BTreeSet<String>, BTreeSet<(PathBuf, String)>) {
    let (mut literal, mut made) = (BTreeSet::new(), BTreeSet::new());
    for (file, text) in sources() {
        for call in text.split("fault::point(").skip(1) {
            match call.strip_prefix('"').and_then(|call| call.split_once('"')) {
                Some((name, _)) => drop(literal.insert(name.to_owned())),
                None => drop(made.insert((file.clone(), call.split(");").next().unwrap().to_owned()))),
            }
        }
    }
    (literal, made)
}

#[test]
fn every_point_in_the_sources_is_passed_by_a_run() {
    let (literal, made) = points();
    assert!(literal.len() > 20, "{literal:?}");
    let known = MADE.map(|(file, name)| (PathBuf::from(file), name.to_owned()));
    assert_eq!(made, BTreeSet::from(known));

    let world = World::new();
    world.release("v0");
    world.deploy_by_other_installation("dev");
    world.release("v1");
    let deploy = Act::new("deploy", &["dev"]);
    let mut passed = deploy.run(&world, None).1;
    world.write("migrations/002_m.up.sql", "CREATE TABLE m(a);\n");
    world.write("migrations/002_m.down.sql", "DROP TABLE m;\n");
    world.write("migrations/003_o.up.sql", "-- no-transaction\nSELECT 1;\n");
    world.write("migrations/003_o.down.sql", "SELECT 1;\n");
    world.release("v2");
    passed.extend(deploy.run(&world, Some("deploy:drain#1=sigterm")).1);
    passed.extend(Act::new("backup", &["dev", "create"]).run(&world, None).1);
    passed.extend(restore(&world));
    world.write("migrations/004_n.up.sql", "ALTER TABLE acked RENAME COLUMN n TO number;\n");
    world.release("v3");
    passed.extend(deploy.run(&world, Some("deploy:gateway.release#1=sigterm")).1);
    let hook = world.checkout().join(".git/hooks/pre-push");
    fs::write(&hook, "#!/bin/sh\n").unwrap();
    passed.extend(Act::new("deploy", &["hooks", "install"]).run(&world, None).1);
    let passed = names(&passed);
    let missed: Vec<_> = literal
        .iter()
        .filter(|name| !passed.contains(*name) && !ELSEWHERE.contains(&name.as_str()))
        .collect();
    assert!(missed.is_empty(), "no run passes {missed:?}");
}

/// Over another content, and where the file is gone.
fn restore(world: &World) -> Vec<String> {
    let backup = world.run("backup", &["dev", "list"]).report();
    let id = backup.details["backup"]["backups"][0]["id"].as_str().unwrap().to_owned();
    let act = Act::new("backup", &["dev", "restore", &id, "--discard-writes"]);
    world.run("migrate", &["dev", "down", "--steps", "1"]).ok();
    let (over, mut passed) = act.run(world, None);
    over.ok();
    fs::remove_file(world.database("dev")).unwrap();
    let (anew, more) = act.run(world, None);
    anew.ok();
    passed.extend(more);
    passed
}
