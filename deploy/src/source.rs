//! What is to be deployed: a branch, a revision, and how both stand to the remote.

use common::config::{Config, Environment, nearest};
use common::git::Repository;
use common::report::{Problem, quoted};

use crate::arguments::DeployOptions;
use crate::merge;

/// The revision asked for.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) repository: Repository,
    /// The branch it belongs to; for a promotion the branch that will receive it.
    pub(crate) branch: String,
    pub(crate) revision: String,
    pub(crate) tree: String,
    /// Where the remote has the branch; none without a remote or when it has no such branch.
    pub(crate) remote_head: Option<String>,
    pub(crate) has_remote: bool,
    pub(crate) promotes: bool,
    /// Whether `--revision` named it.
    pub(crate) named: bool,
    /// Whether it is what was pushed, and no work tree has a say.
    pub(crate) pushed: bool,
}

impl Source {
    /// Resolves the options to one commit; fetches first, changes no branch.
    ///
    /// # Errors
    /// `not-a-repository`, `fetch-failed`, `unknown-branch`, `unknown-revision`, `wrong-branch`,
    /// `nothing-to-promote-from`, `promotion-conflict`.
    pub(crate) fn choose(
        config: &Config,
        environment: &str,
        options: &DeployOptions,
    ) -> Result<Self, Problem> {
        let settings = config.environment(environment)?;
        let repository = Repository::open(config.root())?;
        // A bare repository is what people push to; where it was cloned from does not matter.
        let remote = repository.remote().filter(|_| !(options.pushed && repository.is_bare()));
        if let Some(remote) = &remote {
            repository.fetch(remote)?;
        }
        let lookup =
            Lookup { config, environment, settings, repository: &repository, remote: remote.as_deref() };
        let branch = lookup.branch(options)?;
        let remote_head = lookup.remote_head(&branch);
        let revision = if options.promote {
            lookup.promoted(&branch)?
        } else if let Some(head) = remote_head.clone().filter(|_| options.pushed) {
            head
        } else {
            lookup.revision(&branch, options.revision.as_deref())?
        };
        let tree = repository.tree(&revision).ok_or_else(|| unknown_revision(&revision))?;
        Ok(Self {
            branch,
            revision,
            tree,
            remote_head,
            has_remote: remote.is_some(),
            promotes: options.promote,
            named: options.revision.is_some(),
            pushed: options.pushed,
            repository,
        })
    }

    /// A commit that somebody pushes to `branch`.
    pub(crate) fn incoming(repository: &Repository, branch: &str, revision: &str) -> Option<Self> {
        Some(Self {
            branch: branch.to_owned(),
            revision: revision.to_owned(),
            tree: repository.tree(revision)?,
            remote_head: None,
            has_remote: false,
            promotes: false,
            named: false,
            pushed: true,
            repository: repository.clone(),
        })
    }
}

struct Lookup<'a> {
    config: &'a Config,
    environment: &'a str,
    settings: &'a Environment,
    repository: &'a Repository,
    remote: Option<&'a str>,
}

impl Lookup<'_> {
    /// `--branch`, else the checked-out branch if it may come here, else the environment's first.
    /// A checked-out branch that belongs to no environment was probably meant: that is an error.
    fn branch(&self, options: &DeployOptions) -> Result<String, Problem> {
        if let Some(branch) = &options.branch {
            if !self.repository.is_branch_name(branch) {
                return Err(Problem::usage(format!("{branch:?} is no name of a branch"))
                    .hint(format!("deploy {} --branch BRANCH", self.environment)));
            }
            return if self.settings.accepts_branch(branch) {
                Ok(branch.clone())
            } else {
                Err(self.wrong_branch(branch))
            };
        }
        let current = self.repository.branch().filter(|_| !options.promote);
        match current {
            Some(branch) if self.settings.accepts_branch(&branch) => Ok(branch),
            Some(branch) if !self.config.environments.values().any(|other| other.accepts_branch(&branch)) => {
                Err(self.wrong_branch(&branch))
            }
            _ => self.settings.default_branch().map(str::to_owned).ok_or_else(|| {
                Problem::new("wrong-branch", format!("'{}' has no default branch", self.environment))
                    .detail(format!("it takes {}", self.settings.branches.join(", ")))
                    .hint(format!("deploy {} --branch BRANCH", self.environment))
            }),
        }
    }

    fn wrong_branch(&self, branch: &str) -> Problem {
        let hint = match self.settings.default_branch() {
            Some(default) => format!("deploy {} --branch {}", self.environment, quoted(default)),
            None => {
                format!("grep -A2 'environments.{}' {}", self.environment, quoted(self.config.file.display()))
            }
        };
        Problem::new(
            "wrong-branch",
            format!("branch '{branch}' may not be deployed to '{}'", self.environment),
        )
        .detail(format!("it takes {}", self.settings.branches.join(", ")))
        .hint(hint)
    }

    fn remote_head(&self, branch: &str) -> Option<String> {
        self.repository.commit(&format!("refs/remotes/{}/{branch}", self.remote?))
    }

    /// The local head of a branch, else the remote's.
    fn head(&self, branch: &str) -> Result<String, Problem> {
        let local = self.repository.commit(&format!("refs/heads/{branch}"));
        local.or_else(|| self.remote_head(branch)).ok_or_else(|| {
            let known = self.repository.branches();
            let guess = nearest(branch, known.iter().map(String::as_str));
            Problem::new("unknown-branch", format!("there is no branch '{branch}'"))
                .detail(format!("the branches are {}", known.join(", ")))
                .hint(guess.map_or_else(
                    || String::from("git branch --all"),
                    |near| format!("deploy {} --branch {}", self.environment, quoted(near)),
                ))
        })
    }

    fn revision(&self, branch: &str, named: Option<&str>) -> Result<String, Problem> {
        match named {
            Some(name) => self.repository.commit(name).ok_or_else(|| unknown_revision(name)),
            None => self.head(branch),
        }
    }

    /// The commit that a promotion makes serve: the source branch's head, or a merge of it.
    fn promoted(&self, branch: &str) -> Result<String, Problem> {
        let from = self.settings.promote_from.as_deref().and_then(|name| self.config.environments.get(name));
        let from_branch = from.and_then(Environment::default_branch).ok_or_else(|| {
            Problem::new("nothing-to-promote-from", format!("'{}' has no promote_from", self.environment))
                .hint(format!("deploy {}", self.environment))
        })?;
        let newer = self.head(from_branch)?;
        let target =
            self.remote_head(branch).or_else(|| self.repository.commit(&format!("refs/heads/{branch}")));
        let Some(target) = target else { return Ok(newer) };
        merge::join(self.repository, &target, &newer, branch, from_branch, self.settings.merge)
    }
}

fn unknown_revision(name: &str) -> Problem {
    Problem::new("unknown-revision", format!("there is no revision '{name}'"))
        .detail("neither a commit nor a tag or branch of that name is known here")
        .hint("git log --oneline -10")
}
