//! Both calls of `ssh-keygen -Y`. The operator's file says who may sign, for what and how long;
//! ssh-keygen judges, we never look into a key.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::exec::{Finished, Program};
use crate::ownership::is_ours_or_roots;
use crate::report::{OrProblem, Problem, quoted};

/// A signature made for anything else, a git commit or a file, is none for us.
pub const NAMESPACE: &str = "verification@agent-deploy";
/// Somebody may have to touch a security key.
const LIMIT: Duration = Duration::from_secs(60);

/// Signs `text`; gives the armoured signature.
pub(super) fn make(text: &str, key: &Path) -> Result<String, Problem> {
    let not_signed = |why: String| {
        Problem::new("not-signed", format!("cannot sign with {}", key.display()))
            .detail(why)
            .hint(format!("ssh-keygen -Y sign -n test -f {} < /dev/null", quoted(key.display())))
    };
    let finished = keygen("sign")
        .args(["-n", NAMESPACE, "-f"])
        .args([key])
        .stdin(text.as_bytes().to_vec())
        .run()
        .map_err(|problem| not_signed(problem.to_string()))?;
    let signature = String::from_utf8_lossy(&finished.stdout).into_owned();
    if finished.status.success() && !signature.is_empty() {
        return Ok(signature);
    }
    Err(not_signed(finished.tail))
}

/// The principal that signed `text`, and the fingerprint of the key.
pub(super) fn check(text: &str, signature: &str, signers: &Path) -> Result<(String, String), Problem> {
    let file = kept(signature)?;
    let found =
        keygen("find-principals").args(["-s"]).args([file.path()]).args(["-f"]).args([signers]).run()?;
    let mut reasons = vec![found.tail.clone()];
    for principal in said(&found).lines() {
        let checked = keygen("verify")
            .args(["-n", NAMESPACE, "-I", principal, "-s"])
            .args([file.path()])
            .args(["-f"])
            .args([signers])
            .stdin(text.as_bytes().to_vec())
            .run()?;
        if checked.status.success() {
            return Ok((principal.to_owned(), fingerprint(&said(&checked))));
        }
        reasons.extend([said(&checked), checked.tail]);
    }
    reasons.retain(|reason| !reason.trim().is_empty());
    Err(Problem::new("signature-refused", format!("nobody in {} signed this statement", signers.display()))
        .detail(reasons.join("\n"))
        .hint(format!("cat {}", quoted(signers.display()))))
}

/// ssh-keygen that never asks a person: a passphrase belongs into an agent.
fn keygen(action: &str) -> Program<'static> {
    Program::new("ssh-keygen")
        .args(["-Y", action])
        .env("LC_ALL", "C")
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("SSH_ASKPASS", "/bin/false")
        .limit(LIMIT)
}

fn said(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.stdout).into_owned()
}

fn fingerprint(line: &str) -> String {
    line.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap_or_default().to_owned()
}

/// ssh-keygen takes a signature from a file only.
fn kept(signature: &str) -> Result<NamedTempFile, Problem> {
    let write = || {
        let mut file = NamedTempFile::new()?;
        file.write_all(signature.as_bytes()).map(|()| file)
    };
    write()
        .or_problem("state-unwritable", || "cannot keep the signature in a temporary file".into())
        .map_err(|problem| problem.hint(format!("df -h {}", quoted(std::env::temp_dir().display()))))
}

/// Refuses a key that is no file, before anything else is done with its promise.
///
/// # Errors
/// `usage`.
pub fn check_key(key: &Path) -> Result<(), Problem> {
    if key.is_file() {
        return Ok(());
    }
    Err(Problem::usage(format!("there is no key {}", key.display())).hint("ls ~/.ssh/*.pub"))
}

/// Refuses a list of signers that somebody else may change.
///
/// # Errors
/// `configuration`.
pub fn check_signers(signers: &Path) -> Result<(), Problem> {
    let refuse = |title: String| {
        Problem::configuration(format!("evidence.allowed_signers: {} {title}", signers.display()))
            .hint(format!("ls -l {}", quoted(signers.display())))
    };
    let meta = fs::metadata(signers).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if !meta.is_file() {
        return Err(refuse("is no file".into()));
    }
    if !is_ours_or_roots(&meta) {
        return Err(refuse(format!("belongs to user {}", meta.uid())));
    }
    if meta.mode() & 0o002 != 0 {
        return Err(refuse("may be written by everybody".into()));
    }
    Ok(())
}
