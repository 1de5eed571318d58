//! What a service may not do: lines of its unit. Everything is on by default where the manager can
//! do it; a user's manager may not mount, so that what needs mounts is off there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Manager;
use super::syntax::word;
use crate::config::SystemdOptions;

const FOR_OTHERS: u32 = 0o001;
const KERNEL: [&str; 6] = [
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
];
const RESTRICT: [&str; 6] = [
    "RestrictSUIDSGID=yes",
    "RestrictRealtime=yes",
    "RestrictNamespaces=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
];

/// What of the state a service sees, all else of it being hidden; words of a unit file.
#[derive(Debug, Default)]
pub(crate) struct Views {
    pub(crate) readable: Vec<String>,
    pub(crate) writable: Vec<String>,
}

/// The lines that follow from the options, for a service that sees `views` of `state`.
pub(crate) fn lines(manager: Manager, options: &SystemdOptions, state: &Path, views: &Views) -> Vec<String> {
    let mounts = |switch: Option<bool>| switch.unwrap_or(manager == Manager::System);
    let mut lines = Vec::new();
    let mut when = |wanted: bool, added: &[&str]| {
        if wanted {
            lines.extend(added.iter().map(|line| (*line).to_owned()));
        }
    };
    when(options.no_new_privileges.unwrap_or(true), &["NoNewPrivileges=yes"]);
    when(mounts(options.protect_system), &["ProtectSystem=strict"]);
    when(mounts(options.protect_home), &["ProtectHome=tmpfs"]);
    when(mounts(options.private_tmp), &["PrivateTmp=yes"]);
    when(mounts(options.private_devices), &["PrivateDevices=yes"]);
    when(mounts(options.protect_proc), &["ProtectProc=invisible"]);
    when(mounts(options.protect_kernel), &KERNEL);
    when(mounts(options.restrict), &RESTRICT);
    if mounts(options.private_state) {
        lines.extend(veil(state));
        lines.extend(views.readable.iter().map(|path| format!("BindReadOnlyPaths={path}")));
        lines.extend(views.writable.iter().map(|path| format!("BindPaths={path}")));
    } else {
        lines.extend(views.writable.iter().map(|path| format!("ReadWritePaths={path}")));
    }
    lines.extend(options.readable_paths.iter().map(|path| format!("BindReadOnlyPaths=-{}", word(path))));
    lines.extend(options.writable_paths.iter().map(|path| format!("BindPaths=-{}", word(path))));
    lines
}

/// Lays something empty over the state, and over the first directory on the way there that only its
/// owner may pass: another account gets to what is bound below all the same.
fn veil(state: &Path) -> Vec<String> {
    let mut above: Vec<&Path> = state.ancestors().skip(1).collect();
    above.reverse();
    let closed =
        above.into_iter().find(|dir| fs::metadata(dir).is_ok_and(|meta| meta.mode() & FOR_OTHERS == 0));
    let hidden = closed.into_iter().chain([state]);
    // The options belong to the same word as the path.
    hidden
        .map(|dir| format!("TemporaryFileSystem={}:ro,mode=0755\"", word(dir).trim_end_matches('"')))
        .collect()
}
