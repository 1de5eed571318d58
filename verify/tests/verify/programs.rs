//! Programs and files of the release as checks.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::world::{REVISION, Run, World};

const COMMANDS: &[&str] = &["dev", "--slot", "blue", "--only", "commands"];

fn commands(verify_toml: &str) -> (World, Run) {
    let world = World::new(verify_toml, "").serving(&[]);
    let run = world.verify(COMMANDS);
    (world, run)
}

#[test]
fn a_program_knows_where_to_ask_and_what_serves() {
    let (world, run) = commands(
        r#"
[[command]]
name = "suite"
run = 'echo "$BASE_URL $DEPLOY_ENVIRONMENT $DEPLOY_REVISION $ENVIRONMENT"; echo "[$VERIFY_USER]"; test -f verify.toml'
text = ["[someone]"]
[[command]]
name = "refuses"
run = "exit 7"
exit = 7
"#,
    );
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    let log = fs::read_to_string(run.report["log_file"].as_str().unwrap()).unwrap();
    assert!(
        log.contains(&format!("http://{} dev {REVISION} dev\n[$VERIFY_USER]\n", world.address())),
        "{log}"
    );
}

#[test]
fn what_a_program_finds_is_told_with_the_end_of_its_output() {
    let (_world, run) = commands(
        r#"
[[command]]
name = "bad"
run = "seq 100; echo sentinel-password; exit 3"
[[command]]
name = "silent"
run = "true 'all is well'"
text = "all is well"
"#,
    );
    assert_eq!(run.outcome(), ("failed", 1));
    let problem = &run.step("commands.bad")["problem"];
    assert_eq!(problem["type"], "command-exit");
    assert_eq!(problem["title"], "command bad ended with exit status 3 instead of 0");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("\n99\n100\n$VERIFY_PASSWORD") && !detail.contains("\n80\n"), "{detail}");
    assert!(problem["hint"].as_str().unwrap().starts_with("less +G "));
    assert_eq!(run.ending("commands.silent"), "text-missing");
    assert!(!run.stdout.contains("sentinel-password"));
}

#[test]
fn a_program_that_does_not_end_is_ended_with_its_children() {
    let begun = Instant::now();
    let (world, run) = commands(
        "[[command]]\nname = \"hangs\"\nrun = \"echo begun; sleep 300 & sleep 300\"\ntime = \"400ms\"\n",
    );
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(run.ending("commands.hangs"), "time-limit", "{}", run.stdout);
    let problem = &run.step("commands.hangs")["problem"];
    assert_eq!(problem["title"], "command hangs did not end within 0.4 s");
    assert_eq!(problem["detail"], "output: begun");
    // Killed is not yet gone.
    while sleeps_in(&world.release()) {
        assert!(begun.elapsed() < Duration::from_secs(30), "a child goes on");
        std::thread::yield_now();
    }
}

#[test]
fn a_run_that_has_no_time_left_says_nothing_against_the_release() {
    let world = World::new(
        "[[command]]\nname = \"slow\"\nrun = \"sleep 300\"\n[[command]]\nname = \"late\"\nrun = \"exit 1\"\n",
        "deadlines = { verify = \"1s\" }",
    )
    .serving(&[]);
    let run = world.verify(COMMANDS);
    assert_eq!(run.outcome(), ("unverified", 1), "{}", run.stdout);
    assert_eq!((run.ending("commands.slow"), run.ending("commands.late")), ("unverified", "unverified"));
}

#[test]
fn no_secret_reaches_the_log_of_a_program() {
    let (_world, run) = commands(
        "[[command]]\nname = \"tells\"\nrun = \"printf 'a sentinel-'; sleep 0.2; echo password; env | grep VERIFY\"\n",
    );
    let log = fs::read_to_string(run.report["log_file"].as_str().unwrap()).unwrap();
    assert!(!log.contains("sentinel-password") && log.contains("a $VERIFY_PASSWORD"), "{log}");
}

#[test]
fn a_program_ends_with_the_verify_that_is_killed() {
    let world =
        World::new("[[command]]\nname = \"hangs\"\nrun = \"sleep 300 & touch begun; sleep 300\"\n", "")
            .serving(&[]);
    let mut child = world.spawn(COMMANDS);
    let begun = Instant::now();
    let limit = || assert!(begun.elapsed() < Duration::from_secs(30), "too late");
    while !world.release().join("begun").exists() {
        limit();
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    while sleeps_in(&world.release()) {
        limit();
        std::thread::yield_now();
    }
}

fn sleeps_in(dir: &Path) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == dir)
            && fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(b"sleep"))
    })
}

#[test]
fn files_of_the_release_are_compared() {
    let hash: String =
        Sha256::digest(b"one\n").iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let world = World::new(
        &format!(
            r#"
[files]
"same" = "sha256:{hash}"
"other" = {{ sha256 = "{hash}", text = "two", absent = ["three"] }}
"gone" = "sha256:{hash}"
"old.py" = {{ absent = true }}
"left.py" = {{ absent = true }}
"words" = {{ text = ["needle", "nothing"], absent = "hay" }}
"#
        ),
        "",
    );
    for (name, text) in [("same", "one\n"), ("other", "two"), ("left.py", ""), ("words", "needle in hay")] {
        fs::write(world.release().join(name), text).unwrap();
    }
    let world = world.serving(&[]);
    let run = world.verify(&["dev", "--slot", "blue", "--only", "files"]);
    for (name, ending) in [
        ("same", "passed"),
        ("other", "file-changed"),
        ("gone", "file-missing"),
        ("old.py", "passed"),
        ("left.py", "file-present"),
        ("words", "text-missing"),
    ] {
        assert_eq!(run.ending(&format!("files.{name}")), ending, "{name}: {}", run.stdout);
    }
    assert_eq!(run.step("files.words")["problem"]["detail"], "also: has 'hay'");
}
