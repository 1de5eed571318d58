//! What a configuration must satisfy beyond its types.

use std::path::{Component, Path};

use super::{
    Config, Environment, GatewayKind, Receiver, Second, Strategy, SupervisorKind, Switch, can_name, nearest,
    status,
};
use crate::report::{Problem, quoted};

/// Verbs and words of the command line; an environment of that name could never be addressed.
const RESERVED: [&str; 32] = [
    "all", "baseline", "confirm", "create", "deliver", "doctor", "down", "errors", "export", "extract",
    "help", "history", "hooks", "init", "install", "list", "new", "plan", "prune", "rehearse", "restore",
    "schema", "send", "serve", "show", "squash", "status", "stop", "up", "uptime", "verify", "watch",
];

pub(super) fn validate(config: &Config) -> Result<(), Problem> {
    if config.environments.is_empty() {
        return Err(wrong(config, "no [environments.NAME] table"));
    }
    validate_app(config)?;
    for (name, environment) in &config.environments {
        validate_environment(config, name, environment).map_err(|problem| Problem {
            title: format!("{} in [environments.{name}]", problem.title),
            ..problem
        })?;
    }
    validate_listens(config)?;
    status::validate(config)
}

fn validate_app(config: &Config) -> Result<(), Problem> {
    let app = &config.app;
    check(config, is_plain_name(&app.name), "app.name needs letters, digits, '-' or '_'")?;
    check(config, !app.run.trim().is_empty(), "app.run is empty")?;
    check(config, app.health.starts_with('/'), "app.health must begin with '/'")?;
    check(
        config,
        app.shared.iter().all(|path| is_inside(path)),
        "app.shared may only name paths inside the release",
    )?;
    for requirement in &app.requires {
        let known = requirement.starts_with("tcp:") || requirement.starts_with("command:");
        check(
            config,
            known,
            &format!("app.requires '{requirement}' is neither tcp:HOST:PORT nor command:PROGRAM"),
        )?;
    }
    validate_coverage(config)?;
    refuse_unavailable(config, &[(app.jobs.is_some(), "jobs")])
}

fn validate_coverage(config: &Config) -> Result<(), Problem> {
    let Some(coverage) = &config.app.coverage else { return Ok(()) };
    check(config, config.app.test.is_some(), "app.coverage needs app.test, whose tests write the file")?;
    check(config, is_inside(&coverage.file), "app.coverage.file may only name a path inside the release")?;
    check(config, (0.0..=100.0).contains(&coverage.minimum), "app.coverage.minimum must be from 0 to 100")
}

fn validate_environment(config: &Config, name: &str, environment: &Environment) -> Result<(), Problem> {
    check(config, is_plain_name(name), "the name needs letters, digits, '-' or '_'")?;
    check(config, !RESERVED.contains(&name), "the name is a reserved word")?;
    check(config, !environment.branches.is_empty(), "branches is empty")?;
    validate_backups(config, environment)?;
    if let Some(database) = &environment.database {
        check(config, database.starts_with("sqlite:") && database.len() > 7, "database must be sqlite:PATH")?;
    }
    validate_promotion(config, name, environment)?;
    validate_systemd(config, environment)?;
    validate_bind(config, environment)?;
    validate_nginx(config, environment)?;
    let watches = !environment.watch.0.is_zero();
    check(config, watches || !environment.watch_errors, "watch_errors needs watch, a time to watch for")?;
    validate_notify(config, environment)
}

fn validate_notify(config: &Config, environment: &Environment) -> Result<(), Problem> {
    let has_secrets = environment.env_file.is_some() || environment.env_command.is_some();
    for (number, written) in environment.notify.iter().enumerate() {
        let entry = format!("notify[{number}]");
        let receiver = Receiver::read(written).map_err(|why| wrong(config, &format!("{entry} {why}")))?;
        // A command may mean variables of its own.
        let lacks = receiver.needs_secrets() && !has_secrets && !matches!(receiver, Receiver::Command(_));
        check(
            config,
            !lacks,
            &format!("{entry} takes a $NAME from env_file or env_command, and there is none"),
        )?;
    }
    Ok(())
}

fn validate_backups(config: &Config, environment: &Environment) -> Result<(), Problem> {
    let backups = &environment.backups;
    check(config, backups.keep != Some(0), "backups.keep must be at least 1")?;
    check(config, backups.second_keep != Some(0), "backups.second_keep must be at least 1")?;
    check(
        config,
        backups.files.iter().all(|path| is_inside(path)),
        "backups.files may only name paths inside the shared directory",
    )?;
    check(
        config,
        backups.files.is_empty() || environment.database.is_some(),
        "backups.files needs database, with whose backups the files go along",
    )?;
    check(
        config,
        backups.second_keep.is_none() || matches!(backups.second(), Some(Second::Directory(_))),
        "backups.second_keep needs backups.second, a directory",
    )?;
    let named = match backups.second() {
        Some(Second::Directory(path)) => {
            !path.as_os_str().is_empty() && !path.to_string_lossy().contains("://")
        }
        Some(Second::Command(line)) => !line.is_empty(),
        None => true,
    };
    check(config, named, "backups.second must be a directory or 'command LINE'")
}

fn validate_systemd(config: &Config, environment: &Environment) -> Result<(), Problem> {
    let Some(options) = &environment.systemd else { return Ok(()) };
    let supervisor = environment.supervisor;
    check(
        config,
        supervisor != SupervisorKind::Process,
        "systemd needs supervisor = \"systemd\" or \"systemd-user\"",
    )?;
    if let Some(user) = &options.user {
        check(config, supervisor == SupervisorKind::Systemd, "systemd.user needs supervisor = \"systemd\"")?;
        check(config, is_plain_name(user), "systemd.user needs the name of an account")?;
    }
    if let Some(unit) = &options.unit {
        let restarts = environment.strategy == Strategy::Restart;
        check(config, restarts, "systemd.unit needs strategy = \"restart\": it runs one release at a time")?;
        check(config, is_service(unit), "systemd.unit needs the name of a service, such as app.service")?;
        let others = "systemd.unit says itself as whom it runs and what it may not do: of the other keys it takes writable_paths and readable_paths";
        check(config, !options.describes_a_unit(), others)?;
    }
    let mut paths = options.writable_paths.iter().chain(&options.readable_paths);
    check(
        config,
        paths.all(|path| path.is_absolute() && can_name(path)),
        "systemd.writable_paths and readable_paths may only name absolute paths without ':', '\"' and '\\'",
    )
}

/// Two instances cannot listen on one address, and one that is started anew cannot take any other.
fn validate_bind(config: &Config, environment: &Environment) -> Result<(), Problem> {
    let restarts = environment.strategy == Strategy::Restart;
    check(config, environment.bind.is_none() || restarts, "bind needs strategy = \"restart\"")?;
    check(
        config,
        environment.bind.is_some() || !restarts,
        "strategy = \"restart\" needs bind, the address of the app",
    )?;
    check(config, environment.bind != Some(environment.listen), "bind is the address of the gateway (listen)")
}

fn validate_promotion(config: &Config, name: &str, environment: &Environment) -> Result<(), Problem> {
    let Some(from) = &environment.promote_from else { return Ok(()) };
    check(config, from != name, "promote_from names the environment itself")?;
    let known = config.environments.keys().map(String::as_str);
    if config.environments.contains_key(from) {
        return Ok(());
    }
    let guess = nearest(from, known).map_or(String::new(), |near| format!(", did you mean '{near}'?"));
    Err(wrong(config, &format!("promote_from '{from}' is no environment{guess}")))
}

/// The longest name in `sockets`, with its draft, and the end of the path that a socket may have.
const SOCKETS_LENGTH: usize = 107 - "/current.sock.new".len();

fn validate_nginx(config: &Config, environment: &Environment) -> Result<(), Problem> {
    let Some(nginx) = &environment.nginx else { return Ok(()) };
    check(config, environment.gateway == GatewayKind::Nginx, "nginx needs gateway = \"nginx\"")?;
    check(config, !nginx.command.trim().is_empty(), "nginx.command is empty")?;
    let is_named = nginx.switch == Switch::Reload || nginx.sockets.is_some();
    let is_free = nginx.switch == Switch::Reload || environment.bind.is_none();
    check(
        config,
        is_free,
        "with nginx.switch = \"symlink\" the app cannot have an address of its own, bind",
    )?;
    check(config, is_named, "nginx.switch = \"symlink\" needs nginx.sockets, a directory")?;
    let Some(sockets) = nginx.sockets.as_ref().and_then(|path| path.to_str()) else { return Ok(()) };
    // It stands in nginx's configuration, and in the addresses that app servers take.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    check(
        config,
        sockets.starts_with('/') && sockets.len() <= SOCKETS_LENGTH && sockets.chars().all(plain),
        "nginx.sockets must be an absolute path of letters, digits, '.', '_' and '-', not too long",
    )
}

fn validate_listens(config: &Config) -> Result<(), Problem> {
    let mut seen: Vec<(&str, std::net::SocketAddr)> = Vec::new();
    for (name, environment) in &config.environments {
        let address = environment.listen.0;
        if let Some((other, _)) = seen.iter().find(|(_, taken)| *taken == address) {
            return Err(wrong(config, &format!("'{other}' and '{name}' both listen on {address}")));
        }
        seen.push((name, address));
    }
    Ok(())
}

/// What the contract names and this version cannot do yet is refused, never ignored.
fn refuse_unavailable(config: &Config, asked: &[(bool, &str)]) -> Result<(), Problem> {
    match asked.iter().find(|(wanted, _)| *wanted) {
        Some((_, what)) => Err(wrong(config, &format!("{what} is not available in this version"))),
        None => Ok(()),
    }
}

pub(super) fn check(config: &Config, holds: bool, otherwise: &str) -> Result<(), Problem> {
    if holds { Ok(()) } else { Err(wrong(config, otherwise)) }
}

pub(super) fn wrong(config: &Config, what: &str) -> Problem {
    Problem::configuration(what)
        .detail(config.file.display().to_string())
        .hint(format!("cat {}", quoted(config.file.display())))
}

fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= 64 && !name.starts_with('-') && name.chars().all(plain)
}

/// What systemd takes for the name of one service; of a template only an instance is one.
fn is_service(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let stem = name.strip_suffix(".service").unwrap_or_default();
    !stem.is_empty()
        && !stem.ends_with('@')
        && !stem.starts_with('-')
        && name.len() < 256
        && stem.chars().all(plain)
}

fn is_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().next().is_some()
}
