//! `deploy init`: writes deploy.toml and verify.toml for the project at hand. Existing files stay.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use common::cli::Run;
use common::report::{OrProblem, Problem, quoted};
use common::supervisor::has_systemd;

use crate::arguments::InitOptions;

/// Where a Flask app's WSGI object usually is, and how gunicorn names it.
const ENTRIES: [(&str, &str); 4] = [
    ("wsgi.py", "wsgi:app"),
    ("app.py", "app:app"),
    ("main.py", "main:app"),
    ("application.py", "application:application"),
];

pub(crate) fn run(run: &mut Run, options: &InitOptions) -> Result<(), Problem> {
    let dir = fs::canonicalize(&options.dir)
        .or_problem("usage", || format!("there is no directory {}", options.dir.display()))?;
    let name = options.name.clone().unwrap_or_else(|| plain_name(&dir));
    let files = [("deploy.toml", deploy_toml(&dir, &name)), ("verify.toml", verify_toml())];
    let mut written: Vec<PathBuf> = Vec::new();
    for (file, text) in files {
        let path = dir.join(file);
        if path.exists() {
            run.skip(&format!("init.{file}"), "it exists already");
            continue;
        }
        run.step(&format!("init.{file}"), || write_new(&path, &text))?;
        written.push(path);
    }
    run.report.changed = !written.is_empty();
    run.detail("written", &written);
    run.note("Next: git add deploy.toml verify.toml && git commit, then: deploy dev --plan");
    Ok(())
}

fn write_new(path: &Path, text: &str) -> Result<(), Problem> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .or_problem("not-written", || format!("cannot write {}", path.display()))
        .map_err(|problem| {
            problem.hint(format!("ls -ld {}", quoted(path.parent().unwrap_or(path).display())))
        })
}

fn plain_name(dir: &Path) -> String {
    let name = dir.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let plain = plain.trim_matches('-').to_owned();
    if plain.is_empty() { String::from("app") } else { plain }
}

fn deploy_toml(dir: &Path, name: &str) -> String {
    let entry =
        ENTRIES.iter().find(|(file, _)| dir.join(file).exists()).map_or("wsgi:app", |(_, entry)| entry);
    let build = if dir.join("requirements.txt").exists() {
        "build = \"python3 -m venv .venv && .venv/bin/pip install --quiet -r requirements.txt\"\n"
    } else {
        ""
    };
    let test =
        if dir.join("tests").is_dir() { "test = \".venv/bin/python -m pytest -q tests\"\n" } else { "" };
    format!(
        "# Where and how {name} is deployed; docs/config.md explains every key.\n\
         [app]\nname = \"{name}\"\n{build}{test}run = \".venv/bin/gunicorn --workers 2 --bind $BIND {entry}\"\n\
         shared = [\"instance\"]\nhealth = \"/\"\n\n\
         # The dashboard of all environments, for this host alone: http://127.0.0.1:8002/_deploy/\n\
         [status]\nlisten = \"127.0.0.1:8002\"\n\n\
         [environments.dev]\nbranches = [\"dev\", \"feature/*\"]\nlisten = \"127.0.0.1:8001\"\n\
         database = \"sqlite:instance/app.db\"\n\n\
         [environments.prod]\nbranches = [\"main\"]\npromote_from = \"dev\"\nlisten = \"127.0.0.1:8000\"\n\
         database = \"sqlite:instance/app.db\"\n{}",
        supervisor()
    )
}

/// A choice that only its operator can make is shown where it could be made.
fn supervisor() -> &'static str {
    if !has_systemd() {
        ""
    } else if rustix::process::geteuid().is_root() {
        "# supervisor = \"systemd\"   # units, as an account of the app's own; a reboot brings them back\n"
    } else {
        "# supervisor = \"systemd-user\"   # units of yours; a reboot brings them back if you linger\n"
    }
}

fn verify_toml() -> String {
    "# What must hold of a release before and after it takes traffic.\n\
     [defaults]\ntime = \"1s\"\nabsent = [\"Traceback\", \"Internal Server Error\"]\n\n\
     [routes]\n\"/\" = \"200\"\n"
        .to_owned()
}
