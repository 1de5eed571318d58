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
    /// A unit that is there already: the app's own, taken over. Needs `strategy = "restart"`.
    #[serde(default)]
    pub unit: Option<String>,
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

impl SystemdOptions {
    /// What limits the app, each as it was said.
    fn switches(&self) -> [Option<bool>; 8] {
        [
            self.private_state,
            self.no_new_privileges,
            self.protect_system,
            self.protect_home,
            self.private_tmp,
            self.private_devices,
            self.protect_proc,
            self.protect_kernel.or(self.restrict),
        ]
    }

    /// Whether anything is said that a unit which is there already says itself.
    pub(super) fn describes_a_unit(&self) -> bool {
        let limits = self.switches().iter().any(Option::is_some);
        limits || self.user.is_some() || self.kind != ServiceType::default()
    }

    /// Nothing is limited; what has to be seen of the state is shown all the same.
    pub(crate) fn views_only(&self) -> Self {
        let off = Some(false);
        Self {
            unit: None,
            user: None,
            kind: ServiceType::default(),
            private_state: None,
            no_new_privileges: off,
            protect_system: off,
            protect_home: off,
            private_tmp: off,
            private_devices: off,
            protect_proc: off,
            protect_kernel: off,
            restrict: off,
            writable_paths: self.writable_paths.clone(),
            readable_paths: self.readable_paths.clone(),
        }
    }
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
