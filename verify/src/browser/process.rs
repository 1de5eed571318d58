//! One Chromium: found, started on a profile of its own, and ended with everything it started.
//!
//! It speaks over two pipes, so no port is open to others. When this process is killed the pipes
//! close; the browser then ends by itself, and the shell around it takes the profile away.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use common::report::{OrProblem, Problem};
use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use tempfile::TempDir;

/// The one without a user's interface needs half of the others' time, and shows the same.
const PROGRAMS: [&str; 5] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
/// The page that a browser begins with.
pub(super) const BLANK: &str = "about:blank";
/// The shell's own pipes become those that the browser looks for. When it has ended, we are told so,
/// and its profile, with what it said, stays until we have gone, too.
const AROUND: &str = r#"
"$@" 3<&0 4>&1 </dev/null >/dev/null 2>"$PROFILE/said"
exec >/dev/null
while read -r unused; do :; done
rm -rf -- "$PROFILE"
"#;
const ARGUMENTS: [&str; 20] = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-features=MediaRouter,OptimizationHints,Translate",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--mute-audio",
];

/// A running browser; dropping it ends it and removes its profile.
pub(super) struct Process {
    shell: Child,
    profile: TempDir,
}

/// The browser on `PATH`, when there is one.
pub(super) fn find() -> Option<PathBuf> {
    let dirs: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    PROGRAMS.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name))).find(|path| path.is_file())
}

impl Process {
    /// Starts `program`; its ends of the pipes come along.
    ///
    /// # Errors
    /// `unverified`.
    pub(super) fn start(program: &Path) -> Result<(Self, ChildStdin, ChildStdout), Problem> {
        let title = || format!("cannot start {}", program.display());
        let profile = tempfile::Builder::new()
            .prefix("verify-browser-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .or_problem("unverified", title)?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", AROUND, "sh"]).arg(program).args(ARGUMENTS);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.arg(BLANK);
        if geteuid().is_root() {
            command.arg("--no-sandbox");
        }
        // What it keeps for its user, it keeps in the profile.
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
        command.env("HOME", profile.path()).env("PROFILE", profile.path());
        command.env("TMPDIR", profile.path()).env("LANG", "C.UTF-8").env("TZ", "UTC");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut shell = command.spawn().or_problem("unverified", title)?;
        let pipes = shell.stdin.take().zip(shell.stdout.take());
        let process = Self { shell, profile };
        let (commands, answers) = pipes.ok_or_else(|| Problem::unverified(title()))?;
        Ok((process, commands, answers))
    }

    /// The last of what it said on stderr.
    pub(super) fn said(&self) -> String {
        let text = fs::read_to_string(self.profile.path().join("said")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.shell), Signal::KILL);
        let _ = self.shell.wait();
    }
}
