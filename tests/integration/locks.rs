//! One changing command per environment: whoever comes second waits, or says who works and since
//! when; no lock outlives the work.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::report::Report;
use rustix::process::{Pid, Signal, kill_process};
use tests::load::{Load, Plan};
use tests::ran::Ran;
use tests::world::World;

const STARTS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(20);
/// Waits in the release directory until somebody removes the mark in the state directory.
const SLOW_BUILD: &str = "touch ../../../building; while test -e ../../../building; do sleep 0.02; done";

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Ran {
    Ran::of(child.wait_with_output().unwrap())
}

fn kill(child: Child) {
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    end(child);
}

fn await_file(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < PATIENCE, "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The refusal names its reason: what works, since when, who.
fn assert_says_who(report: &Report) {
    let problem = report.problem.as_ref().unwrap();
    let detail = problem.detail.as_deref().unwrap_or_default();
    assert!(problem.retryable, "{problem:?}");
    assert!(detail.contains(" dev holds it since 20") && detail.contains(", pid "), "{detail}");
}

#[test]
fn of_two_hundred_commands_at_once_exactly_one_works() {
    let world = World::new();
    for version in ["v1", "v2"] {
        world.release(version);
        world.run("deploy", &["dev"]).ok();
    }
    let load = Load::start(world.listen("dev"), Plan { fresh: 1, keep_alive: 1, ..Plan::default() });
    let trace = world.path().join("trace");
    let commands: [&[&str]; 8] = [
        &["deploy", "dev", "--wait", "300"],
        &["backup", "dev", "create", "--wait", "0"],
        &["migrate", "dev", "up", "--wait", "300"],
        &["status", "dev"],
        &["rollback", "dev", "--wait", "0"],
        &["verify", "dev"],
        &["backup", "dev", "create", "--wait", "300"],
        &["deploy", "dev", "--wait", "0"],
    ];
    let begin = |number: usize| {
        let words = commands[number % commands.len()];
        let child = start(world.command(words[0], &words[1..]).env("DEPLOY_FAULT_TRACE", &trace));
        (words.join(" "), child)
    };
    let running: Vec<_> = (0..STARTS).map(begin).collect();
    let (mut worked, mut refused) = (0, 0);
    for (line, child) in running {
        let ran = end(child);
        let report = ran.report();
        let looks = line.starts_with("verify") || line.starts_with("status");
        match report.problem.as_ref().map(|problem| problem.kind.as_str()) {
            Some("locked") => {
                assert!(line.ends_with("--wait 0"), "{line}: {}", ran.stdout);
                assert_says_who(&report);
                refused += 1;
            }
            None | Some("no-target") => worked += 1,
            // What they find differs from moment to moment, as it would for people.
            Some(kind) if looks && !kind.starts_with("ledger") && !kind.starts_with("state") => worked += 1,
            Some(other) => panic!("{line}: {other}: {}\n{}", ran.stdout, ran.stderr),
        }
        let unrecorded = report.details.get("verify").and_then(|facts| facts["not_recorded"].as_str());
        assert!(
            unrecorded.is_none_or(|why| why.contains("holds it since") || why.contains("serves by now")),
            "{unrecorded:?}"
        );
    }
    load.stop().assert_nothing_lost();
    let holders = assert_never_two(&trace);
    let status = world.run("status", &["dev"]).ok().report().details["status"]["dev"].clone();
    assert_eq!((&status["lock"], &status["unfinished"]), (&serde_json::Value::Null, &serde_json::json!([])));
    assert_eq!(fs::read(world.state().join("dev/lock")).unwrap(), b"", "a free lock names nobody");
    assert!(refused > 0 && worked > STARTS / 3, "{worked} worked, {refused} were refused");
    tests::tell(&format!(
        "{STARTS} starts: {holders} held the lock one after the other, {refused} were refused"
    ));
}

/// Every holder notes when it has the lock and when it is about to let go.
fn assert_never_two(trace: &Path) -> usize {
    let text = fs::read_to_string(trace).unwrap();
    let marks: Vec<&str> = text.lines().filter(|line| line.contains(":lock.")).collect();
    for pair in marks.chunks(2) {
        let [taken, released] = pair else { panic!("{pair:?} was never released") };
        let (holder, other) = (taken.split(':').next(), released.split(':').next());
        assert!(taken.contains(":lock.taken") && released.contains(":lock.released"), "{pair:?}");
        assert_eq!(holder, other, "{pair:?}");
    }
    marks.len() / 2
}

/// Looking takes the lock for an instant; that must not turn anybody away.
#[test]
fn whoever_only_looks_is_in_nobodys_way() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let place = world.state().join("dev/lock");
                let keeper = world.state().join("dev/slots/green/keeper.lock");
                while !done.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                    for path in [&place, &keeper] {
                        if let Ok(file) = fs::File::open(path) {
                            drop(file.try_lock_shared());
                        }
                    }
                }
            });
        }
        for number in 2..7 {
            world.release(&format!("v{number}"));
            let ran = world.run("deploy", &["dev"]);
            if number == 6 || ran.status != 0 {
                done.store(true, Ordering::Relaxed);
            }
            ran.ok();
        }
    });
}

#[test]
fn a_killed_holder_lets_go_at_once() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    let mark = world.path().join("required");
    world.configure(
        "[app]\n",
        &format!(
            "[app]\nrequires = [\"command:touch {0}; sleep 0.2; test ! -e {0}.wait || sleep 2\"]\n",
            mark.display()
        ),
    );
    fs::write(mark.with_extension("wait"), "").unwrap();
    let holder = start(&mut world.command("deploy", &["dev", "--again"]));
    await_file(&mark);
    let report = world.run("backup", &["dev", "create"]).refused("locked");
    assert_says_who(&report);
    assert!(report.problem.unwrap().detail.unwrap().contains(&format!("pid {})", holder.id())));
    kill(holder);
    world.run("backup", &["dev", "create"]).ok();
}

#[test]
fn the_work_of_a_killed_holder_keeps_the_lock_until_it_ends() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.configure("[app]\n", &format!("[app]\nbuild = \"{SLOW_BUILD}\"\n"));
    let holder = start(&mut world.command("deploy", &["dev"]));
    let mark = world.state().join("building");
    await_file(&mark);
    kill(holder);
    let report = world.run("backup", &["dev", "create"]).refused("locked");
    assert_says_who(&report);
    let detail = report.problem.unwrap().detail.unwrap();
    assert!(detail.contains("that process has ended, what it started still works"), "{detail}");
    assert_eq!(world.status("dev")["lock"]["ended"], true);
    fs::remove_file(&mark).unwrap();
    world.run("backup", &["dev", "create", "--wait", "20"]).ok();
    assert_eq!(world.status("dev")["unfinished"], serde_json::json!([]));
}

/// Build tools leave servers behind; those would keep the lock for as long as they live.
#[test]
fn a_daemon_that_a_build_leaves_behind_holds_no_lock() {
    let world = World::new();
    let note = world.path().join("daemons");
    let daemon = format!("setsid sleep 300 >/dev/null 2>&1 & echo $! >> {}", note.display());
    world.configure("[app]\n", &format!("[app]\nbuild = \"{daemon}; {SLOW_BUILD}\"\n"));
    let mark = world.state().join("building");
    let first = start(&mut world.command("deploy", &["dev"]));
    await_file(&mark);
    fs::remove_file(&mark).unwrap();
    end(first).ok();
    // The run ended: free at once.
    world.run("backup", &["dev", "create"]).ok();
    let killed = start(&mut world.command("deploy", &["dev", "--again"]));
    await_file(&mark);
    kill(killed);
    world.run("backup", &["dev", "create"]).refused("locked");
    fs::remove_file(&mark).unwrap();
    // Nobody is left to let go, and the daemon has nothing to hold.
    world.run("backup", &["dev", "create", "--wait", "20"]).ok();
    let daemons = fs::read_to_string(note).unwrap();
    assert_eq!(daemons.lines().count(), 2);
    for pid in daemons.lines().map(|line| line.parse().unwrap()) {
        assert!(Path::new(&format!("/proc/{pid}")).exists(), "the daemon is part of the test");
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
}
