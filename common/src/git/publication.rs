//! Tags and pushes: what others see of a repository. Nothing here moves a tag or forces a push.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use super::{LOCAL, Repository, text};
use crate::report::{Problem, quoted};

/// What is pushed is on the remote already, but for a merge and a tag.
const PUSH: Duration = Duration::from_secs(60);

impl Repository {
    /// Names of all tags, and what each leads to: a commit, unless somebody tagged something else.
    ///
    /// # Errors
    /// `command-failed`.
    pub fn tags(&self) -> Result<BTreeMap<String, String>, Problem> {
        let format =
            "--format=%(refname:strip=2) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)";
        let listed = text(&self.succeed(&["for-each-ref", format, "refs/tags"], LOCAL)?);
        let pairs = listed.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(name, commit)| (name.to_owned(), commit.to_owned())).collect())
    }

    /// Makes an annotated tag, signed where git is configured so; one that exists on the same commit
    /// is left alone.
    ///
    /// # Errors
    /// `tag-failed`.
    pub fn tag(&self, name: &str, commit: &str, message: &str) -> Result<(), Problem> {
        if self.commit(&format!("refs/tags/{name}")).as_deref() == Some(commit) {
            return Ok(());
        }
        let args = ["tag", "--annotate", "--message", message, "--end-of-options", name, commit];
        // A key with a passphrase and no agent: nobody is there to type it.
        let unasked = env::var_os("SSH_ASKPASS").unwrap_or_else(|| "false".into());
        let program =
            self.program(&args, LOCAL).env("SSH_ASKPASS", unasked).env("SSH_ASKPASS_REQUIRE", "force");
        let finished = program.run()?;
        if finished.status.success() {
            return Ok(());
        }
        Err(Problem::new("tag-failed", format!("cannot make the tag {name}"))
            .detail(finished.tail)
            .hint(format!("git -C {} tag --list -- {}", quoted(self.dir.display()), quoted(name))))
    }

    /// Pushes `SOURCE:TARGET` pairs, never forced; those that are refused do not keep the others.
    ///
    /// # Errors
    /// `push-refused` (retryable).
    pub fn push(&self, remote: &str, pairs: &[String]) -> Result<(), Problem> {
        let args: Vec<&str> = ["push", "--quiet", "--end-of-options", remote]
            .into_iter()
            .chain(pairs.iter().map(String::as_str))
            .collect();
        let finished = self.run(&args, PUSH)?;
        if finished.status.success() {
            return Ok(());
        }
        let words: Vec<String> = pairs.iter().map(quoted).collect();
        let targets: Vec<&str> = pairs.iter().filter_map(|pair| Some(pair.split_once(':')?.1)).collect();
        Err(Problem::new(
            "push-refused",
            format!("the remote '{remote}' did not take {}", targets.join(" and ")),
        )
        .detail(finished.tail)
        .hint(format!("git -C {} push -- {} {}", quoted(self.dir.display()), quoted(remote), words.join(" ")))
        .retryable())
    }
}
