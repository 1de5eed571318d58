//! `deploy doctor [ENV]`: can this host deploy? Every check runs; the first failure decides.

use common::cli::Run;
use common::config::{Config, SupervisorKind};
use common::exec::{Program, companion};
use common::gateway::{self, Gateway};
use common::layout::Place;
use common::notify;
use common::report::{OrProblem, Problem};
use common::supervisor::{Supervisor, has_systemd};

use crate::arguments::Arguments;
use crate::{gates, nginx};

/// The oldest SQLite without the bug that loses pages when a WAL is reset.
const SAFE_SQLITE: &str = "3.51.3";

pub(crate) fn run(run: &mut Run, arguments: &Arguments, environment: Option<&str>) -> Result<(), Problem> {
    let config = arguments.shared.load()?;
    let names: Vec<String> = match environment {
        Some(name) => config.environment(name).map(|_| vec![name.to_owned()])?,
        None => config.environments.keys().cloned().collect(),
    };
    let mut worst = None;
    let mut check = |run: &mut Run, name: &str, result: Result<(), Problem>| {
        if let Err(problem) = run.step(name, || result) {
            worst.get_or_insert(problem);
        }
    };
    check(run, "git", Program::new("git").args(["--version"]).succeed().map(drop));
    for program in ["backup", "migrate", "verify", "rollback", "deploy-gateway", "deploy-keeper"] {
        check(run, &format!("program.{program}"), companion(program).map(drop));
    }
    check(run, "requirements", gates::requirements(&config));
    for name in &names {
        for (topic, result) in environment_checks(&config, name) {
            check(run, &format!("{name}.{topic}"), result);
        }
    }
    run.detail("notes", notes(&config));
    worst.map_or(Ok(()), Err)
}

fn environment_checks(config: &Config, name: &str) -> Vec<(&'static str, Result<(), Problem>)> {
    let place = Place::new(config, name);
    let address = config
        .environment(name)
        .and_then(|settings| gateway::check_address(&Gateway::of(&place, settings), settings.listen));
    let supervisor = config.environment(name).map(Supervisor::of);
    let runs = supervisor.clone().and_then(|supervisor| supervisor.check(&place));
    let boots = supervisor.and_then(|supervisor| supervisor.check_boot());
    vec![
        ("state", place.create()),
        ("supervisor", runs),
        ("reboot", boots),
        ("disk-space", gates::disk(config, &place)),
        ("public-address", address),
        ("notify", receivers(config, name)),
    ]
}

fn receivers(config: &Config, name: &str) -> Result<(), Problem> {
    config.environment(name)?.receivers().try_for_each(|(_, receiver)| notify::check(receiver))
}

fn notes(config: &Config) -> Vec<String> {
    let mut notes: Vec<String> =
        config.environments.keys().filter_map(|name| nginx::advise(config, name)).collect();
    if config.environments.values().any(|environment| environment.supervisor == SupervisorKind::Process) {
        let units =
            if has_systemd() { "supervisor = \"systemd\" survives one" } else { "systemd does not run here" };
        notes.push(format!(
            "the embedded gateway and keepers do not survive a reboot; after one, any deploy or rollback brings the service back ({units})",
        ));
    }
    if config.environments.values().any(|environment| environment.database.is_some()) {
        notes.extend(python_sqlite().ok().filter(|version| is_older(version)).map(|version| {
            format!("python3 here has SQLite {version}; before {SAFE_SQLITE} two processes on one WAL database may damage it")
        }));
    }
    notes
}

fn python_sqlite() -> Result<String, Problem> {
    let line = "import sqlite3; print(sqlite3.sqlite_version)";
    let finished = Program::new("python3").args(["-c", line]).succeed()?;
    String::from_utf8(finished.stdout)
        .or_problem("not-started", || "python3 printed no text".into())
        .map(|v| v.trim().to_owned())
}

fn is_older(version: &str) -> bool {
    let numbers =
        |text: &str| text.split('.').filter_map(|part| part.parse::<u32>().ok()).collect::<Vec<_>>();
    numbers(version) < numbers(SAFE_SQLITE)
}

#[cfg(test)]
mod tests {
    use super::is_older;

    #[test]
    fn versions_compare_by_number() {
        assert!(is_older("3.40.1") && is_older("3.9.9"));
        assert!(!is_older("3.51.3") && !is_older("3.100.0"));
    }
}
