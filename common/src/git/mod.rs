//! git, as the git command: resolving, comparing, exporting a revision.
//!
//! Names from outside are always resolved with `--end-of-options` or as full refs, so that none is
//! ever taken for an option. `publication` has what leaves a trace: tags and pushes.

mod places;
mod publication;

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use places::Words;

use crate::exec::{Finished, Program};
use crate::report::{OrProblem, Problem, quoted};

/// Set by git for its hooks; they would lead us into another repository.
pub const INHERITED: [&str; 10] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_COMMON_DIR",
    "GIT_SHALLOW_FILE",
];
/// Where git keeps the objects of a push until its `pre-receive` has accepted it.
const QUARANTINE: [&str; 3] =
    ["GIT_QUARANTINE_PATH", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"];
/// Merges, tags and branches that the ledger will speak of must outlive a power cut as it does.
const DURABLE: &str = "core.fsync=committed";
const LOCAL: Duration = Duration::from_secs(60);
const NETWORK: Duration = Duration::from_secs(300);
const FETCH_PAUSES_MS: [u64; 4] = [50, 150, 500, 1500];

/// A repository on this host.
#[derive(Debug, Clone)]
pub struct Repository {
    dir: PathBuf,
    is_bare: bool,
    sees_quarantine: bool,
}

/// How a local branch stands to its remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    Same,
    /// Commits that only the local branch has, and that only the remote has.
    Apart {
        ahead: u64,
        behind: u64,
    },
}

impl Repository {
    /// The repository that `dir` lies in.
    ///
    /// # Errors
    /// `not-a-repository`.
    pub fn open(dir: &Path) -> Result<Self, Problem> {
        Self { dir: dir.to_owned(), is_bare: false, sees_quarantine: false }.find()
    }

    /// As [`Repository::open`], for a hook that judges a push: sees what is pushed as well.
    pub fn open_with_quarantine(dir: &Path) -> Result<Self, Problem> {
        Self { dir: dir.to_owned(), is_bare: false, sees_quarantine: true }.find()
    }

    fn find(self) -> Result<Self, Problem> {
        match self.line(&["rev-parse", "--is-bare-repository"]) {
            Some(answer) => Ok(Self { is_bare: answer == "true", ..self }),
            None => Err(Problem::new(
                "not-a-repository",
                format!("{} is not in a git repository", self.dir.display()),
            )
            .hint(format!("git -C {} status", quoted(self.dir.display())))),
        }
    }

    /// The checked-out branch; none when detached or bare.
    pub fn branch(&self) -> Option<String> {
        self.line(&["symbolic-ref", "--quiet", "--short", "HEAD"])
    }

    /// Changed and untracked files, as `git status --porcelain` prints them; empty when clean.
    pub fn changes(&self) -> Result<Vec<String>, Problem> {
        if self.is_bare {
            return Ok(Vec::new());
        }
        let finished = self.succeed(&["status", "--porcelain", "--untracked-files=normal"], LOCAL)?;
        Ok(text(&finished).lines().map(str::to_owned).collect())
    }

    /// Fetches branches and tags.
    ///
    /// # Errors
    /// `fetch-failed` (retryable).
    pub fn fetch(&self, remote: &str) -> Result<(), Problem> {
        let mut pauses = FETCH_PAUSES_MS.into_iter();
        let finished = loop {
            let finished = self.run(&["fetch", "--quiet", "--prune", "--end-of-options", remote], NETWORK)?;
            if finished.status.success() {
                return Ok(());
            }
            // A deployment of another environment may fetch at the same moment.
            match pauses.next().filter(|_| finished.tail.contains("lock")) {
                Some(pause) => std::thread::sleep(Duration::from_millis(pause)),
                None => break finished,
            }
        };
        Err(Problem::new("fetch-failed", format!("cannot fetch from the remote '{remote}'"))
            .detail(finished.tail)
            .hint(format!("git -C {} fetch -- {}", quoted(self.dir.display()), quoted(remote)))
            .retryable())
    }

    /// The commit id a name stands for.
    pub fn commit(&self, name: &str) -> Option<String> {
        self.line(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")])
    }

    /// The tree id of a commit.
    pub fn tree(&self, commit: &str) -> Option<String> {
        self.line(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{commit}^{{tree}}")])
    }

    /// All files of a commit, links included.
    ///
    /// # Errors
    /// `command-failed`.
    pub fn files(&self, commit: &str) -> Result<BTreeSet<PathBuf>, Problem> {
        let args = ["ls-tree", "-r", "-z", "--full-tree", "--name-only", "--end-of-options", commit];
        let listed = self.succeed(&args, LOCAL)?.stdout;
        let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect())
    }

    /// The content of a file at the top of a commit; `None` when there is none, or it is larger
    /// than `limit` bytes, or no text.
    pub fn file(&self, commit: &str, name: &str, limit: u64) -> Option<String> {
        let object = format!("{commit}:{name}");
        let size = self.line(&["cat-file", "-s", "--end-of-options", &object])?.parse::<u64>().ok()?;
        if size > limit {
            return None;
        }
        let finished = self.succeed(&["cat-file", "blob", "--end-of-options", &object], LOCAL).ok()?;
        String::from_utf8(finished.stdout).ok()
    }

    /// Whether `commit` belongs to the history of `of`.
    pub fn contains(&self, of: &str, commit: &str) -> bool {
        self.ask(&["merge-base", "--is-ancestor", "--end-of-options", commit, of])
            .is_ok_and(|finished| finished.status.success())
    }

    /// How far two commits are apart.
    ///
    /// # Errors
    /// `command-failed`.
    pub fn compare(&self, local: &str, remote: &str) -> Result<Sync, Problem> {
        let range = format!("{local}...{remote}");
        let finished =
            self.succeed(&["rev-list", "--left-right", "--count", "--end-of-options", &range], LOCAL)?;
        let counts: Vec<u64> =
            text(&finished).split_whitespace().filter_map(|word| word.parse().ok()).collect();
        Ok(match counts[..] {
            [ahead, behind] if ahead + behind > 0 => Sync::Apart { ahead, behind },
            _ => Sync::Same,
        })
    }

    /// Writes the files of a commit into the existing directory `target`.
    ///
    /// # Errors
    /// `checkout-failed`.
    pub fn export(&self, commit: &str, target: &Path) -> Result<(), Problem> {
        let scratch = tempfile::tempdir()
            .or_problem("checkout-failed", || "cannot make a temporary directory".into())?;
        let index = scratch.path().join("index");
        let prefix = format!("{}/", target.display());
        for args in [
            vec!["read-tree", "--end-of-options", commit],
            vec!["checkout-index", "--all", "--force", "--quiet", "--prefix", &prefix],
        ] {
            let mut program = self.program(&args, LOCAL).env("GIT_INDEX_FILE", &index);
            if self.is_bare {
                program = program.env("GIT_WORK_TREE", target);
            }
            let finished = program.run()?;
            if !finished.status.success() {
                return Err(Problem::new("checkout-failed", format!("cannot check out {commit}"))
                    .detail(finished.tail)
                    .hint(format!("df -h {}", quoted(target.display()))));
            }
        }
        Ok(())
    }

    /// Merges two commits into a new one that no branch points to yet; no work tree is touched.
    ///
    /// # Errors
    /// `promotion-conflict`, naming the files.
    pub fn merge_commit(&self, first: &str, second: &str, message: &str) -> Result<String, Problem> {
        let merged = self.run(
            &[
                "merge-tree",
                "--write-tree",
                "--name-only",
                "--no-messages",
                "--end-of-options",
                first,
                second,
            ],
            LOCAL,
        )?;
        let output = text(&merged);
        let (tree, files) = output.split_once('\n').unwrap_or((&output, ""));
        if !merged.status.success() {
            return Err(Problem::new("promotion-conflict", "the branches change the same lines")
                .detail(files.trim().to_owned())
                .hint(format!("git merge-tree {} {}", quoted(short(first)), quoted(short(second)))));
        }
        let made =
            self.succeed(&["commit-tree", tree.trim(), "-p", first, "-p", second, "-m", message], LOCAL)?;
        Ok(text(&made).trim().to_owned())
    }

    /// Moves a local branch forward from `old` to `new`, only if it still stands at `old`. Our work
    /// tree goes along where it has it checked out; one with changes, and any other, keeps it back.
    ///
    /// # Errors
    /// `command-failed`.
    pub fn fast_forward(&self, branch: &str, new: &str, old: &str) -> Result<(), Problem> {
        let name = format!("refs/heads/{branch}");
        let work_tree = self.line(&["for-each-ref", "--format=%(worktreepath)", &name]);
        match work_tree {
            None => self.succeed(&["update-ref", &name, new, old], LOCAL).map(drop),
            Some(_) if self.branch().as_deref() == Some(branch) && self.changes()?.is_empty() => {
                self.succeed(&["merge", "--quiet", "--ff-only", new], LOCAL).map(drop)
            }
            Some(_) => Ok(()),
        }
    }

    fn passes(&self, variable: &OsStr) -> bool {
        !INHERITED.iter().any(|taken| variable == *taken)
            || (self.sees_quarantine && QUARANTINE.iter().any(|kept| variable == *kept))
    }

    fn line(&self, args: &[&str]) -> Option<String> {
        let finished = self.ask(args).ok()?;
        let line = text(&finished).trim_end().to_owned();
        (finished.status.success() && !line.is_empty()).then_some(line)
    }

    /// Asks something; a git that was killed has not said no, so it is asked again.
    fn ask(&self, args: &[&str]) -> Result<Finished, Problem> {
        for _ in 0..2 {
            let finished = self.run(args, LOCAL)?;
            if finished.status.code().is_some() {
                return Ok(finished);
            }
        }
        self.run(args, LOCAL)
    }

    fn run(&self, args: &[&str], limit: Duration) -> Result<Finished, Problem> {
        self.program(args, limit).run()
    }

    fn succeed(&self, args: &[&str], limit: Duration) -> Result<Finished, Problem> {
        self.program(args, limit).succeed()
    }

    fn program(&self, args: &[&str], limit: Duration) -> Program<'static> {
        Program::new("git")
            .args(["-C"])
            .args([&self.dir])
            .args(["-c", DURABLE])
            .args(args)
            .only_env(env::vars_os().filter(|(name, _)| self.passes(name)).collect())
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            // Anybody who may push could push refs/replace, and show us another history or tree.
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("LC_ALL", "C")
            .limit(limit)
    }
}

fn text(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.stdout).into_owned()
}

/// The first seven characters of a commit id.
pub fn short(revision: &str) -> &str {
    revision.get(..7).unwrap_or(revision)
}
