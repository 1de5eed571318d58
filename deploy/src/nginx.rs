//! What an operator with an nginx needs from us: the files to include (`deploy init --nginx ENV`),
//! and which way of switching fits the app (`deploy doctor`).

use common::cli::Run;
use common::config::{Config, GatewayKind, Switch};
use common::gateway::Gateway;
use common::layout::Place;
use common::report::{Problem, quoted};

/// App servers that can listen on a unix socket, and what they call it.
const SERVERS: [(&str, &str); 4] = [
    ("gunicorn", "--bind $BIND"),
    ("hypercorn", "--umask 0 --bind $BIND"),
    ("uvicorn", "--uds ${BIND#unix:}"),
    ("waitress-serve", "--unix-socket-perms=666 --unix-socket=${BIND#unix:}"),
];

/// Writes our file and the server block; those that exist stay.
pub(crate) fn introduce(run: &mut Run, config: &Config, environment: &str) -> Result<(), Problem> {
    let settings = config.environment(environment)?;
    if settings.gateway != GatewayKind::Nginx {
        return Err(Problem::usage(format!("'{environment}' does not say gateway = \"nginx\""))
            .hint(format!("grep -n gateway {}", quoted(config.file.display()))));
    }
    let place = Place::new(config, environment);
    let gateway = Gateway::of(&place, settings);
    let written = run.step("init.nginx", || {
        place.create()?;
        gateway.introduce()
    })?;
    run.report.changed = !written.is_empty();
    run.detail("written", &written);
    if let Some(advice) = gateway.advice() {
        run.note(&format!("Next, as the user of nginx: {advice}"));
    }
    Ok(())
}

/// Which switch applies to the app, and why; nothing where nginx is not the gateway.
pub(crate) fn advise(config: &Config, environment: &str) -> Option<String> {
    let settings = config.environment(environment).ok().filter(|of| of.gateway == GatewayKind::Nginx)?;
    let switch = settings.nginx.as_ref().map(|nginx| nginx.switch).unwrap_or_default();
    let server = SERVERS.iter().find(|(name, _)| config.app.run.contains(name));
    let takes_port = config.app.run.contains("$PORT") || config.app.run.contains("${PORT");
    Some(match (switch, server) {
        (Switch::Symlink, _) if takes_port => {
            format!("{environment}: switch = \"symlink\" gives no $PORT, and the run command uses it")
        }
        (Switch::Symlink, _) => format!(
            "{environment}: a cutover is one rename, without a reload; the app must listen on $BIND, a unix socket"
        ),
        (Switch::Reload, Some((name, option))) if !takes_port => format!(
            "{environment}: each cutover reloads nginx; {name} can listen on a unix socket (`{option}`), so switch = \"symlink\" would need no reload"
        ),
        (Switch::Reload, _) => format!(
            "{environment}: each cutover reloads nginx, which suits any app; idle connections are closed then"
        ),
    })
}
