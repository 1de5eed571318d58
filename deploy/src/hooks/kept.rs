//! The hook that was here before ours: where it is kept, and running it as git would have.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::git::Repository;
use common::report::{OrProblem, Problem, quoted};

use super::Hook;

/// Where the former hook lies, beside ours so that its relative paths go on working.
pub(super) fn path(hooks_dir: &Path, hook: Hook) -> PathBuf {
    hooks_dir.join(format!("{}.kept-by-deploy", hook.name()))
}

/// Runs the former hook, if there is one that git would have run, with git's stdin and arguments
/// and with git's environment; what it prints goes to the pusher.
///
/// # Errors
/// `hook-refused` when it ends with another status than 0.
pub(super) fn run(hook: Hook, here: &Path, arguments: &[OsString], input: &[u8]) -> Result<(), Problem> {
    let Some(file) = Repository::open(here)?.hooks_dir().map(|dir| path(&dir, hook)) else { return Ok(()) };
    let runs = file.metadata().is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0);
    if !runs {
        return Ok(());
    }
    let failed = || format!("cannot run the former hook {}", file.display());
    let hint = format!("ls -l {}", quoted(file.display()));
    let pusher = std::io::stderr().as_fd().try_clone_to_owned().or_problem("hook-refused", failed)?;
    let mut child = Command::new(&file)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::from(pusher))
        .spawn()
        .or_problem("hook-refused", failed)
        .map_err(|problem| problem.hint(hint.clone()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may end without reading everything, as it may under git.
        let _ = stdin.write_all(input);
    }
    let status = child.wait().or_problem("hook-refused", failed)?;
    if status.success() {
        return Ok(());
    }
    Err(Problem::new("hook-refused", format!("the former hook {} ended with {status}", file.display()))
        .hint(hint))
}
