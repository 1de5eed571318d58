//! `post-receive`: deploys a pushed branch to the environments that name it, and shows the pusher
//! every step. The refs have moved already, so a failure is told as loudly as can be.
//!
//! Each deployment is a `deploy` of its own process group: neither a lost connection nor Ctrl-C of
//! the pusher reaches it. It takes the branch's head once it has the lock: the newest push wins.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use common::cli::Run;
use common::config::Config;
use common::git::{self, short};
use common::layout::Place;
use common::lock;
use common::report::{self, OrProblem, Problem, Report, quoted};

use super::update::Update;
use super::workflow;

/// Seconds that a push waits for the command before it.
const WAIT: u64 = 600;

pub(super) fn run(run: &mut Run, config: &Config, updates: &[Update]) -> Result<(), Problem> {
    let mut pushed: Vec<(&str, &Update)> = updates
        .iter()
        .flat_map(|update| {
            workflow::environments_of(config, &update.branch).into_iter().map(move |name| (name, update))
        })
        .collect();
    pushed.sort_by_key(|(environment, _)| workflow::distance(config, environment));
    let mut failure = None;
    for (environment, update) in pushed {
        let Some(new) = &update.new else { continue };
        let begun = Instant::now();
        let result = deploy(run, config, environment, &update.branch, new);
        run.end_step("pushed", Some(environment), begun.elapsed(), result.as_ref().err());
        match result {
            Ok(serving) => run.note(&format!("{environment}: {} serves", short(&serving))),
            Err(problem) => failure = failure.or(Some(problem)),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Gives the revision that serves.
fn deploy(run: &Run, config: &Config, environment: &str, branch: &str, new: &str) -> Result<String, Problem> {
    // A promotion pushes what it has just deployed, while it holds the lock.
    if serves(config, environment, new)? {
        return Ok(new.to_owned());
    }
    run.note(&format!("{environment}: deploying {} of '{branch}'", short(new)));
    if let Some(holder) = lock::holder(&Place::new(config, environment)) {
        run.note(&format!(
            "{environment}: waiting, {} works on it since {} ({})",
            holder.what, holder.since, holder.who
        ));
    }
    let report = deploy_pushed(config, environment, branch)?;
    let Some(serving) = report.serving.clone().filter(|_| report.success) else {
        return Err(not_deployed(&report, environment, branch, new));
    };
    if serving != new {
        run.note(&format!("{environment}: a later push to '{branch}' came first"));
    }
    Ok(serving)
}

fn serves(config: &Config, environment: &str, revision: &str) -> Result<bool, Problem> {
    let Some(ledger) = workflow::ledger(config)? else { return Ok(false) };
    let serving = ledger.serving(environment)?;
    Ok(serving.is_some_and(|row| row.revision == revision && row.verified_ms.is_some()))
}

/// Runs `deploy ENV` with its progress on our stderr, which git passes on to the pusher.
fn deploy_pushed(config: &Config, environment: &str, branch: &str) -> Result<Report, Problem> {
    let failed = || String::from("cannot run deploy");
    let program = std::env::current_exe().or_problem("not-started", failed)?;
    let mut command = Command::new(program);
    command
        .arg(environment)
        .arg(format!("--branch={branch}"))
        .args(["--pushed", "--json", "--wait", &WAIT.to_string(), "--config"])
        .arg(&config.file)
        .current_dir(config.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0);
    // The app's build may call git too, in its own directory.
    for variable in git::INHERITED {
        command.env_remove(variable);
    }
    let output = command.spawn().and_then(std::process::Child::wait_with_output);
    let output = output.or_problem("not-started", failed)?;
    report::read_bytes(&output.stdout).map(report::Received::report).map_err(|_| {
        Problem::new("sibling-failed", format!("deploy ended with {} and no report", output.status))
            .hint(format!("status {environment}"))
    })
}

fn not_deployed(report: &Report, environment: &str, branch: &str, new: &str) -> Problem {
    let stands = match &report.serving {
        Some(serving) => format!("{} serves", short(serving)),
        None => String::from("nothing serves"),
    };
    let reason = report.problem.as_ref().map_or("no reason was given", |problem| problem.title.as_str());
    Problem::new(
        "not-deployed",
        format!("NOT DEPLOYED to '{environment}': {stands}, although '{branch}' has moved to {}", short(new)),
    )
    .detail(format!("{}: {reason}", report.outcome.word()))
    .hint(format!(
        "git push origin {0}   # with a mended commit; or on the server: deploy {environment} --branch {0} --pushed",
        quoted(branch)
    ))
}
