//! The sentinel: values that only an instance may see are looked for in everything that every
//! kind of run prints, stores or passes on.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tests::ran::Ran;
use tests::world::World;

/// Name and value: plain, with everything that must be quoted, base64, and one that a command prints.
const FILE: [(&str, &str); 3] = [
    ("API_TOKEN", "sentinel-plain-8d1f"),
    ("ODD", "sentinel \"odd' <&>  $(x) 100%"),
    ("BASE64", "c2VudGluZWwtYmFzZTY0LTQ3MTE="),
];
const COMMAND: (&str, &str) = ("FROM_COMMAND", "sentinel-command-77aa");
/// Files that the operator keeps secrets in, and the app's own log.
const MEANT: [&str; 3] = ["dev.env", "vault.env", "app.log"];

/// Programs of ours and those that we run; a keeper hands the environment on, and the app's own
/// command may be a chain of wrappers.
const OURS: [&str; 10] =
    ["deploy", "verify", "rollback", "backup", "migrate", "status", "deploy-gateway", "git", "ssh", "cat"];

/// Every spelling of every value that may not be found.
fn spellings() -> Vec<String> {
    let odd = FILE[1].1;
    let mut all: Vec<String> = FILE.iter().chain([&COMMAND]).map(|(_, value)| (*value).to_owned()).collect();
    all.push(odd.replace('"', "\\\""));
    all.push("sentinel%20%22odd".to_owned());
    all.push("sentinel+%22odd".to_owned());
    all.push("sentinel \"odd'".to_owned());
    all.push("sentinel \\\"odd'".to_owned());
    all
}

fn found_in(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    spellings().into_iter().find(|value| text.contains(value.as_str()))
}

/// v1 serves in dev with all four secrets.
fn world() -> World {
    let world = World::new();
    let lines: Vec<String> = FILE.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
    world.write_secrets("../dev.env", &lines.concat());
    world.write_secrets("../vault.env", &format!("{}={}\n", COMMAND.0, COMMAND.1));
    world.configure(
        "[environments.dev]\n",
        "[environments.dev]\nenv_file = \"../dev.env\"\nenv_command = \"cat ../vault.env\"\n",
    );
    world.write(
        "verify.toml",
        "[routes]\n\"/\" = \"200\"\n\"POST /echo\" = { form = { token = \"$API_TOKEN\", odd = \"$ODD\" }, writes = true }\n",
    );
    world.release("v1");
    world
}

/// Everything that runs, looked at again and again until it is dropped.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<BTreeSet<String>>>,
}

impl Watch {
    fn begin() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut leaks = BTreeSet::new();
            while !until.load(Ordering::Relaxed) {
                look_at_processes(&mut leaks);
                std::thread::sleep(Duration::from_millis(1));
            }
            leaks
        });
        Self { stop, thread: Some(thread) }
    }

    fn end(mut self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// Arguments of nobody, and the environment of the instance and its keeper alone.
fn look_at_processes(leaks: &mut BTreeSet<String>) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let dir = entry.path();
        let Ok(arguments) = fs::read(dir.join("cmdline")) else { continue };
        let environment = fs::read(dir.join("environ")).unwrap_or_default();
        // Last: a process that has just become another one has that one's name by now.
        let name = fs::read_to_string(dir.join("comm")).unwrap_or_default();
        if let Some(value) = found_in(&arguments) {
            leaks.insert(format!("arguments of {name}: {value}"));
        }
        if let Some(value) = found_in(&environment).filter(|_| OURS.contains(&name.trim())) {
            leaks.insert(format!("environment of {name}: {value}"));
        }
    }
}

/// Runs a tool; nothing that it prints may hold a secret.
fn run(world: &World, tool: &str, args: &[&str]) -> Ran {
    checked(world.run(tool, args), &format!("{tool} {args:?}"))
}

fn checked(ran: Ran, what: &str) -> Ran {
    assert_eq!(found_in(ran.stdout.as_bytes()), None, "stdout of {what}: {}", ran.stdout);
    assert_eq!(found_in(ran.stderr.as_bytes()), None, "stderr of {what}: {}", ran.stderr);
    ran
}

/// As a person sees it: on a terminal.
fn on_a_terminal(world: &World, line: &str) {
    let path = format!("{}:{}", tests::binaries::dir().display(), std::env::var("PATH").unwrap());
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", line, "/dev/null"])
        .current_dir(world.checkout())
        .env("PATH", path)
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => drop(checked(Ran::of(output), line)),
        Err(_) => tests::skipped("the program 'script' is missing: no terminal"),
    }
}

fn look_through_files(world: &World) {
    let mut looked_at = 0;
    for entry in walkdir::WalkDir::new(world.path()).into_iter().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type().is_file() || MEANT.contains(&name.as_str()) {
            continue;
        }
        let mut bytes = fs::read(entry.path()).unwrap_or_default();
        if entry.path().extension().is_some_and(|kind| kind == "zst") {
            bytes = zstd::decode_all(bytes.as_slice()).unwrap();
        }
        assert_eq!(found_in(&bytes), None, "{}", entry.path().display());
        looked_at += 1;
    }
    assert!(looked_at > 50, "only {looked_at} files");
    for repository in [world.checkout(), world.path().join("origin.git")] {
        let objects = ["cat-file", "--batch-all-objects", "--batch"];
        let output = Command::new("git").arg("-C").arg(&repository).args(objects).output().unwrap();
        assert!(output.status.success());
        assert_eq!(found_in(&output.stdout), None, "git objects");
    }
    look_through_ledger(&world.state().join("ledger.db"));
}

/// Row by row: a long text lies in pieces in the file.
fn look_through_ledger(file: &Path) {
    let ledger = rusqlite::Connection::open(file).unwrap();
    let tables: Vec<String> = ledger
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for table in tables {
        let mut rows = ledger.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                if let rusqlite::types::ValueRef::Text(text) = row.get_ref(column).unwrap() {
                    assert_eq!(found_in(text), None, "ledger, {table}");
                }
            }
        }
    }
}

#[test]
fn no_run_of_any_kind_shows_stores_or_passes_on_a_secret() {
    let world = world();
    let watch = Watch::begin();
    run(&world, "deploy", &["dev"]).ok();
    for (name, value) in FILE.iter().chain([&COMMAND]) {
        assert_eq!(world.get("dev", &format!("/leak/{name}")).1, *value, "the instance has it");
    }
    quiet_runs(&world);
    failing_runs(&world);
    leaking_pages(&world);
    killed_runs(&world);
    assert_eq!(watch.end(), BTreeSet::new());
    look_through_files(&world);
}

fn quiet_runs(world: &World) {
    for (tool, args) in [
        ("deploy", &["dev", "--plan"][..]),
        ("deploy", &["doctor"]),
        ("verify", &["dev"]),
        ("status", &["dev"]),
        ("status", &["dev", "history"]),
        ("backup", &["dev"]),
        ("backup", &["dev", "list"]),
        ("migrate", &["dev", "plan"]),
        ("migrate", &["dev", "rehearse"]),
    ] {
        run(world, tool, args);
    }
    let id = run(world, "backup", &["dev"]).ok().report().details["backup"]["id"].clone();
    run(world, "backup", &["dev", "verify", id.as_str().unwrap()]).ok();
    run(world, "backup", &["dev", "restore", id.as_str().unwrap(), "--discard-writes"]);
    for line in ["status dev", "verify dev", "backup dev list", "deploy dev --plan"] {
        on_a_terminal(world, line);
    }
}

/// Each stage fails once; the build and the tests of the app have no secrets that they could print.
fn failing_runs(world: &World) {
    let whole = fs::read_to_string(world.checkout().join("deploy.toml")).unwrap();
    for key in ["build", "test"] {
        world.configure("[app]\n", &format!("[app]\n{key} = \"env; cat ../../../no-such-file\"\n"));
        assert_eq!(run(world, "deploy", &["dev"]).status, 1);
        world.write("deploy.toml", &whole);
        world.publish("mend");
    }
    for name in ["API_TOKEN", "ODD", "BASE64", "FROM_COMMAND"] {
        world.faulty(&format!("{{\"say_at_start\": \"{name}\", \"exit_at_start\": 3}}"));
        let failed = run(world, "deploy", &["dev"]);
        assert_eq!(failed.status, 1);
        assert!(failed.stdout.contains(&format!("${name}")), "the log's end is shown: {}", failed.stdout);
        on_a_terminal(world, "deploy dev");
    }
    world.mend("v2");
    world.write("migrations/009_bad.up.sql", "INSERT INTO nowhere VALUES (1);\n");
    world.write("migrations/009_bad.down.sql", "SELECT 1;\n");
    world.publish("a migration that fails");
    assert_eq!(run(world, "deploy", &["dev"]).status, 1);
    fs::remove_file(world.checkout().join("migrations/009_bad.up.sql")).unwrap();
    fs::remove_file(world.checkout().join("migrations/009_bad.down.sql")).unwrap();
    world.release("v3");
    run(world, "deploy", &["dev"]).ok();
    run(world, "rollback", &["dev"]).ok();
}

/// The page that a check looks at shows the secret itself.
fn leaking_pages(world: &World) {
    let checks = fs::read_to_string(world.checkout().join("verify.toml")).unwrap();
    for (name, _) in FILE.iter().chain([&COMMAND]) {
        world.write(
            "verify.toml",
            &format!("[routes]\n\"/leak/{name}\" = {{ text = [\"nothing like it\"] }}\n\"POST /echo\" = {{ status = 201, form = {{ x = \"${name}\" }}, writes = true }}\n"),
        );
        world.release("v4");
        let failed = run(world, "deploy", &["dev"]);
        assert!(failed.stdout.contains(&format!("${name}")), "the excerpt names it: {}", failed.stdout);
        run(world, "deploy", &["dev", "--no-verify"]).ok();
        let junit = world.path().join(format!("{name}.xml"));
        run(world, "verify", &["dev", "--junit", junit.to_str().unwrap()]);
        run(world, "verify", &["dev", "--tap"]);
        run(world, "verify", &["dev", "--github"]);
        on_a_terminal(world, "verify dev");
        checked(world.sh("verify dev | rollback"), "verify dev | rollback");
    }
    world.write("verify.toml", &checks);
    world.release("v5");
    run(world, "deploy", &["dev"]).ok();
}

fn killed_runs(world: &World) {
    for (number, point) in
        ["deploy:instance.before-start#1", "deploy:cutover.after-switch#1", "verify:ledger.before-commit#1"]
            .into_iter()
            .enumerate()
    {
        world.release(&format!("v6{number}"));
        let killed = world.command("deploy", &["dev"]).env("DEPLOY_FAULT", point).output().unwrap();
        checked(Ran::of(killed), point);
        run(world, "status", &["dev"]);
        run(world, "rollback", &["dev", "--wait", "60"]);
    }
    world.release("v7");
    run(world, "deploy", &["dev"]).ok();
    assert_eq!(world.get("dev", "/").1, "v7");
}

#[test]
fn a_failing_env_command_stops_everything_that_needs_it_and_shows_nothing() {
    let world = world();
    world.run("deploy", &["dev"]).ok();
    let before = world.footprint("dev");
    let good = "env_command = \"cat ../vault.env\"";
    world.configure(good, "env_command = \"cat ../vault.env; cat ../vault.env >&2; exit 7\"");
    for (tool, status) in [("deploy", 1), ("rollback", 1), ("verify", 2)] {
        let ran = run(&world, tool, &["dev"]);
        assert_eq!(ran.status, status, "{tool}: {}", ran.stdout);
        let problem = ran.report().problem.unwrap();
        assert!(problem.title.contains("exit status 7"), "{problem:?}");
        assert!(problem.hint.unwrap().starts_with("grep -n env_command "));
    }
    // It neither needs them nor runs the command.
    run(&world, "status", &["dev"]).ok();
    run(&world, "backup", &["dev", "list"]).ok();
    let after = world.footprint("dev");
    assert_eq!((after.serving, after.answer), (before.serving, before.answer));
}

#[test]
fn status_and_plan_never_run_the_env_command() {
    let world = world();
    let mark = world.path().join("ran");
    let line = format!("env_command = \"cat ../vault.env; touch {}\"", mark.display());
    world.configure("env_command = \"cat ../vault.env\"", &line);
    world.run("deploy", &["dev"]).ok();
    fs::remove_file(&mark).unwrap();
    for (tool, args) in [
        ("status", &["dev"][..]),
        ("status", &["all"]),
        ("status", &["dev", "history"]),
        ("deploy", &["dev", "--plan"]),
        ("migrate", &["dev", "status"]),
        ("deploy", &["doctor"]),
    ] {
        world.run(tool, args);
        assert!(!mark.exists(), "{tool} {args:?}");
    }
}

#[test]
fn what_an_app_prints_is_kept_for_its_owner_alone() {
    let world = world();
    world.faulty("{\"say_at_start\": \"API_TOKEN\"}");
    world.run("deploy", &["dev"]).ok();
    let logs: Vec<_> = walkdir::WalkDir::new(world.state())
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_name() == "app.log")
        .collect();
    assert!(!logs.is_empty());
    for log in logs {
        assert!(
            fs::read_to_string(log.path()).unwrap().contains(FILE[0].1),
            "the app's own log is the app's"
        );
        assert_eq!(log.metadata().unwrap().mode() & 0o777, 0o600);
    }
    look_through_files(&world);
}

#[test]
fn an_env_file_that_others_may_read_is_refused_until_it_is_private() {
    let world = world();
    let file = world.path().join("dev.env");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    for (tool, kind, status) in [("deploy", "env-file", 1), ("verify", "nothing-serves", 1)] {
        let ran = run(&world, tool, &["dev"]);
        let report = ran.report();
        assert_eq!((ran.status, report.problem.unwrap().kind.as_str()), (status, kind), "{}", ran.stdout);
        assert!(!report.changed);
    }
    let hint = run(&world, "deploy", &["dev"]).refused("env-file").problem.unwrap().hint.unwrap();
    world.sh(&hint).ok_shell();
    world.run("deploy", &["dev"]).ok();
}
