//! The `systemd` table of an environment: as whom its instances run and what they may not do.
//! Every switch is on where the manager can do it, and can be turned off.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// When systemd takes a service for started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceType {
    /// As soon as the program runs; readiness is asked for by HTTP all the same.
    #[default]
    Exec,
    /// When the app says `READY=1` through `sd_notify`.
    Notify,
}

/// What the configuration says of the units.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemdOptions {
    /// An account that exists. Default: one of its own, made for app and environment.
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default, rename = "type")]
    pub kind: ServiceType,
    /// Hides the state directory but for releases (to read) and what is shared.
    #[serde(default)]
    pub private_state: Option<bool>,
    #[serde(default)]
    pub no_new_privileges: Option<bool>,
    /// The whole file system is read-only but for what is shared and `writable_paths`.
    #[serde(default)]
    pub protect_system: Option<bool>,
    #[serde(default)]
    pub protect_home: Option<bool>,
    #[serde(default)]
    pub private_tmp: Option<bool>,
    #[serde(default)]
    pub private_devices: Option<bool>,
    /// Processes of other users are not seen.
    #[serde(default)]
    pub protect_proc: Option<bool>,
    /// Kernel variables, modules, logs, clock, host name and control groups.
    #[serde(default)]
    pub protect_kernel: Option<bool>,
    /// No namespaces, set-user-id files, real-time scheduling, foreign system calls or odd sockets.
    #[serde(default)]
    pub restrict: Option<bool>,
    /// Directories outside of the state that the app may write.
    #[serde(default)]
    pub writable_paths: Vec<PathBuf>,
    /// Directories that the app may read although `protect_home` or `private_state` hides them.
    #[serde(default)]
    pub readable_paths: Vec<PathBuf>,
}

/// Whether a unit file can name the path at all: lists of paths end words at colons.
pub(crate) fn can_name(path: &Path) -> bool {
    path.to_str().is_some_and(|text| {
        !text.chars().any(|c| c.is_control() || matches!(c, ':' | '"' | '\\')) && text.trim() == text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_no_unit_can_name_are_known() {
        for (path, is_fine) in
            [("/srv/a b/100%/$x", true), ("/srv/a:b", false), ("/srv/a\nb", false), ("/srv/a ", false)]
        {
            assert_eq!(can_name(Path::new(path)), is_fine, "{path:?}");
        }
    }
}
