//! Environments that the state directory knows and the configuration does not.

use common::config::Config;
use common::gateway::{self, GatewayStatus};
use common::layout::{Place, environments_on_disk};
use common::report::{Problem, quoted};
use serde::Serialize;

/// One of them.
#[derive(Debug, Serialize)]
pub(crate) struct Unconfigured {
    environment: String,
    /// When it still runs.
    gateway: Option<GatewayStatus>,
}

pub(crate) fn unconfigured(config: &Config) -> Vec<Unconfigured> {
    let names = environments_on_disk(config).into_iter();
    names
        .filter(|name| !config.environments.contains_key(name))
        .map(|name| Unconfigured { gateway: gateway::running(&Place::new(config, &name)), environment: name })
        .collect()
}

impl Unconfigured {
    pub(crate) fn words(&self) -> String {
        let does = match &self.gateway {
            Some(gateway) => format!("still serves at {}", gateway.listen),
            None => "does not run".to_owned(),
        };
        format!("{}: not in the configuration; it {does}", self.environment)
    }

    /// What nobody would look after any more.
    pub(crate) fn trouble(&self, config: &Config) -> Option<Problem> {
        let gateway = self.gateway.as_ref()?;
        let title = format!(
            "'{}' still serves at {}, and the configuration does not know it",
            self.environment, gateway.listen
        );
        Some(
            Problem::new("unhealthy", title)
                .hint(format!("grep -n environments {}", quoted(config.file.display()))),
        )
    }
}
