//! The `[status]` table: the server that tells, over HTTP, how all environments stand.

use std::path::PathBuf;

use serde::Deserialize;

use super::receiver::names_a_value;
use super::validate::{check, wrong};
use super::value::Listen;
use super::{Config, GatewayKind, nearest};
use crate::report::Problem;

/// What can be asked of it; `health` is open to everybody in any case.
pub const ENDPOINTS: [&str; 8] =
    ["dashboard", "deployments", "events", "health", "metrics", "migrations", "status", "version"];

/// The server's keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusServer {
    /// An address of this host alone, where everything may be read without a token.
    #[serde(default)]
    pub listen: Option<Listen>,
    /// Endpoints open to everybody besides `health`.
    #[serde(default)]
    pub public: Vec<String>,
    /// `$NAME` of a value in `env_file`, which lets in whoever shows it.
    #[serde(default)]
    pub token: Option<String>,
    /// Where that value stands; relative to the file.
    #[serde(default)]
    pub env_file: Option<PathBuf>,
    /// Whether `deploy` starts it and keeps it running. Default true.
    #[serde(default = "default_serve")]
    pub serve: bool,
}

fn default_serve() -> bool {
    true
}

impl Config {
    /// An nginx leads `/_deploy/` where the status server listens, unless its own table says where.
    pub(super) fn lead_nginx_to_status(&mut self) {
        let Some(listen) = self.status.as_ref().and_then(|status| status.listen) else { return };
        let behind_nginx = |environment: &&mut super::Environment| environment.gateway == GatewayKind::Nginx;
        for environment in self.environments.values_mut().filter(behind_nginx) {
            environment.nginx.get_or_insert_default().status.get_or_insert(listen);
        }
    }
}

pub(super) fn validate(config: &Config) -> Result<(), Problem> {
    let Some(status) = &config.status else { return Ok(()) };
    if let Some(Listen(address)) = status.listen {
        let is_local = address.ip().is_loopback();
        check(
            config,
            is_local,
            "status.listen must be a loopback address: visitors come through the gateways",
        )?;
        let taken = config.environments.iter().find(|(_, environment)| environment.listen.0 == address);
        if let Some((name, _)) = taken {
            return Err(wrong(config, &format!("status and '{name}' both listen on {address}")));
        }
    }
    if let Some(unknown) = status.public.iter().find(|name| !ENDPOINTS.contains(&name.as_str())) {
        let guess =
            nearest(unknown, ENDPOINTS).map_or(String::new(), |near| format!(", did you mean '{near}'?"));
        return Err(wrong(config, &format!("status.public names no endpoint '{unknown}'{guess}")));
    }
    let Some(token) = &status.token else { return Ok(()) };
    check(config, names_a_value(token), "status.token must be $NAME, a value of status.env_file")?;
    check(config, status.env_file.is_some(), "status.token needs status.env_file, where its value stands")
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, load};
    use crate::report::Problem;

    fn read(table: &str) -> Result<Config, Problem> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deploy.toml");
        let text = format!(
            "[app]\nname = 'x'\nrun = 'true'\n[status]\n{table}\n\
             [environments.dev]\nbranches = ['dev']\nlisten = '127.0.0.1:8001'\ngateway = 'nginx'\n"
        );
        std::fs::write(&file, text).unwrap();
        load(Some(&file))
    }

    #[test]
    fn what_would_open_more_than_meant_is_refused() {
        for (table, why) in [
            ("listen = '0.0.0.0:9100'", "loopback"),
            ("listen = '127.0.0.1:8001'", "both listen"),
            ("public = ['metric']", "did you mean 'metrics'"),
            ("token = 'in-the-clear'\nenv_file = 'x'", "$NAME"),
            ("token = '$TOKEN'", "env_file"),
        ] {
            let problem = read(table).unwrap_err();
            assert!(problem.title.contains(why), "{table}: {problem}");
        }
    }

    #[test]
    fn an_nginx_follows_the_server_unless_it_is_told_otherwise() {
        let config = read("listen = '127.0.0.1:9100'").unwrap();
        let nginx = config.environments["dev"].nginx.as_ref().unwrap();
        assert_eq!(nginx.status, config.status.as_ref().unwrap().listen);
        assert!(config.status.unwrap().serve);
        assert!(read("").unwrap().environments["dev"].nginx.is_none());
    }
}
