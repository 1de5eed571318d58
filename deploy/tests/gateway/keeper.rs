//! The keeper with real children: restarts, groups, stop, upgrade, hand-over.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use crate::process::{GATEWAY, Keeper, is_gone, signal, wait_for};
use rustix::process::Signal;
use tempfile::TempDir;

/// Ends at once on SIGTERM.
const STAY: &[&str] = &["sleep", "1000"];

fn shell(script: &str) -> Vec<&str> {
    vec!["sh", "-c", script]
}

#[test]
fn a_child_that_fails_is_restarted_with_growing_delays() {
    let keeper = Keeper::start(&[], &shell("date +%s%N >> starts; exit 3"));
    let record = keeper.wait_for_record("three restarts", |record| {
        record["starts"].as_u64() >= Some(4) && record["state"] == "backoff"
    });
    assert_eq!(record["last_exit"]["code"], 3);
    assert!(record["last_exit"]["signal"].is_null() && record["child"].is_null());

    let text = fs::read_to_string(keeper.path("starts")).unwrap();
    let starts: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    let gaps_ms: Vec<u64> = starts.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).collect();
    assert!(gaps_ms[0] >= 95 && gaps_ms[1] >= 195 && gaps_ms[2] >= 395, "{gaps_ms:?}");
}

#[test]
fn a_child_killed_by_a_signal_is_restarted() {
    let keeper = Keeper::start(&[], STAY);
    let first = keeper.wait_until_running();
    signal(first["child"].as_i64().unwrap(), Signal::KILL);
    let second =
        keeper.wait_for_record("the restart", |record| record["state"] == "running" && record["starts"] == 2);
    assert_eq!(second["last_exit"]["signal"], 9);
    assert_ne!(second["child"], first["child"]);
    assert_eq!(second["killed"], false);
}

#[test]
fn a_command_that_does_not_exist_is_said_in_the_record() {
    let keeper = Keeper::start(&[], &["/nonexistent/app"]);
    let record = keeper.wait_for_record("the error", |record| record["error"].is_string());
    assert!(record["error"].as_str().unwrap().contains("/nonexistent/app"));
    assert_eq!(record["state"], "backoff");
}

#[test]
fn stop_ends_the_whole_group_and_says_stopped() {
    let mut keeper = Keeper::start(&[], &shell("sleep 1000 & echo $! > grandchild; wait"));
    let grandchild = keeper.wait_for_line("grandchild").parse().unwrap();
    let child = keeper.wait_until_running()["child"].as_i64().unwrap();
    let record = keeper.stop();
    assert_eq!((record["state"].as_str(), &record["killed"]), (Some("stopped"), &false.into()));
    assert!(is_gone(child) && is_gone(grandchild));
    assert!(record["child"].is_null());
}

#[test]
fn what_ignores_the_signal_is_killed_after_the_timeout() {
    let stubborn = "trap '' TERM; echo > ready; while :; do sleep 1000; done";
    let mut keeper = Keeper::start(&["--stop-timeout-ms", "150"], &shell(stubborn));
    keeper.wait_for_line("ready");
    let child = keeper.wait_until_running()["child"].as_i64().unwrap();
    let record = keeper.stop();
    assert_eq!(record["killed"], true);
    assert_eq!(record["state"], "stopped");
    assert_eq!(record["last_exit"]["signal"], 9);
    assert!(is_gone(child));
}

#[test]
fn a_second_keeper_in_the_same_directory_exits_75() {
    let keeper = Keeper::start(&[], STAY);
    let before = keeper.wait_until_running();
    let second = Keeper::command(keeper.dir.path(), &[], STAY).status().unwrap();
    assert_eq!(second.code(), Some(75));
    assert_eq!(keeper.record().unwrap(), before);
}

#[test]
fn a_usage_error_exits_2() {
    let dir = TempDir::new().unwrap();
    let status = Keeper::command(dir.path(), &[], &[]).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_taken_address_is_said_in_the_record() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut keeper = Keeper::start(&["--listen", &address], STAY);
    assert_eq!(keeper.child.wait().unwrap().code(), Some(1));
    let record = keeper.record().unwrap();
    assert_eq!(record["state"], "failed");
    assert_eq!(record["error_kind"], "address_in_use");
    assert!(record["error"].as_str().unwrap().contains("in use"));
    assert_eq!(record["starts"], 0);
}

/// Every loopback address has its own ports; this one is nobody else's.
fn own_address() -> String {
    let pid = std::process::id();
    format!("127.{}.{}.7:8000", 1 + (pid >> 8) % 250, pid % 250)
}

#[test]
fn a_grandchild_that_holds_the_port_is_killed_before_the_restart() {
    // The command leaves a listening process behind and dies, each time anew.
    let address = own_address();
    let script = format!(
        r#"mkdir -p g; rm -f g/control.sock; "{GATEWAY}" --dir g --listen {address} & left=$!
        while [ ! -e g/control.sock ]; do kill -0 $left || exit 9; sleep 0.01; done
        echo $left >> left; exit 1"#
    );
    let keeper = Keeper::start(&[], &shell(&script));
    let left = wait_for("three runs that all could listen", || {
        let text = fs::read_to_string(keeper.path("left")).ok()?;
        let left: Vec<i64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (left.len() >= 3).then_some(left)
    });
    assert!(is_gone(left[0]) && is_gone(left[1]));
    assert_ne!(keeper.record().unwrap()["last_exit"]["code"], 9);
}

#[test]
fn the_listener_is_handed_over_with_the_childs_own_pid() {
    let script = "echo $LISTEN_PID $$ $LISTEN_FDS > told; exec sleep 1000";
    let keeper = Keeper::start(&["--listen", "127.0.0.1:0"], &shell(script));
    let told = keeper.wait_for_line("told");
    let child = keeper.wait_until_running()["child"].to_string();
    assert_eq!(told, format!("{child} {child} 1"));
    wait_for_descriptors(&child, &["0", "1", "2", "3"]);
    let socket = fs::read_link(format!("/proc/{child}/fd/3")).unwrap();
    assert!(socket.to_string_lossy().starts_with("socket:"));
    let stdin = fs::read_link(format!("/proc/{child}/fd/0")).unwrap();
    assert_eq!(stdin.to_str(), Some("/dev/null"));
}

/// A program that has just begun may still have its libraries open.
fn wait_for_descriptors(pid: &str, expected: &[&str]) {
    wait_for("these descriptors and no more", || {
        let mut open = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            open.push(entry.unwrap().file_name().into_string().unwrap());
        }
        open.sort();
        (open == expected).then_some(())
    });
}

#[test]
fn neither_keeper_nor_child_keeps_what_the_spawner_left_open() {
    let dir = TempDir::new().unwrap();
    let keeper = Keeper::command(dir.path(), &[], STAY);
    let child = Command::new("sh")
        .args(["-c", r#"exec "$@" 8>leaked"#, "sh"])
        .arg(keeper.get_program())
        .args(keeper.get_args())
        .current_dir(dir.path())
        .spawn()
        .unwrap();
    let keeper = Keeper { child, dir };
    let child = keeper.wait_until_running()["child"].to_string();
    wait_for_descriptors(&child, &["0", "1", "2"]);
    for entry in fs::read_dir(format!("/proc/{}/fd", keeper.child.id())).unwrap() {
        let link = fs::read_link(entry.unwrap().path()).unwrap_or_default();
        assert!(!link.ends_with("leaked"), "{link:?}");
    }
}

#[test]
fn output_goes_to_a_private_log_that_is_rotated() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("child.log"), vec![b'x'; 9 << 20]).unwrap();
    let keeper = Keeper::start_in(dir, &[], &shell("echo out; echo err >&2; echo > ready; exec sleep 1000"));
    keeper.wait_for_line("ready");
    assert_eq!(fs::read_to_string(keeper.path("child.log")).unwrap(), "out\nerr\n");
    assert_eq!(fs::metadata(keeper.path("child.log.1")).unwrap().len(), 9 << 20);
    for private in ["child.log", "keeper.json", "keeper.lock"] {
        let mode = fs::metadata(keeper.path(private)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{private}");
    }
}

#[test]
fn an_upgrade_starts_the_new_child_before_the_old_one_ends() {
    let script = "trap 'echo $$ > ended; exit' TERM; echo $$ >> began; while :; do sleep 1000 & wait; done";
    let keeper = Keeper::start(&[], &shell(script));
    let old: i64 = keeper.wait_for_line("began").parse().unwrap();
    keeper.wait_until_running();
    keeper.signal(Signal::HUP);
    let record = keeper.wait_for_record("the upgrade", |record| {
        record["starts"] == 2 && record["child"] != old && record["retiring"] == serde_json::json!([])
    });
    assert_eq!(keeper.wait_for_line("ended"), old.to_string());
    assert_eq!(record["state"], "running");
    assert_eq!(record["killed"], false);
    assert!(!is_gone(record["child"].as_i64().unwrap()));
}

#[test]
fn an_upgrade_whose_child_fails_leaves_the_old_one() {
    let keeper = Keeper::start(&[], &shell("test -e second && exit 9; echo > second; exec sleep 1000"));
    keeper.wait_for_line("second");
    let before = keeper.wait_until_running();
    keeper.signal(Signal::HUP);
    let record = keeper.wait_for_record("the failed upgrade", |record| record["error"].is_string());
    assert_eq!(record["child"], before["child"]);
    assert_eq!(record["state"], "running");
    assert_eq!(record["last_exit"]["code"], 9);
}

/// A killed keeper, and the child that it left.
fn orphaned() -> (Keeper, i64) {
    let mut keeper = Keeper::start(&[], STAY);
    let orphan = keeper.wait_until_running()["child"].as_i64().unwrap();
    keeper.child.kill().unwrap();
    keeper.child.wait().unwrap();
    (keeper, orphan)
}

fn successor(dir: &Path, command: &[&str]) -> Command {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut successor = Keeper::command(dir, &["--take-over"], command);
    successor.stdin(OwnedFd::from(listener));
    successor
}

#[test]
fn a_new_keeper_ends_the_child_of_a_killed_one() {
    let (mut keeper, orphan) = orphaned();
    assert!(!is_gone(orphan), "what served goes on serving");

    keeper.child = Keeper::command(keeper.dir.path(), &[], STAY).spawn().unwrap();
    let record = keeper.wait_until_running();
    assert!(is_gone(orphan));
    assert_ne!(record["child"].as_i64(), Some(orphan));
}

#[test]
fn an_adopted_child_is_missed_when_the_one_that_should_follow_it_failed() {
    let (mut keeper, orphan) = orphaned();
    let command = shell("test -e second || { echo > second; exit 9; }; exec sleep 1000");
    keeper.child = successor(keeper.dir.path(), &command).spawn().unwrap();
    let record = keeper.wait_for_record("the failed child", |record| record["error"].is_string());
    assert_eq!(record["child"].as_i64(), Some(orphan));
    signal(orphan, Signal::KILL);
    let record = keeper.wait_for_record("another child", |record| record["starts"] == 2);
    assert_ne!(record["child"].as_i64(), Some(orphan));
}

/// Where a record is drafted: as long as a directory is there, none can be written.
const DRAFT: &str = "keeper.json.new";

fn works_in(dir: &Path) -> bool {
    let works = |process: &Path| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == dir);
    fs::read_dir("/proc").unwrap().flatten().any(|entry| works(&entry.path()))
}

#[test]
fn a_keeper_that_cannot_say_what_it_keeps_ends_with_it_and_frees_the_lock() {
    let block = format!("run:mkdir {DRAFT}");
    for point in ["", "rename-for-now.after#1"] {
        let dir = TempDir::new().unwrap();
        if point.is_empty() {
            fs::create_dir(dir.path().join(DRAFT)).unwrap();
        }
        let mut keeper = Keeper::command(dir.path(), &[], STAY);
        keeper.env("DEPLOY_FAULT", format!("deploy-keeper:{point}={block}"));
        assert_eq!(keeper.status().unwrap().code(), Some(74), "{point}");
        assert!(!works_in(&dir.path().canonicalize().unwrap()), "{point}");
        fs::remove_dir(dir.path().join(DRAFT)).unwrap();
        Keeper::start_in(dir, &[], STAY).wait_until_running();
    }
}

#[test]
fn what_a_killed_keeper_left_goes_on_and_stays_known_when_the_next_one_cannot_write() {
    let (mut keeper, orphan) = orphaned();
    fs::create_dir(keeper.path(DRAFT)).unwrap();
    let ended = successor(keeper.dir.path(), STAY).status().unwrap();
    assert_eq!(ended.code(), Some(74));
    assert!(!is_gone(orphan));

    fs::remove_dir(keeper.path(DRAFT)).unwrap();
    keeper.child = successor(keeper.dir.path(), STAY).spawn().unwrap();
    wait_for("the end of the orphan", || is_gone(orphan).then_some(()));
    keeper.wait_for_record("the child that follows", |record| record["child"].as_i64() != Some(orphan));
}

/// The one that took over cannot say so any more, and is killed, too.
#[test]
fn a_child_that_no_record_names_is_found_by_the_lock_file() {
    let (mut keeper, orphan) = orphaned();
    let mut second = successor(keeper.dir.path(), &shell("echo $$ > second; exec sleep 1000"));
    second.env("DEPLOY_FAULT", format!("deploy-keeper:rename-for-now.after#1=run:mkdir {DRAFT}"));
    keeper.child = second.spawn().unwrap();
    let unrecorded: i64 = keeper.wait_for_line("second").parse().unwrap();
    wait_for("the end of the orphan", || is_gone(orphan).then_some(()));
    let first = keeper.record().unwrap();
    assert_eq!((first["child"].as_i64(), first["state"].as_str()), (Some(orphan), Some("running")));
    keeper.child.kill().unwrap();
    keeper.child.wait().unwrap();
    assert!(!is_gone(unrecorded));

    fs::remove_dir(keeper.path(DRAFT)).unwrap();
    keeper.child = successor(keeper.dir.path(), STAY).spawn().unwrap();
    wait_for("the end of the second one", || is_gone(unrecorded).then_some(()));
    let is_third = |child: i64| child != orphan && child != unrecorded;
    keeper.wait_for_record("the third one", |record| record["child"].as_i64().is_some_and(is_third));
}

/// The processes that the lock file names.
fn named(keeper: &Keeper) -> Vec<i64> {
    let text = fs::read_to_string(keeper.path("keeper.lock")).unwrap();
    text.lines().skip(1).map(|line| line.split_once(' ').unwrap().0.parse().unwrap()).collect()
}

/// Killed between the start of a child that follows, which is told in the third record, and its
/// promotion.
#[test]
fn both_children_of_an_upgrade_that_was_cut_off_end() {
    let dir = TempDir::new().unwrap();
    let mut command = Keeper::command(dir.path(), &[], STAY);
    let child = command.env("DEPLOY_FAULT", "deploy-keeper:rename-for-now.after#3=abort").spawn().unwrap();
    let mut keeper = Keeper { child, dir };
    keeper.wait_until_running();
    keeper.signal(Signal::HUP);
    assert_eq!(keeper.child.wait().unwrap().signal(), Some(Signal::ABORT.as_raw()));
    let both = named(&keeper);
    assert!(both.len() == 2 && !both.iter().any(|pid| is_gone(*pid)), "{both:?}");

    keeper.child = Keeper::command(keeper.dir.path(), &[], STAY).spawn().unwrap();
    keeper.wait_until_running();
    assert!(both.into_iter().all(is_gone));
}

#[test]
fn a_child_whose_keeper_was_killed_while_it_waited_for_its_end_ends_with_the_next_one() {
    let stubborn = "trap '' TERM; echo > ready; while :; do sleep 1000; done";
    let mut keeper = Keeper::start(&[], &shell(stubborn));
    keeper.wait_for_line("ready");
    let left = keeper.wait_until_running()["child"].as_i64().unwrap();
    keeper.signal(Signal::TERM);
    keeper.wait_for_record("the request", |record| record["retiring"] == serde_json::json!([left]));
    keeper.child.kill().unwrap();
    keeper.child.wait().unwrap();
    assert!(!is_gone(left) && named(&keeper) == [left]);

    let next = Keeper::command(keeper.dir.path(), &["--stop-timeout-ms", "150"], STAY).spawn();
    keeper.child = next.unwrap();
    keeper.wait_until_running();
    assert!(is_gone(left));
}

/// The second record tells that there is no app, which comes then; the third would tell of the child.
#[test]
fn a_child_after_one_that_could_not_be_started_must_be_recorded_too() {
    let dir = TempDir::new().unwrap();
    let mut keeper = Keeper::command(dir.path(), &[], &["./app", "-c", "echo > began; exec sleep 1000"]);
    let appear = "deploy-keeper:rename-for-now.after#2=run:ln -s /bin/sh app";
    let wait = "for _ in $(seq 2000); do [ -e began ] && break; sleep 0.01; done";
    let block = format!("deploy-keeper:rename-for-now.before#3=run:{wait}; rm {DRAFT}; mkdir {DRAFT}");
    keeper.env("DEPLOY_FAULT", format!("{appear}\n{block}"));
    assert_eq!(keeper.status().unwrap().code(), Some(74));
    assert!(dir.path().join("began").exists());
    assert!(!works_in(&dir.path().canonicalize().unwrap()));
}

#[test]
fn a_child_that_was_recorded_once_outlives_a_record_that_cannot_be_written_now() {
    let keeper = Keeper::start(&[], &shell("echo $$ >> began; exec sleep 1000"));
    keeper.wait_for_line("began");
    let first = keeper.wait_until_running();
    fs::create_dir(keeper.path(DRAFT)).unwrap();
    signal(first["child"].as_i64().unwrap(), Signal::KILL);
    let second: i64 = wait_for("another child", || {
        fs::read_to_string(keeper.path("began")).ok()?.lines().nth(1)?.parse().ok()
    });
    assert_eq!(keeper.record().unwrap()["child"], first["child"]);
    fs::remove_dir(keeper.path(DRAFT)).unwrap();
    let record = keeper.wait_for_record("a record of it", |record| record["starts"] == 2);
    assert_eq!((record["child"].as_i64(), record["state"].as_str()), (Some(second), Some("running")));
}

#[test]
fn sigint_is_ignored() {
    let mut keeper = Keeper::start(&[], STAY);
    let before = keeper.wait_until_running();
    keeper.signal(Signal::INT);
    signal(before["child"].as_i64().unwrap(), Signal::KILL);
    keeper.wait_for_record("life after SIGINT", |record| record["starts"] == 2);
    assert!(keeper.child.try_wait().unwrap().is_none());
}
