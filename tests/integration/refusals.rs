//! Bad input: a clear problem, a hint, and everything left as it was.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::world::World;

/// A world in which v1 serves in dev.
fn serving() -> World {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world
}

#[test]
fn no_configuration() {
    let world = World::new();
    let empty = tempfile::tempdir().unwrap();
    for tool in ["deploy", "verify", "status", "rollback", "migrate", "backup"] {
        let output = world.command(tool, &["dev"]).current_dir(empty.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{tool}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["problem"]["type"], "configuration", "{tool}");
        assert_eq!(report["problem"]["hint"], "deploy init", "{tool}");
    }
}

#[test]
fn unknown_environment_lists_the_known_ones() {
    let world = World::new();
    for tool in ["deploy", "verify", "status", "rollback", "migrate", "backup"] {
        let report = world.run(tool, &["prd"]).ended_with(2, "usage");
        let problem = report.problem.unwrap();
        assert!(problem.detail.unwrap().contains("dev, prod"), "{tool}");
        assert_eq!(problem.hint.as_deref(), Some("status prod"), "{tool}");
    }
}

#[test]
fn unknown_key_is_named_with_line_and_nearest_key() {
    let world = World::new();
    world.configure("[app]\n", "[app]\nbuidl = \"true\"\n");
    let report = world.run("deploy", &["dev"]).ended_with(2, "configuration");
    let problem = report.problem.unwrap();
    assert!(problem.title.contains("deploy.toml:5"), "{problem}");
    assert!(problem.hint.unwrap().contains("'build'"));
}

#[test]
fn dirty_tree() {
    let world = serving();
    let before = world.footprint("dev");
    world.write("VERSION", "uncommitted");
    let report = world.run("deploy", &["dev"]).refused("dirty-tree");
    assert!(report.problem.unwrap().detail.unwrap().contains("VERSION"));
    assert_eq!(world.footprint("dev"), before);
}

#[test]
fn branches_that_may_not_come_here() {
    let world = serving();
    let before = world.footprint("dev");
    world.run("deploy", &["dev", "--branch", "main"]).refused("wrong-branch");
    let report = world.run("deploy", &["dev", "--branch", "feature/nowhere"]).refused("unknown-branch");
    assert!(report.problem.unwrap().detail.unwrap().contains("main"));
    world.git(&["checkout", "--quiet", "-b", "hotfix"]);
    world.run("deploy", &["dev"]).refused("wrong-branch");
    world.git(&["checkout", "--quiet", "dev"]);
    world.git(&["branch", "--quiet", "-D", "hotfix"]);
    assert_eq!(world.footprint("dev"), before);
}

#[test]
fn revisions_that_are_nowhere_or_elsewhere() {
    let world = serving();
    let before = world.footprint("dev");
    for name in
        ["0000000000000000000000000000000000000000", "--upload-pack=touch x", "$(touch x)", "../../etc"]
    {
        world.run("deploy", &["dev", "--revision", name]).ended_with_any(&["unknown-revision", "usage"]);
    }
    world.git(&["checkout", "--quiet", "--orphan", "elsewhere"]);
    let other = world.commit("elsewhere");
    world.git(&["checkout", "--quiet", "dev"]);
    world.run("deploy", &["dev", "--revision", &other]).refused("wrong-branch");
    world.git(&["branch", "--quiet", "-D", "elsewhere"]);
    assert_eq!(world.footprint("dev"), before);
}

#[test]
fn a_branch_that_is_not_pushed_or_not_pulled() {
    let world = serving();
    world.write("VERSION", "v2");
    world.commit("not pushed");
    let before = world.footprint("dev");
    let report = world.run("deploy", &["dev"]).refused("not-in-sync");
    assert_eq!(report.problem.unwrap().hint.as_deref(), Some("git push origin dev"));
    assert_eq!(world.footprint("dev"), before);
    world.git(&["push", "--quiet"]);
    world.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let report = world.run("deploy", &["dev"]).refused("not-in-sync");
    assert!(report.problem.unwrap().hint.unwrap().contains("git pull"));
}

#[test]
fn a_port_taken_by_a_stranger_names_it() {
    let world = World::new();
    world.release("v1");
    let stranger = TcpListener::bind(world.listen("dev")).unwrap();
    let report = world.run("deploy", &["dev"]).refused("port-taken");
    let problem = report.problem.unwrap();
    assert!(problem.title.contains(&format!("pid {}", std::process::id())), "{problem}");
    assert!(!report.changed);
    drop(stranger);
    world.run("deploy", &["dev"]).ok();
}

#[test]
fn apps_that_do_not_start_leave_the_old_one_serving() {
    let world = serving();
    let before = world.footprint("dev");
    world.configure("ready_timeout = \"20s\"", "ready_timeout = \"2s\"");
    let cases = [
        ("{\"exit_at_start\": 3}", "instance-exited", "exit status 3"),
        ("{\"never_listen\": true}", "instance-not-ready", "did not answer within 2 s"),
        ("{\"health_status\": 500}", "instance-unhealthy", "still answers 500"),
        ("{\"create_table\": \"extra\"}", "schema-at-start", "changed the database's schema"),
    ];
    for (behaviour, kind, words) in cases {
        world.faulty(behaviour);
        let report = world.run("deploy", &["dev"]).refused(kind);
        assert!(report.problem.as_ref().unwrap().title.contains(words), "{:?}", report.problem);
        let after = world.footprint("dev");
        assert_eq!(
            (after.serving, after.answer, after.releases),
            (before.serving.clone(), before.answer.clone(), before.releases.clone())
        );
    }
    world.mend("v2");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v2");
}

#[test]
fn a_failed_first_deployment_leaves_503_and_no_database() {
    let world = World::new();
    world.faulty("{\"health_status\": 500}");
    world.configure("ready_timeout = \"20s\"", "ready_timeout = \"1s\"");
    let report = world.run("deploy", &["dev"]).refused("instance-unhealthy");
    assert!(report.serving.is_none());
    assert!(!world.database("dev").exists());
    assert!(world.footprint("dev").releases.is_empty());
    world.write("verify.toml", "[routes]\n\"/\" = \"200 never there\"\n");
    fs::remove_file(world.checkout().join("behaviour.json")).unwrap();
    world.publish("fails its checks");
    world.run("deploy", &["dev"]).refused("text-missing");
    assert!(!world.database("dev").exists());
}

#[test]
fn strange_documents_on_stdin() {
    let world = serving();
    let before = world.footprint("dev");
    for tool in ["verify", "rollback", "migrate up", "backup create"] {
        for document in [
            "",
            "hello",
            "[1,2]",
            "{\"success\":false,\"changed\":true}",
            "{\"version\":9,\"tool\":\"deploy\"}",
        ] {
            let ran = world.sh(&format!("printf %s '{document}' | {tool}"));
            ran.ended_with(2, "usage");
        }
        world.sh(&format!("{tool} < /dev/null")).ended_with(2, "usage");
    }
    assert_eq!(world.footprint("dev"), before);
}

#[test]
fn a_report_of_another_environment_or_an_unknown_deployment_undoes_nothing() {
    let world = serving();
    let before = world.footprint("dev");
    let forged = |environment: &str, deployment: &str| {
        format!(
            "{{\"version\":1,\"tool\":\"deploy\",\"environment\":\"{environment}\",\"deployment\":\"{deployment}\",\"started_at\":\"2026-01-01T00:00:00Z\""
        )
    };
    for (environment, deployment) in
        [("dev", "20200101T000000Z-1234567"), ("dev", "../../x"), ("prod", "20200101T000000Z-1234567")]
    {
        let ran = world.sh(&format!("printf '%s\\n' '{}' | rollback", forged(environment, deployment)));
        assert_eq!(ran.status, 1, "{}", ran.stdout);
        assert_eq!(world.footprint("dev"), before);
    }
    world.sh(&format!("printf '%s\\n' '{}' | rollback", forged("nowhere", "x"))).ended_with(2, "usage");
}

#[test]
fn a_second_deployment_at_the_same_time_hears_who_holds_the_lock() {
    let world = serving();
    world.configure("[app]\n", "[app]\nbuild = \"while [ ! -e ../../../go ]; do sleep 0.02; done\"\n");
    let first =
        world.command("deploy", &["dev"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_until(|| world.run("status", &["dev"]).stdout.contains("\"what\":\"deploy dev\""));
    let report = world.run("deploy", &["dev"]).refused("locked");
    let problem = report.problem.unwrap();
    assert!(problem.retryable && problem.detail.unwrap().contains(&format!("pid {}", first.id())));
    world.run("rollback", &["dev"]).refused("locked");
    let waiting = world
        .command("deploy", &["dev", "--wait", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    fs::write(world.state().join("go"), "").unwrap();
    assert!(first.wait_with_output().unwrap().status.success());
    assert!(waiting.wait_with_output().unwrap().status.success());
}

#[test]
fn a_state_directory_that_cannot_be_written() {
    let world = World::new();
    world.configure("state = \"../state\"", "state = \"app.py/state\"");
    for (tool, args) in [
        ("deploy", ["dev"].as_slice()),
        ("rollback", &["dev"]),
        ("backup", &["dev"]),
        ("migrate", &["dev", "up"]),
    ] {
        let report = world.run(tool, args).refused("state-unwritable");
        assert!(!report.changed, "{tool}");
    }
}

#[test]
fn a_full_disk_undoes_the_deployment() {
    let Some(disk) = SmallDisk::mount(96) else { return };
    let world = World::new();
    world.configure("\"../state\"", &format!("\"{}\"", disk.path().display()));
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    world.configure("[app]\n", "[app]\nbuild = \"head -c 200M /dev/zero > big\"\n");
    let report = world.run("deploy", &["dev"]).refused("build-failed");
    assert!(report.problem.unwrap().detail.unwrap().contains("No space left"));
    assert_eq!(world.get("dev", "/").1, "v1");
    fs::write(disk.path().join("ballast"), vec![0; 60 * 1024 * 1024]).unwrap();
    world.run("deploy", &["dev"]).refused("no-space");
    fs::remove_file(disk.path().join("ballast")).unwrap();
    world.configure("build = \"head -c 200M /dev/zero > big\"\n", "");
    world.release("v2");
    world.run("deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v2");
    disk.stop_keepers();
}

/// A small tmpfs; unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(mebibytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m,mode=0700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        tests::skipped("a full disk needs the right to mount a tmpfs");
        None
    }

    fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    fn stop_keepers(&self) {
        tests::keepers::end_below(self.path());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.stop_keepers();
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}
