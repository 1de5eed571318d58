//! What a repository has and where it keeps it: names, words of commits, remotes, hooks. Looks only.

use std::path::{Path, PathBuf};

use super::{LOCAL, Repository, text};

impl Repository {
    /// Whether it has no work tree.
    pub fn is_bare(&self) -> bool {
        self.is_bare
    }

    /// The directory that all work trees of this repository share, absolute.
    pub fn common_dir(&self) -> Option<PathBuf> {
        self.line(&["rev-parse", "--path-format=absolute", "--git-common-dir"]).map(PathBuf::from)
    }

    /// Where git looks for hooks, absolute; `core.hooksPath` counts.
    pub fn hooks_dir(&self) -> Option<PathBuf> {
        self.line(&["rev-parse", "--path-format=absolute", "--git-path", "hooks"]).map(PathBuf::from)
    }

    /// Whether `core.hooksPath` was set for this repository or outside of it; none when unset.
    pub fn hooks_path_is_local(&self) -> Option<bool> {
        let scope = self.line(&["config", "--show-scope", "--get", "core.hooksPath"])?;
        Some(scope.starts_with("local") || scope.starts_with("worktree"))
    }

    /// Whether a file at this path would be part of the work tree that git looks at.
    pub fn would_track(&self, path: &Path) -> bool {
        let Some(top) = self.line(&["rev-parse", "--show-toplevel"]) else { return false };
        let inside_git = self.common_dir().is_some_and(|dir| path.starts_with(dir));
        let path = path.to_string_lossy();
        !inside_git
            && Path::new(path.as_ref()).starts_with(top)
            && !self
                .run(&["check-ignore", "--quiet", "--", &path], LOCAL)
                .is_ok_and(|finished| finished.status.success())
    }

    /// Names of all branches, remote ones without the remote's name.
    pub fn branches(&self) -> Vec<String> {
        let args = ["for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes"];
        let listed = self.ask(&args).map(|finished| text(&finished)).unwrap_or_default();
        let mut names: Vec<String> =
            listed.lines().map(|name| name.strip_prefix("origin/").unwrap_or(name).to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether git would take `name` for a branch; what it would not is never passed to it.
    pub fn is_branch_name(&self, name: &str) -> bool {
        let full = format!("refs/heads/{name}");
        !name.starts_with('-')
            && !name.contains('\0')
            && self.ask(&["check-ref-format", &full]).is_ok_and(|finished| finished.status.success())
    }

    /// The first remote's name, `origin` preferred.
    pub fn remote(&self) -> Option<String> {
        let remotes = text(&self.ask(&["remote"]).ok()?);
        remotes.lines().find(|name| *name == "origin").or_else(|| remotes.lines().next()).map(str::to_owned)
    }

    /// The first line of a commit's message.
    pub fn subject(&self, commit: &str) -> Option<String> {
        self.line(&["log", "-1", "--format=%s", "--end-of-options", commit])
    }

    /// The author of a commit and when it was written.
    pub fn author(&self, commit: &str) -> Option<String> {
        self.line(&["log", "-1", "--format=%an, %aI", "--end-of-options", commit])
    }

    /// The address of a remote, as git would use it.
    pub fn remote_address(&self, remote: &str) -> Option<String> {
        let finished = self.ask(&["remote", "get-url", "--", remote]).ok()?;
        finished.status.success().then(|| text(&finished).trim_end().to_owned())
    }
}
