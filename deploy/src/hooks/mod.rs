//! `deploy hooks`: git hooks that enforce the workflow and deploy what is pushed.
//!
//! `installation` writes them, takes them away and tells how they stand; `script` is their text.
//! What they do is in `pre_receive`, `post_receive` and `pre_push`, by the rules of `workflow`.

mod installation;
mod kept;
mod post_receive;
mod pre_push;
mod pre_receive;
mod script;
mod update;
mod workflow;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use common::cli::{Run, Shared};
use common::config::Config;
use common::report::{OrProblem, Problem, quoted};

use crate::arguments::{HookOptions, HooksVerb};

/// A moment at which git calls us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hook {
    PreReceive,
    PostReceive,
    PrePush,
}

impl Hook {
    /// The name of its file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PreReceive => "pre-receive",
            Self::PostReceive => "post-receive",
            Self::PrePush => "pre-push",
        }
    }
}

pub(crate) fn run(run: &mut Run, shared: &Shared, verb: &HooksVerb) -> Result<(), Problem> {
    match verb {
        HooksVerb::Install(options) => installation::install(run, &shared.load()?, &options.repository),
        HooksVerb::Remove(options) => installation::remove(run, &options.repository),
        HooksVerb::Status(options) => installation::tell(run, &options.repository),
        HooksVerb::Run(options) => answer(run, shared, options),
    }
}

/// What an installed hook does. A hook that was here before runs first, and its refusal counts.
fn answer(run: &mut Run, shared: &Shared, options: &HookOptions) -> Result<(), Problem> {
    let here =
        std::env::current_dir().or_problem("not-a-repository", || "cannot tell where git is".into())?;
    let input = update::read()?;
    let kept = kept::run(options.hook, &here, &options.arguments, &input);
    if options.hook != Hook::PostReceive {
        kept?;
    } else if let Err(problem) = kept {
        common::cli::warn(&problem.to_string());
    }
    let config = load(shared)?;
    let updates = update::parse(options.hook, &input);
    match options.hook {
        Hook::PreReceive => pre_receive::run(run, &config, &here, &updates),
        Hook::PostReceive => post_receive::run(run, &config, &updates),
        Hook::PrePush => pre_push::run(run, &config, &here, &options.arguments, &updates),
    }
}

/// The operator's configuration, by the path that was written into the hook.
fn load(shared: &Shared) -> Result<Config, Problem> {
    let gone = |file: &PathBuf| matches!(file.try_exists(), Ok(false));
    match &shared.config {
        Some(file) if gone(file) => {
            Err(Problem::configuration(format!("the hook's configuration {} is gone", file.display()))
                .hint("deploy hooks install --config FILE   # in this repository, where it lies now"))
        }
        Some(_) => shared.load().map_err(|problem| hinted(problem, shared.config.as_deref())),
        None => Err(Problem::usage("a hook needs --config").hint("deploy hooks install")),
    }
}

fn hinted(problem: Problem, file: Option<&Path>) -> Problem {
    match (&problem.hint, file) {
        (None, Some(file)) => problem.hint(format!("ls -l {}", quoted(file.display()))),
        _ => problem,
    }
}
