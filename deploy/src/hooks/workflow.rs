//! The rules for an environment's branch, the same before a push leaves and when it arrives.
//!
//! They hold for branches that an environment names literally: those deploy when they are pushed.
//! A branch that only a pattern accepts, such as `feature/*`, is rewritten and deleted freely.

use std::time::Instant;

use common::cli::Run;
use common::config::{Config, Environment};
use common::git::{Repository, short};
use common::ledger::Ledger;
use common::report::{OrProblem, Problem, quoted};

use super::update::Update;
use crate::evidence::Sought;
use crate::source::Source;

/// What a push is judged by.
pub(super) struct Workflow<'a> {
    pub(super) config: &'a Config,
    pub(super) repository: &'a Repository,
    pub(super) records: Records,
}

/// Where verifications are recorded.
pub(super) enum Records {
    Here(Ledger),
    /// Here, and nothing was ever deployed.
    Nothing,
    /// On a host that this one cannot ask.
    Elsewhere,
}

/// The environments that deploy a branch when it is pushed, those promoted from first.
pub(super) fn environments_of<'a>(config: &'a Config, branch: &str) -> Vec<&'a str> {
    let deploys = |settings: &Environment| {
        settings.branches.iter().any(|pattern| pattern == branch && !pattern.contains('*'))
    };
    let mut names: Vec<&str> = config
        .environments
        .iter()
        .filter(|(_, settings)| deploys(settings))
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_by_key(|name| distance(config, name));
    names
}

/// Whether any of these branches deploys.
pub(super) fn concerns(config: &Config, updates: &[Update]) -> bool {
    updates.iter().any(|update| !environments_of(config, &update.branch).is_empty())
}

/// How many promotions lie before an environment; a circle ends by itself.
pub(super) fn distance(config: &Config, name: &str) -> usize {
    let before = |name: &str| config.environments.get(name)?.promote_from.clone();
    std::iter::successors(before(name), |name| before(name)).take(config.environments.len()).count()
}

/// Opens the ledger for looking; a state directory of somebody else is an error, not an empty one.
pub(super) fn ledger(config: &Config) -> Result<Option<Ledger>, Problem> {
    let file = config.state_dir().join("ledger.db");
    file.try_exists()
        .or_problem("ledger-unreadable", || format!("cannot look for {}", file.display()))
        .map_err(|problem| problem.hint(format!("ls -ld {}", quoted(config.state_dir().display()))))?;
    Ledger::open_read_only(config)
}

impl Workflow<'_> {
    /// Every rule for every branch, each a step; the first refusal decides.
    pub(super) fn judge(&self, run: &mut Run, updates: &[Update]) -> Result<(), Problem> {
        let mut refusal = None;
        for update in updates {
            for environment in environments_of(self.config, &update.branch) {
                refusal = refusal.or(self.judge_one(run, update, environment).err());
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    fn judge_one(&self, run: &mut Run, update: &Update, environment: &str) -> Result<(), Problem> {
        let target = format!("{} -> {environment}", update.branch);
        step(run, "gate.history", &target, || self.keeps_history(update))?;
        let Some(new) = update.new.as_ref() else { return Ok(()) };
        if self.config.environment(environment)?.promote_from.is_none() {
            return Ok(());
        }
        if matches!(self.records, Records::Elsewhere) {
            run.skip("gate.evidence", "nothing was deployed from here: the server knows what was verified");
            return Ok(());
        }
        step(run, "gate.evidence", &target, || self.has_evidence(&update.branch, new, environment))
    }

    /// The branch is neither deleted nor rewritten.
    fn keeps_history(&self, update: &Update) -> Result<(), Problem> {
        let branch = &update.branch;
        match (&update.old, &update.new) {
            (_, None) => {
                Err(Problem::new("branch-protected", format!("'{branch}' deploys and cannot be deleted"))
                    .hint("git revert COMMIT   # or, on the server: deploy hooks remove"))
            }
            (Some(old), Some(new)) if !self.repository.contains(new, old) => Err(Problem::new(
                "not-fast-forward",
                format!("'{branch}' would lose {}, which it has now", short(old)),
            )
            .detail("a branch that deploys is never rewritten")
            .hint(format!("git pull --rebase origin {0} && git push origin {0}", quoted(branch)))),
            _ => Ok(()),
        }
    }

    /// The tree was verified where it is promoted from, or the commit was verified here already:
    /// the latter is how a promotion comes back to its branch.
    fn has_evidence(&self, branch: &str, new: &str, environment: &str) -> Result<(), Problem> {
        let source = Source::incoming(self.repository, branch, new).ok_or_else(|| {
            Problem::new("unknown-revision", format!("'{branch}' would point to no commit: {new}"))
                .hint(format!("git cat-file -t {new}"))
        })?;
        let Records::Here(ledger) = &self.records else {
            let problem = Problem::new("no-evidence", "nothing was ever verified here");
            return Err(self.pushable(problem, environment));
        };
        if ledger.verified_revision(environment, new)?.is_some() {
            return Ok(());
        }
        let settings = self.config.environment(environment)?;
        let sought =
            Sought { config: self.config, environment, settings, ledger: Some(ledger), source: &source };
        sought.in_ledger().map(drop).map_err(|problem| self.pushable(problem, environment))
    }

    /// The pusher cannot deploy, but can push where evidence comes from.
    fn pushable(&self, problem: Problem, environment: &str) -> Problem {
        let settings = self.config.environments.get(environment);
        let from =
            settings.and_then(|settings| self.config.environments.get(settings.promote_from.as_ref()?));
        match from.and_then(Environment::default_branch) {
            Some(branch) => problem.hint(format!(
                "git push origin {}   # and again when it is verified",
                quoted(format!("HEAD:{branch}"))
            )),
            None => problem.hint("status all"),
        }
    }
}

fn step(
    run: &mut Run,
    name: &str,
    target: &str,
    act: impl FnOnce() -> Result<(), Problem>,
) -> Result<(), Problem> {
    let begun = Instant::now();
    let result = act();
    run.end_step(name, Some(target), begun.elapsed(), result.as_ref().err());
    result
}
