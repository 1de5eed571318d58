//! The ledger is gone, damaged or somebody else's: the next command makes it again from the event
//! log and from what runs, says so, and nothing stops serving meanwhile.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use common::report::{Outcome, Report};
use serde_json::Value;
use tests::load::{Load, Plan};
use tests::ran::Ran;
use tests::world::World;

/// Two verified releases; the second serves.
fn serving() -> (World, Vec<String>) {
    let world = World::new();
    let ids = ["v1", "v2"].map(|version| {
        world.release(version);
        world.run("deploy", &["dev"]).ok().report().deployment.unwrap()
    });
    (world, ids.to_vec())
}

fn ledger(world: &World) -> PathBuf {
    world.state().join("ledger.db")
}

fn log(world: &World) -> PathBuf {
    world.state().join("deployments.log")
}

fn lose_ledger(world: &World) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(world.state().join(format!("ledger.db{suffix}")));
    }
}

/// What the report says about the ledger.
fn note(report: &Report, tool: &str) -> String {
    let notes = report.details[tool]["recovered"].as_array().cloned().unwrap_or_default();
    let notes: Vec<&str> = notes.iter().filter_map(Value::as_str).collect();
    notes.into_iter().find(|note| note.starts_with("the ledger ")).unwrap_or_default().to_owned()
}

fn set_aside(world: &World) -> Vec<String> {
    let names = fs::read_dir(world.state()).unwrap().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("ledger.db.lost-") || name.starts_with("ledger.db.new")).collect()
}

fn events(world: &World) -> Vec<Value> {
    let text = fs::read_to_string(log(world)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn history(world: &World) -> Vec<(String, String)> {
    let report = world.run("status", &["dev", "history"]).ok().report();
    let rows = report.details["status"]["dev"].as_array().unwrap().clone();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, "id"), text(row, "state"))).collect()
}

#[test]
fn a_deleted_ledger_is_made_again_and_nothing_is_forgotten() {
    let (world, ids) = serving();
    let before = history(&world);
    lose_ledger(&world);
    let status = world.run("status", &["dev"]);
    let facts = &status.report().details["status"]["dev"];
    assert_eq!((&facts["deployment"], &facts["state"]), (&Value::from(ids[1].as_str()), &"verified".into()));
    assert_eq!(facts["ledger_lost"], "is gone");
    assert!(status.report().problem.unwrap().title.contains("the ledger is gone"), "{}", status.stdout);
    assert!(!ledger(&world).exists(), "status wrote something");
    assert_eq!(history(&world), before);
    let report = world.run("rollback", &["dev"]).ok().report();
    assert!(
        note(&report, "rollback").contains("the ledger is gone; it was made again"),
        "{:?}",
        report.details
    );
    assert_eq!(world.get("dev", "/").1, "v1");
    assert_eq!(
        history(&world)[1..],
        [(ids[1].clone(), "superseded".into()), (ids[0].clone(), "superseded".into())]
    );
    assert_eq!(world.status("dev")["ledger_lost"], Value::Null);
    assert!(set_aside(&world).is_empty());
}

#[test]
fn evidence_survives_with_the_event_log_and_only_with_it() {
    let (world, _) = serving();
    lose_ledger(&world);
    world.run("deploy", &["prod", "--promote"]).ok();
    assert_eq!(world.get("prod", "/").1, "v2");
    lose_ledger(&world);
    fs::remove_file(log(&world)).unwrap();
    world.run("deploy", &["prod", "--promote", "--again"]).refused("no-evidence");
    world.run("verify", &["dev"]).ok();
    world.run("deploy", &["prod", "--promote", "--again"]).ok();
}

#[test]
fn a_log_that_others_may_write_is_history_and_proves_nothing() {
    let (world, ids) = serving();
    lose_ledger(&world);
    fs::set_permissions(log(&world), fs::Permissions::from_mode(0o666)).unwrap();
    world.run("deploy", &["prod", "--promote"]).refused("no-evidence");
    world.run("rollback", &["dev"]).refused("no-target");
    let status = world.status("dev");
    assert_eq!((&status["deployment"], &status["state"]), (&Value::from(ids[1].as_str()), &"serving".into()));
    assert_eq!(history(&world).len(), 2);
}

#[test]
fn a_log_that_others_may_write_decides_nothing_that_runs() {
    let (world, ids) = serving();
    let evil = tempfile::tempdir().unwrap();
    let last = events(&world).into_iter().rev().find(|event| event["state"] == "verified").unwrap();
    for mode in [0o666, 0o600] {
        let mut line = last.clone();
        line["event"] = "verified".into();
        line["release"] = evil.path().to_str().unwrap().into();
        let text = fs::read_to_string(log(&world)).unwrap();
        fs::write(log(&world), format!("{text}{line}\n")).unwrap();
        fs::set_permissions(log(&world), fs::Permissions::from_mode(mode)).unwrap();
        lose_ledger(&world);
        world.run("backup", &["dev", "create"]).ok();
        let rows = rusqlite::Connection::open(ledger(&world)).unwrap();
        let outside: i64 = rows
            .query_row("SELECT count(*) FROM deployments WHERE release LIKE '%/%'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(outside, 0, "{mode:o}");
        let release: Option<String> = rows
            .query_row("SELECT release FROM deployments WHERE id = ?1", [&ids[0]], |row| row.get(0))
            .unwrap();
        assert_eq!(release.is_none(), mode == 0o666);
        assert_eq!(world.status("dev")["deployment"], ids[1].as_str(), "{mode:o}");
    }
}

#[test]
fn a_damaged_ledger_is_set_aside_whole() {
    let (world, ids) = serving();
    let whole = fs::read(ledger(&world)).unwrap();
    let mut torn = whole.clone();
    let middle = torn.len() / 2;
    torn[100..middle].fill(0x5a);
    let damages: [(&str, Vec<u8>); 4] = [
        ("text", b"this is no database, whatever its name says\n".repeat(100)),
        ("empty", Vec::new()),
        ("torn", torn),
        ("cut", whole[..whole.len() / 3].to_vec()),
    ];
    for (number, (name, bytes)) in damages.into_iter().enumerate() {
        lose_ledger(&world);
        fs::write(ledger(&world), &bytes).unwrap();
        assert_eq!(world.status("dev")["deployment"], ids[1].as_str(), "{name}");
        let report = world.run("deploy", &["dev"]).ok().report();
        assert!(note(&report, "deploy").contains("is kept as "), "{name}: {:?}", report.details);
        let kept =
            set_aside(&world).into_iter().filter(|kept| !kept.ends_with("-wal") && !kept.ends_with("-shm"));
        assert_eq!(kept.count(), number + 1, "{name}");
        assert_eq!(world.status("dev")["state"], "verified", "{name}");
    }
    lose_ledger(&world);
    let foreign = rusqlite::Connection::open(ledger(&world)).unwrap();
    foreign.execute_batch("CREATE TABLE notes(text); INSERT INTO notes VALUES ('mine')").unwrap();
    drop(foreign);
    let report = world.run("deploy", &["dev"]).ok().report();
    assert!(note(&report, "deploy").contains("another program's database"), "{:?}", report.details);
}

/// The log of a deleted ledger's next door: a stale write-ahead log must not flow into the new one.
#[test]
fn what_sqlite_keeps_beside_a_deleted_ledger_goes_with_it() {
    let (world, ids) = serving();
    let open = rusqlite::Connection::open(ledger(&world)).unwrap();
    open.execute_batch("UPDATE environments SET note = 'stale'").unwrap();
    fs::remove_file(ledger(&world)).unwrap();
    assert!(world.state().join("ledger.db-wal").exists());
    world.run("backup", &["dev", "create"]).ok();
    assert_eq!(world.status("dev")["deployment"], ids[1].as_str());
    assert_eq!(world.status("dev")["state"], "verified");
    assert!(set_aside(&world).iter().any(|name| name.ends_with("-wal")));
}

#[test]
fn senseless_lines_cost_nothing_but_themselves() {
    let (world, ids) = serving();
    let mut file = OpenOptions::new().append(true).open(log(&world)).unwrap();
    let text = fs::read_to_string(log(&world)).unwrap();
    let last = text.lines().last().unwrap();
    writeln!(file, "not ours\n\n[1, 2]\n{{\"id\": 7}}").unwrap();
    writeln!(
        file,
        "{}",
        last.replace("\"app\":\"tinyapp\"", "\"app\":\"another\"").replace(&ids[1], "foreign")
    )
    .unwrap();
    writeln!(
        file,
        "{}",
        last.replace("\"dev\"", "\"elsewhere\"").replace(&ids[1], "20200101T000000Z-abcdef0")
    )
    .unwrap();
    write!(file, "{}", &last[..last.len() / 2]).unwrap();
    lose_ledger(&world);
    let report = world.run("rollback", &["dev"]).ok().report();
    assert!(note(&report, "rollback").contains("(4 more made no sense)"), "{:?}", report.details);
    assert_eq!(world.get("dev", "/").1, "v1");
    assert!(!history(&world).iter().any(|(id, _)| id == "foreign"));
    // The half line stays alone, the next one begins anew.
    assert_eq!(events(&world).last().unwrap()["event"], "ended");
    lose_ledger(&world);
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v2");
}

#[test]
fn with_an_empty_log_what_serves_is_taken_over_and_needs_a_verification() {
    let (world, ids) = serving();
    lose_ledger(&world);
    fs::write(log(&world), "").unwrap();
    let report = world.run("backup", &["dev", "create"]);
    report.ok();
    assert!(report.stderr.contains("needs `verify dev`"), "{}", report.stderr);
    let known = history(&world);
    assert_eq!(known[0], (ids[1].clone(), "serving".into()));
    assert_eq!(known[1], (ids[0].clone(), "superseded".into()));
    world.run("rollback", &["dev"]).refused("no-target");
    world.run("verify", &["dev"]).ok();
    assert_eq!(world.status("dev")["state"], "verified");
    world.release("v3");
    world.run("deploy", &["dev"]).ok();
    world.run("rollback", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v2");
}

#[test]
fn with_ledger_and_log_gone_what_serves_goes_on_and_the_next_release_takes_over() {
    let (world, ids) = serving();
    let load = Load::start(world.listen("dev"), Plan { write: 1, ..Plan::mixed() });
    lose_ledger(&world);
    fs::remove_file(log(&world)).unwrap();
    let status = world.status("dev");
    assert_eq!((&status["deployment"], &status["state"]), (&Value::from(ids[1].as_str()), &"serving".into()));
    assert_eq!(status["identity"], "new");
    let revision = world.release("v3");
    let report = world.run("deploy", &["dev"]).ok().report();
    assert!(note(&report, "deploy").contains("needs `verify dev`"), "{:?}", report.details);
    assert!(!ids.contains(&report.deployment.unwrap()));
    let status = world.status("dev");
    assert_eq!((&status["revision"], &status["state"]), (&Value::from(revision), &"verified".into()));
    load.wait_for(2);
    load.stop().assert_nothing_lost();
    assert!(
        events(&world).iter().any(|event| event["id"] == ids[0].as_str()),
        "the log began anew without the past"
    );
}

#[test]
fn a_deleted_log_begins_anew_with_all_that_the_ledger_knows() {
    let (world, ids) = serving();
    fs::remove_file(log(&world)).unwrap();
    world.release("v3");
    let newest = world.run("deploy", &["dev"]).ok().report().deployment.unwrap();
    lose_ledger(&world);
    assert_eq!(
        history(&world).iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(),
        [&newest, &ids[1], &ids[0]].map(Clone::clone)
    );
    world.run("deploy", &["prod", "--promote"]).ok();
}

#[test]
fn lines_that_could_not_be_written_come_with_the_next_event() {
    let (world, _) = serving();
    let before = fs::read(log(&world)).unwrap();
    fs::remove_file(log(&world)).unwrap();
    fs::create_dir(log(&world)).unwrap();
    world.release("v3");
    let ran = world.run("deploy", &["dev"]);
    assert!(ran.ok().stderr.contains("warning: "), "{}", ran.stderr);
    fs::remove_dir(log(&world)).unwrap();
    fs::write(log(&world), before).unwrap();
    world.run("rollback", &["dev"]).ok();
    let ended: Vec<Value> = events(&world).into_iter().filter(|event| event["event"] == "ended").collect();
    assert_eq!(ended.len(), 4);
    assert_eq!(ended[2]["id"], ran.report().deployment.unwrap());
}

#[test]
fn a_kill_while_it_is_made_again_costs_nothing() {
    let (world, ids) = serving();
    for point in [
        "lock.taken#1",
        "file.before-sync#1",
        "rename.before#1",
        "rename.after#1",
        "rename.before#2",
        "rename.after#2",
        "lock.taken#2",
        "lock.released#1",
    ] {
        fs::write(ledger(&world), "garbage".repeat(1000)).unwrap();
        let fault = format!("rollback:{point}");
        let cut = world.command("rollback", &["dev"]).env("DEPLOY_FAULT", &fault).output().unwrap();
        assert!(Ran::of(cut).stdout.is_empty(), "{point}");
        assert_eq!(world.status("dev")["deployment"], ids[1].as_str(), "{point}");
    }
    let report = world.run("deploy", &["dev"]).ok().report();
    assert!(note(&report, "deploy").contains("it was made again"), "{:?}", report.details);
    assert_eq!(world.status("dev")["state"], "verified");
}

#[test]
fn commands_that_begin_at_once_make_it_again_once() {
    let (world, ids) = serving();
    world.run("deploy", &["prod", "--promote"]).ok();
    fs::write(ledger(&world), "garbage".repeat(1000)).unwrap();
    let begin = |tool: &str, args: &[&str]| {
        world.command(tool, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let running: Vec<_> = (0..8)
        .map(|number| {
            let environment = ["dev", "prod"][number % 2];
            match number % 4 {
                0 | 1 => begin("backup", &[environment, "create", "--wait", "60"]),
                _ => begin("migrate", &[environment, "up", "--wait", "60"]),
            }
        })
        .collect();
    for child in running {
        Ran::of(child.wait_with_output().unwrap()).ok();
    }
    assert_eq!(set_aside(&world).len(), 1);
    assert_eq!(world.status("dev")["deployment"], ids[1].as_str());
}

#[test]
fn it_is_not_made_again_beside_a_command_that_still_works() {
    let (world, _) = serving();
    world.run("deploy", &["prod", "--promote"]).ok();
    world.configure(
        "[app]\n",
        "[app]\nbuild = \"touch ../../../building; while test -e ../../../building; do sleep 0.05; done\"\n",
    );
    let revision = world.release("v3");
    let working =
        world.command("deploy", &["dev"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !world.state().join("building").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    lose_ledger(&world);
    let report = world.run("backup", &["prod", "create"]).refused("locked");
    let detail = report.problem.unwrap().detail.unwrap();
    assert!(detail.starts_with("deploy dev holds it since "), "{detail}");
    fs::remove_file(world.state().join("building")).unwrap();
    // Its own tools cannot go on without a ledger; it undoes itself by the one that it still has.
    let cut = Ran::of(working.wait_with_output().unwrap());
    assert_eq!(cut.status, 1, "{}", cut.stdout);
    assert_ne!(cut.report().outcome, Outcome::Broken, "{}", cut.stdout);
    assert_eq!(world.get("dev", "/").0, 200);
    world.configure("build = ", "# build = ");
    world.run("deploy", &["dev", "--wait", "30"]).ok();
    assert_ne!(world.status("dev")["revision"], revision.as_str());
    assert_eq!(world.get("dev", "/").1, "v3");
}

#[test]
fn a_run_that_was_cut_off_with_its_journal_lost_leaves_what_serves() {
    for (point, serves) in [
        ("deploy:instance.ready#1", "v2"),
        ("deploy:cutover.after-switch#1", "v3"),
        ("verify:ledger.after-commit#2", "v3"),
    ] {
        let (world, _) = serving();
        world.release("v3");
        let load = Load::start(world.listen("dev"), Plan { fresh: 1, ..Plan::default() });
        world.command("deploy", &["dev"]).env("DEPLOY_FAULT", point).output().unwrap();
        // The tool died, or the deploy that it worked for went on: only what traffic says counts.
        lose_ledger(&world);
        let answer = world.get("dev", "/").1;
        if point.starts_with("deploy:") {
            assert_eq!(answer, serves, "{point}");
        }
        world.run("backup", &["dev", "create"]).ok();
        assert_eq!(world.get("dev", "/").1, answer, "{point}");
        let status = world.status("dev");
        assert_eq!(status["gateway"]["active"]["deployment"], status["deployment"], "{point}");
        assert_eq!(status["unfinished"], serde_json::json!([]), "{point}");
        world.release("v4");
        world.run("deploy", &["dev"]).ok();
        assert_eq!(world.get("dev", "/").1, "v4", "{point}");
        load.wait_for(1);
        load.stop().assert_nothing_lost();
    }
}

#[test]
fn a_release_that_nobody_confirms_goes_back_though_ledger_and_run_are_gone() {
    let (world, _) = serving();
    world.release("v3");
    let mut deploy = start_and_await(&world, &["dev", "--confirm", "4s"], "deploy dev confirm");
    deploy.kill().unwrap();
    deploy.wait().unwrap();
    lose_ledger(&world);
    assert_eq!(world.get("dev", "/").1, "v3");
    let begun = std::time::Instant::now();
    while world.get("dev", "/").1 != "v2" {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{}", world.status("dev"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    world.run("backup", &["dev", "create", "--wait", "30"]).ok();
    let status = world.status("dev");
    assert_eq!((&status["unfinished"], &status["state"]), (&serde_json::json!([]), &"verified".into()));
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v3");
}

/// A running deploy that has said this on stderr.
fn start_and_await(world: &World, args: &[&str], said: &str) -> std::process::Child {
    use std::io::{BufRead, BufReader};
    let mut command = world.command("deploy", args);
    let mut deploy = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(deploy.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.any(|line| line.contains(said)), "it never said {said}");
    deploy
}

#[test]
fn a_confirmation_makes_a_lost_ledger_again_first() {
    let (world, _) = serving();
    world.release("v3");
    let mut deploy = start_and_await(&world, &["dev", "--confirm", "60s"], "deploy dev confirm");
    deploy.kill().unwrap();
    deploy.wait().unwrap();
    lose_ledger(&world);
    world.run("deploy", &["dev", "confirm"]).ok();
    assert_eq!(world.get("dev", "/").1, "v3");
    assert_eq!(world.status("dev")["ledger_lost"], Value::Null);
}

#[test]
fn a_locked_or_linked_event_log_holds_nobody_up() {
    let (world, _) = serving();
    let before = events(&world).len();
    let locked = fs::File::open(log(&world)).unwrap();
    locked.lock_shared().unwrap();
    world.release("v3");
    let ran = world.run("deploy", &["dev"]);
    assert!(ran.ok().stderr.contains("warning: "), "{}", ran.stderr);
    assert_eq!(events(&world).len(), before);
    drop(locked);
    world.run("rollback", &["dev"]).ok();
    let told = events(&world);
    assert!(told[before..].iter().any(|event| event["id"] == ran.report().deployment.unwrap().as_str()));
    let precious = world.path().join("precious");
    fs::write(&precious, "as it was").unwrap();
    fs::remove_file(log(&world)).unwrap();
    std::os::unix::fs::symlink(&precious, log(&world)).unwrap();
    world.release("v4");
    assert!(world.run("deploy", &["dev"]).ok().stderr.contains("warning: "));
    assert_eq!(fs::read_to_string(&precious).unwrap(), "as it was");
}
