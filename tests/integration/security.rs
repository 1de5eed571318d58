//! Text that somebody else wrote: names in git, reports on stdin, links in a commit, and a state
//! directory that is not ours alone. None of it may run, and none may touch anything.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use common::report::{Outcome, Report};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use tests::ran::Ran;
use tests::world::{Footprint, World};

/// Made by any of the commands that names and members here are.
const MARK: &str = "PWNED";

fn serving() -> World {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world
}

fn assert_nothing_ran(world: &World) {
    let marks = walkdir::WalkDir::new(world.path()).into_iter().flatten();
    let marks: Vec<_> = marks.filter(|entry| entry.file_name() == MARK).collect();
    assert!(marks.is_empty(), "{marks:?}");
}

/// Feeds `text` to a tool that continues a report.
fn continued(world: &World, tool: &str, text: &[u8]) -> Ran {
    let words: &[&str] = if tool == "migrate" { &["up"] } else { &[] };
    let mut child = world
        .command(tool, words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A tool that refuses at once may not read to the end.
    let _ = child.stdin.take().unwrap().write_all(text);
    Ran::of(child.wait_with_output().unwrap())
}

fn both(world: &World) -> [Footprint; 2] {
    ["dev", "prod"].map(|name| world.footprint(name))
}

/// The hint of a problem is well-formed for a shell.
fn assert_hint_parses(ran: &Ran) {
    let problem = ran.report().problem.unwrap();
    let hint = problem.hint.unwrap_or_else(|| panic!("no hint: {}", ran.stdout));
    let parsed = Command::new("sh").args(["-n", "-c", &hint]).output().unwrap();
    assert!(parsed.status.success(), "{hint}: {}", String::from_utf8_lossy(&parsed.stderr));
}

#[test]
fn branches_whose_names_are_commands_are_deployed_and_their_hints_are_harmless() {
    let world = serving();
    for name in [
        "feature/$(touch${IFS}PWNED)",
        "feature/`touch${IFS}PWNED`'\"",
        "feature/';touch${IFS}PWNED;'",
        "feature/-u;touch${IFS}PWNED&",
        "feature/ö|{touch,PWNED}",
    ] {
        world.git(&["checkout", "--quiet", "-b", name]);
        world.git(&[
            "push",
            "--quiet",
            "--set-upstream",
            "origin",
            &format!("refs/heads/{name}:refs/heads/{name}"),
        ]);
        world.run("deploy", &["dev", "--branch", name]).ok();
        world.write("VERSION", name);
        world.commit("$(touch PWNED)\u{1b}[2J");
        let refused = world.run("deploy", &["dev", "--branch", name]);
        let hint = refused.refused("not-in-sync").problem.unwrap().hint.unwrap();
        world.sh(&hint).ok_shell();
        world.run("deploy", &["dev", "--branch", name]).ok();
        assert_eq!(world.get("dev", "/").1, name);
        world.run("status", &["dev"]).ok();
        assert_nothing_ran(&world);
    }
}

#[test]
fn no_name_on_the_command_line_is_an_option_of_git_or_runs() {
    let world = serving();
    let before = world.footprint("dev");
    let names = prop_oneof![
        "[a-z$`'\";&|(){}<>!#~^:?*\\[\\]\\\\ \n.@/-]{1,16}",
        "(--upload-pack=|--output=|-o|--exec=|\\$\\(|`|'|;)touch PWNED(\\)|`|'|;)?",
        "(\\.\\./){1,4}(prod|etc/passwd)",
    ];
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    let tried = runner.run(&names, |name| {
        for (tool, option) in [
            ("deploy", "--branch"),
            ("deploy", "--revision"),
            ("rollback", "--to-commit"),
            ("rollback", "--to-version"),
        ] {
            let ran = world.run(tool, &["dev", &format!("{option}={name}")]);
            prop_assert_ne!(ran.status, 0, "{} {}", option, name);
            assert_hint_parses(&ran);
        }
        Ok(())
    });
    assert!(tried.is_ok(), "{tried:?}");
    assert_nothing_ran(&world);
    assert_eq!(world.footprint("dev"), before);
}

#[test]
fn files_with_any_name_are_released_and_told() {
    let world = serving();
    let names = ["a\nb", "-rf", "$(touch PWNED)", "it's \"x\"", "\u{1b}[31mred", "ö"];
    for name in names {
        fs::write(world.checkout().join(name), "content").unwrap();
    }
    let refused = world.run("deploy", &["dev"]).refused("dirty-tree");
    assert!(!refused.problem.unwrap().detail.unwrap().contains('\u{1b}'));
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    let release = world.status("dev")["deployment"].as_str().unwrap().to_owned();
    for name in names {
        let file = world.state().join("dev/releases").join(&release).join(name);
        assert_eq!(fs::read_to_string(&file).unwrap(), "content", "{name:?}");
    }
    assert_nothing_ran(&world);
}

#[test]
fn links_in_a_commit_lead_no_command_out_of_the_release() {
    let world = serving();
    let precious = world.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "users' own").unwrap();
    fs::set_permissions(precious.join("file"), fs::Permissions::from_mode(0o664)).unwrap();
    let before = fs::metadata(precious.join("file")).unwrap();
    symlink(&precious, world.checkout().join("dir-link")).unwrap();
    symlink(precious.join("file"), world.checkout().join("file-link")).unwrap();
    symlink(&precious, world.checkout().join("instance")).unwrap();
    // Enough releases to prune the first of those with links.
    for number in 0..8 {
        world.release(&format!("v{number}"));
        world.run("deploy", &["dev"]).ok();
    }
    let after = fs::metadata(precious.join("file")).unwrap();
    assert_eq!((after.mode(), after.ino()), (before.mode(), before.ino()));
    assert_eq!(fs::read_dir(&precious).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "users' own");
    assert!(world.database("dev").starts_with(world.state()) && !world.state().join("dev/kept").exists());
}

const TOOLS: [(&str, &[&str]); 7] = [
    ("deploy", &["dev", "--again"]),
    ("rollback", &["dev"]),
    ("backup", &["dev"]),
    ("migrate", &["dev", "up"]),
    ("verify", &["dev"]),
    ("status", &["dev"]),
    ("deploy", &["dev", "--plan"]),
];

#[test]
fn a_state_directory_that_others_may_write_is_refused_by_every_tool() {
    let world = serving();
    let answer = world.get("dev", "/");
    let cases: [(&str, u32); 3] = [("", 0o770), ("", 0o702), ("..", 0o777)];
    for (below, mode) in cases {
        let dir = world.state().join(below).canonicalize().unwrap();
        let old = fs::metadata(&dir).unwrap().permissions();
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        for (tool, args) in TOOLS {
            let ran = world.run(tool, args);
            let report = ran.report();
            let problem = report.problem.unwrap();
            assert_eq!((ran.status, problem.kind.as_str()), (1, "state-untrusted"), "{tool}: {}", ran.stdout);
            assert!(!report.changed);
        }
        let hint = world.run("status", &["dev"]).refused("state-untrusted").problem.unwrap().hint.unwrap();
        world.sh(&hint).ok_shell();
        world.run("status", &["dev"]).ok();
        fs::set_permissions(&dir, old).unwrap();
    }
    assert_eq!(world.get("dev", "/"), answer);
}

#[test]
fn a_state_directory_of_another_user_is_refused_and_root_may_only_look() {
    let world = serving();
    if chown(world.state(), Some(4242), Some(4242)).is_err() {
        tests::skipped("only root can give a directory away");
        return;
    }
    let names = |dir: &Path| {
        let all = walkdir::WalkDir::new(dir).into_iter().flatten();
        all.map(walkdir::DirEntry::into_path).collect::<Vec<_>>()
    };
    let before = names(&world.state());
    for (tool, args) in TOOLS.iter().take(4) {
        let report = world.run(tool, args).refused("state-untrusted");
        assert!(report.problem.unwrap().hint.unwrap().starts_with(&format!("sudo -u '#4242' {tool} dev")));
    }
    assert_eq!(names(&world.state()), before);
    world.run("status", &["dev"]).ok();
    let verified = world.run("verify", &["dev"]).ok().report();
    assert_eq!(verified.details["verify"]["recorded"], false, "root looks, and writes nothing");
    chown(world.state(), Some(0), Some(0)).unwrap();
}

#[test]
fn a_link_in_the_place_of_the_ledger_or_the_lock_is_refused() {
    for name in ["ledger.db", "dev/lock"] {
        let world = serving();
        let (file, elsewhere) = (world.state().join(name), world.path().join("elsewhere"));
        fs::rename(&file, &elsewhere).unwrap();
        symlink(&elsewhere, &file).unwrap();
        let text = fs::read(&elsewhere).unwrap();
        world.run("deploy", &["dev", "--again"]).refused("state-untrusted");
        assert_eq!(fs::read(&elsewhere).unwrap(), text);
        assert_eq!(world.get("dev", "/").1, "v1");
    }
}

/// dev serves v2 after v1, prod serves v1; another app's dev serves too.
struct Estate {
    world: World,
    other: World,
    /// Deployments of dev, oldest first, and of prod.
    dev: [String; 2],
    prod: String,
}

impl Estate {
    fn new() -> Self {
        let world = serving();
        let id = |world: &World, name: &str| world.status(name)["deployment"].as_str().unwrap().to_owned();
        let first = id(&world, "dev");
        world.git(&["checkout", "--quiet", "main"]);
        world.run("deploy", &["prod", "--promote"]).ok();
        let prod = id(&world, "prod");
        world.git(&["checkout", "--quiet", "dev"]);
        world.release("v2");
        world.run("deploy", &["dev"]).ok();
        let dev = [first, id(&world, "dev")];
        Self { world, other: serving(), dev, prod }
    }

    fn foreign(&self) -> String {
        self.other.status("dev")["deployment"].as_str().unwrap().to_owned()
    }
}

fn document(environment: &str, deployment: &str, outcome: Outcome) -> Value {
    let mut report = Report::new("verify");
    report.environment = Some(environment.into());
    report.deployment = Some(deployment.into());
    report.changed = true;
    report.conclude(outcome);
    // Newer than any verification: only what the report names can keep a rollback from acting.
    report.started_at = "2099-01-01T00:00:00Z".parse().unwrap();
    serde_json::to_value(report).unwrap()
}

#[test]
fn a_report_about_something_else_touches_nothing() {
    let estate = Estate::new();
    let world = &estate.world;
    let foreign = estate.foreign();
    let before = (both(world), estate.other.footprint("dev"));
    let backups = || fs::read_dir(world.state().join("backups/dev")).unwrap().count();
    let backups_before = backups();
    for (environment, deployment) in [
        ("prod", estate.dev[1].as_str()),
        ("dev", &estate.prod),
        ("dev", &estate.dev[0]),
        ("dev", &foreign),
        ("dev", "20260101T000000Z-0000000"),
        ("dev", "../../prod/releases/x"),
        ("dev", "$(touch PWNED)\n\u{1b}[2J"),
        ("dev", ""),
        ("../prod", &estate.dev[1]),
        ("nowhere", &estate.dev[1]),
        ("all", &estate.dev[1]),
    ] {
        let what = format!("{environment} {deployment:?}");
        let failed = document(environment, deployment, Outcome::Failed).to_string();
        let ran = continued(world, "rollback", failed.as_bytes());
        assert!([1, 2].contains(&ran.status), "{what}: {}", ran.stdout);
        assert!(!ran.stderr.contains('\u{1b}'), "{what}: {}", ran.stderr);
        let good = document(environment, deployment, Outcome::Succeeded).to_string();
        let ran = continued(world, "migrate", good.as_bytes());
        assert!([1, 2].contains(&ran.status), "{what}: {}", ran.stdout);
        assert_hint_parses(&ran);
        let known = [&estate.prod, &estate.dev[0], &estate.dev[1]].contains(&&deployment.to_owned());
        if known {
            for tool in ["verify", "backup"] {
                let ran = continued(world, tool, good.as_bytes());
                assert!([1, 2].contains(&ran.status), "{tool} {what}: {}", ran.stdout);
            }
        }
    }
    assert_eq!((both(world), estate.other.footprint("dev")), before);
    assert_eq!(backups(), backups_before);
    assert_nothing_ran(world);
}

#[test]
fn documents_of_any_size_depth_and_encoding_touch_nothing() {
    let estate = Estate::new();
    let world = &estate.world;
    let before = both(world);
    let whole = document("dev", &estate.dev[1], Outcome::Failed).to_string();
    let head = whole.strip_suffix('}').unwrap();
    let deep = format!("{head},\"x\":{}", "[".repeat(200_000));
    let mut bytes = format!("{head}}}").into_bytes();
    bytes[20] = 0xff;
    let huge = format!("{head},\"x\":\"{}\"}}", "x".repeat(65 * 1024 * 1024));
    let doubled = format!("{whole}{whole}");
    for tool in ["rollback", "verify", "migrate", "backup"] {
        for (what, text) in [
            ("deep", deep.as_bytes()),
            ("bytes", &bytes),
            ("huge", huge.as_bytes()),
            ("two", doubled.as_bytes()),
        ] {
            let ran = continued(world, tool, text);
            assert_eq!(ran.status, 2, "{tool} {what}: {}", ran.stderr);
        }
    }
    assert_eq!(both(world), before);
}

/// Any JSON value, from absent-minded to hostile.
fn hostile() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(Value::from("$(touch PWNED)")),
        Just(Value::from("'; touch PWNED; '")),
        Just(Value::from("../../../etc")),
        Just(Value::from("--force")),
        "[\\x00-\\x7f]{0,16}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            inner.clone().prop_map(|value| serde_json::json!({"deploy": value, "verify": value})),
            inner.prop_map(|value| serde_json::json!([{"tool": value, "name": value, "status": "failed"}])),
        ]
    })
}

#[test]
fn a_report_with_any_member_replaced_touches_nothing() {
    let estate = Estate::new();
    let world = &estate.world;
    let before = both(world);
    let members = [
        "tool",
        "environment",
        "deployment",
        "started_at",
        "success",
        "outcome",
        "changed",
        "serving",
        "previous",
        "release",
        "details",
        "steps",
        "problem",
        "log_file",
        "duration_ms",
    ];
    let cases = (proptest::sample::select(members.to_vec()), hostile());
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let tried = runner.run(&cases, |(member, value)| {
        for (tool, outcome) in [("rollback", Outcome::Failed), ("migrate", Outcome::Succeeded)] {
            let mut text = document("dev", &estate.foreign(), outcome);
            text[member] = value.clone();
            let ran = continued(world, tool, text.to_string().as_bytes());
            // 101 would be a panic.
            prop_assert!([0, 1, 2].contains(&ran.status), "{} {}: {}", tool, text, ran.stderr);
            prop_assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
            prop_assert!(serde_json::from_str::<Value>(&ran.stdout).is_ok(), "{}", ran.stdout);
        }
        let mut text = document("dev", &estate.dev[1], Outcome::Succeeded);
        text[member] = value;
        let ran = continued(world, "verify", text.to_string().as_bytes());
        prop_assert!([0, 1, 2].contains(&ran.status), "verify {}: {}", text, ran.stderr);
        Ok(())
    });
    assert!(tried.is_ok(), "{tried:?}");
    assert_eq!(both(world), before);
    assert_nothing_ran(world);
}
