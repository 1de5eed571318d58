//! The sample app on the whole road, with visitors that never retry: a first release, one that its
//! checks refuse, one with a migration, and the way back. Python, pip and gunicorn are the real ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::report::Outcome;
use serde_json::json;
use tests::load::{Load, Plan};
use tests::world::{World, steps};

#[test]
fn the_sample_app_goes_the_whole_road_and_loses_no_request() {
    if !python_has_venv() {
        tests::skipped("the sample app needs python3 with venv (Debian: apt-get install python3-venv)");
        return;
    }
    let world = sample_app();
    let first = world.git(&["rev-parse", "HEAD"]);
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(report.serving.as_deref(), Some(first.as_str()));
    let (tests, coverage) = (&report.details["deploy"]["tests"], &report.details["deploy"]["coverage"]);
    assert!(tests["tests"].as_u64().unwrap() > 50 && tests["failures"] == 0, "{tests}");
    assert!(coverage["percent"].as_f64().unwrap() >= 80.0 && coverage["minimum"] == 80.0, "{coverage}");
    assert_eq!(report.details["deploy"]["removed_after_tests"], 1, "coverage.xml");
    world.run("verify", &["dev"]).ok();

    let plan = Plan { fresh: 1, keep_alive: 1, path: "/doc/all/".into(), ..Plan::default() };
    let load = Load::start(world.listen("dev"), plan);
    load.wait_for(2);
    refuse_what_breaks_a_promise(&world, &first);
    let second = migrate_beside_the_old_release(&world);
    comment(&world, "Written on the new release.");
    go_back(&world, &first, &second);
    comment(&world, "Written after the way back.");
    load.wait_for(2);
    let tally = load.stop();
    tally.assert_nothing_lost();

    let page = world.get("dev", "/doc/draft/draft-moss-idle-close/").1;
    for text in ["Written on the new release.", "Written after the way back."] {
        assert!(page.contains(text), "{text} is gone: {page}");
    }
}

/// The app's own tests agree with the change; `verify.toml` does not.
fn refuse_what_breaks_a_promise(world: &World, serving: &str) {
    let files =
        ["viewer/templates/index.html", "tests/e2e/test_homepage.py", "tests/integration/test_api_routes.py"];
    for file in files {
        let text = fs::read_to_string(world.checkout().join(file)).unwrap();
        assert!(text.contains("Welcome"), "{file}");
        world.write(file, &text.replace("Welcome", "Hello"));
    }
    world.publish("Say hello");
    let report = world.run("deploy", &["dev"]).refused("text-missing");
    assert_eq!(report.serving.as_deref(), Some(serving));
    assert!(steps(&report, "cutover").is_empty(), "visitors were sent to a release that fails its checks");
    assert!(world.get("dev", "/").1.contains("Welcome"));
    world.git(&["revert", "--no-edit", "HEAD"]);
}

fn migrate_beside_the_old_release(world: &World) -> String {
    world.run("migrate", &["new", "add_language"]).ok();
    world.write("migrations/003_add_language.up.sql", "ALTER TABLE document ADD COLUMN language TEXT;\n");
    world.write("migrations/003_add_language.down.sql", "ALTER TABLE document DROP COLUMN language;\n");
    let second = world.publish("Say the language of a document");
    let report = world.run("deploy", &["dev"]).ok().report();
    assert_eq!(report.serving.as_deref(), Some(second.as_str()));
    assert_eq!(report.details["migrate"]["rehearsal"]["change"], "grew");
    assert_eq!(steps(&report, "backup.publish").len(), 1, "a migration is backed up first");
    assert_eq!(report.details["deploy"]["drain"]["requests_cut"], 0);
    second
}

fn go_back(world: &World, first: &str, second: &str) {
    let report = world.run("rollback", &["dev", "--last"]).ok().report();
    assert_eq!(report.outcome, Outcome::Succeeded);
    assert_eq!((report.serving.as_deref(), report.previous.as_deref()), (Some(first), Some(second)));
    let status = world.status("dev");
    assert_eq!(status["database"], json!({"version": 3, "migrations": "ahead", "pending": 0, "deferred": 0}));
    assert_eq!(status["identity"], "new");
}

fn comment(world: &World, text: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/comment.py");
    let output =
        Command::new("python3").arg(script).arg(world.listen("dev").to_string()).arg(text).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn python_has_venv() -> bool {
    let output = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    output.is_ok_and(|output| output.status.success())
}

/// The sample app instead of the tiny one, with this world's addresses and secrets.
fn sample_app() -> World {
    let world = World::new();
    world.git(&["rm", "--quiet", "-r", "."]);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/viewer");
    for file in published_files(&source) {
        world.write(file.to_str().unwrap(), &fs::read_to_string(source.join(&file)).unwrap());
    }
    let text = fs::read_to_string(source.join("deploy.toml")).unwrap();
    let text = text.replace("127.0.0.1:8001", &world.listen("dev").to_string());
    let text = text.replace("127.0.0.1:8000", &world.listen("prod").to_string());
    let build = text.lines().find(|line| line.starts_with("build = ")).unwrap().to_owned();
    let text = text.replace(&build, &format!("build = \"{}\"", build_with_one_pip(world.path())));
    world.write("deploy.toml", &format!("state = \"../state\"\nlog_dir = \"../logs\"\n\n{text}"));
    let checks = fs::read_to_string(source.join("verify.toml")).unwrap();
    // Beside the load and other tests a login may take long; how long is not the question here.
    world.write("verify.toml", &checks.replace("time = \"1s\"", "time = \"20s\""));
    world.write_secrets(
        "demo.env",
        "SECRET_KEY=only-for-this-test\nVERIFY_USER=demo\nVERIFY_PASSWORD=quiet-harbour\n",
    );
    world.publish("Read drafts and comment on them");
    world
}

/// Text files of the app, without what its own tests or a developer leave behind.
fn published_files(source: &Path) -> Vec<PathBuf> {
    let left_behind = [
        ".venv",
        "__pycache__",
        "instance",
        ".deploy",
        ".coverage",
        "coverage.xml",
        "demo.env",
        ".pytest_cache",
    ];
    walkdir::WalkDir::new(source)
        .into_iter()
        .filter_entry(|entry| !left_behind.iter().any(|name| entry.file_name() == *name))
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().strip_prefix(source).unwrap().to_owned())
        .collect()
}

/// A pip for all releases: making one for each takes longer than all it installs.
fn build_with_one_pip(dir: &Path) -> String {
    let tools = dir.join("pip");
    assert!(Command::new("python3").args(["-m", "venv"]).arg(&tools).status().unwrap().success());
    let pip = tools.join("bin/pip").display().to_string();
    format!(
        "python3 -m venv --without-pip .venv && {pip} --python .venv/bin/python install --quiet \
         --disable-pip-version-check -r requirements.txt"
    )
}
