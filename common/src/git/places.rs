//! What a repository has and where it keeps it: names, words of commits, remotes, hooks. Looks only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{LOCAL, Repository, text};

/// What people know a commit by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The first line of its message.
    pub subject: String,
    pub author: String,
    /// RFC 3339, with the author's own offset.
    pub written_at: String,
}

impl Words {
    /// A line of id, subject, author and time.
    fn read(line: &str) -> Option<(String, Self)> {
        let mut parts = line.split('\0').map(str::to_owned);
        let (id, subject, author, written_at) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some((id, Self { subject, author, written_at }))
    }
}

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

    /// What git says of several commits, asked once; those that it does not know are left out.
    pub fn words_of(&self, commits: &[&str]) -> BTreeMap<String, Words> {
        let format = "--format=%H%x00%s%x00%an%x00%aI";
        let mut args = vec!["log", "--no-walk=unsorted", "--ignore-missing", format, "--end-of-options"];
        args.extend(commits);
        let told = if commits.is_empty() { None } else { self.ask(&args).ok() };
        let told = told.as_ref().map(text).unwrap_or_default();
        told.lines().filter_map(Words::read).collect()
    }

    /// Commits that `new` has and `old` has not: their short ids and subjects, `most` at most and
    /// newest first, and how many there are.
    pub fn between(&self, old: &str, new: &str, most: usize) -> (Vec<(String, String)>, u64) {
        let range = format!("{old}..{new}");
        let limit = format!("--max-count={most}");
        let told =
            self.ask(&["log", &limit, "--no-merges", "--format=%h %s", "--end-of-options", &range]).ok();
        let told = told.as_ref().map(text).unwrap_or_default();
        let lines = told.lines().filter_map(|line| line.split_once(' '));
        let named: Vec<_> = lines.map(|(id, subject)| (id.to_owned(), subject.to_owned())).collect();
        let count = self.line(&["rev-list", "--count", "--no-merges", "--end-of-options", &range]);
        let count = count.and_then(|text| text.parse().ok()).unwrap_or(named.len() as u64);
        (named, count)
    }

    /// The heads of local branches, by name, asked once.
    pub fn heads_of(&self, branches: &[&str]) -> BTreeMap<String, String> {
        let mut args = vec!["for-each-ref".to_owned(), "--format=%(refname) %(objectname)".to_owned()];
        args.extend(branches.iter().map(|branch| format!("refs/heads/{branch}")));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let told = if branches.is_empty() { None } else { self.ask(&args).ok() };
        let told = told.as_ref().map(text).unwrap_or_default();
        let lines = told.lines().filter_map(|line| line.strip_prefix("refs/heads/")?.rsplit_once(' '));
        lines.map(|(branch, commit)| (branch.to_owned(), commit.to_owned())).collect()
    }

    /// The address of a remote, as git would use it.
    pub fn remote_address(&self, remote: &str) -> Option<String> {
        let finished = self.ask(&["remote", "get-url", "--", remote]).ok()?;
        finished.status.success().then(|| text(&finished).trim_end().to_owned())
    }
}
