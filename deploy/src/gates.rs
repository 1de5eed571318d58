//! Gates: what must hold before anything is changed. Each looks and decides; none acts.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use common::config::Config;
use common::exec::Program;
use common::git::{Sync, short};
use common::ledger::{Deployment, Ledger};
use common::report::{OrProblem, Problem, quoted};
use common::site::Site;
use common::{gateway, layout::Place, relocation};

use crate::source::Source;

const CONNECT: Duration = Duration::from_secs(3);
const REQUIREMENT: Duration = Duration::from_secs(30);
/// Room that a release and its logs may need, in bytes.
const SPARE: u64 = 64 * 1024 * 1024;

/// All that git has to say.
pub(crate) fn work_tree(source: &Source) -> Result<(), Problem> {
    branch(source)?;
    clean(source)?;
    if source.has_remote { in_sync(source) } else { Ok(()) }
}

/// The branch may come here, and has the revision in its history.
pub(crate) fn branch(source: &Source) -> Result<(), Problem> {
    if !source.named || source.promotes {
        return Ok(());
    }
    let local = source.repository.commit(&format!("refs/heads/{}", source.branch));
    let heads = [source.remote_head.clone(), local];
    if heads.iter().flatten().any(|head| source.repository.contains(head, &source.revision)) {
        return Ok(());
    }
    Err(Problem::new(
        "wrong-branch",
        format!("revision {} is not in the history of branch '{}'", short(&source.revision), source.branch),
    )
    .hint(format!("git branch --all --contains {}", short(&source.revision))))
}

/// No changed or untracked file in the work tree; none is asked when the revision was pushed.
pub(crate) fn clean(source: &Source) -> Result<(), Problem> {
    if source.pushed {
        return Ok(());
    }
    let changes = source.repository.changes()?;
    if changes.is_empty() {
        return Ok(());
    }
    let shown: Vec<&str> = changes.iter().take(10).map(String::as_str).collect();
    let more = if changes.len() > shown.len() {
        format!("\n… {} files in all", changes.len())
    } else {
        String::new()
    };
    Err(Problem::new("dirty-tree", "the work tree has changes that are not committed")
        .detail(shown.join("\n") + &more)
        .hint("git stash --include-untracked   # or: git add -A && git commit"))
}

/// The local branch and the remote's are the same commit.
pub(crate) fn in_sync(source: &Source) -> Result<(), Problem> {
    let branch = &source.branch;
    if source.pushed && source.remote_head.as_ref() == Some(&source.revision) {
        return Ok(());
    }
    let Some(local) = source.repository.commit(&format!("refs/heads/{branch}")) else { return Ok(()) };
    let Some(remote) = &source.remote_head else {
        return Err(Problem::new("not-in-sync", format!("the remote has no branch '{branch}'"))
            .hint(format!("git push --set-upstream origin -- {}", quoted(branch))));
    };
    if local == *remote {
        return Ok(());
    }
    let (ahead, behind) = match source.repository.compare(&local, remote)? {
        Sync::Same => return Ok(()),
        Sync::Apart { ahead, behind } => (ahead, behind),
    };
    let problem = Problem::new(
        "not-in-sync",
        format!("branch '{branch}' is {ahead} ahead of and {behind} behind the remote"),
    );
    let branch = quoted(branch);
    Err(problem.hint(match (ahead, behind) {
        (_, 0) => format!("git push origin {branch}"),
        (0, _) => format!("git switch {branch} && git pull --ff-only"),
        _ => format!("git switch {branch} && git pull --rebase && git push origin {branch}"),
    }))
}

/// Room for a release, a backup and a rehearsal.
pub(crate) fn disk(config: &Config, place: &Place) -> Result<(), Problem> {
    let state = config.state_dir();
    let dir = state.ancestors().find(|dir| dir.exists()).unwrap_or(&state);
    let stat = rustix::fs::statvfs(dir)
        .or_problem("state-unwritable", || format!("cannot look at {}", dir.display()))?;
    let database = config.environments.get(place.environment()).and_then(|settings| place.database(settings));
    let size = database.and_then(|path| path.metadata().ok()).map_or(0, |meta| meta.len());
    let (free, needed) = (stat.f_bavail.saturating_mul(stat.f_frsize), SPARE + size.saturating_mul(3));
    if free >= needed {
        return Ok(());
    }
    let mib = |bytes: u64| bytes / (1024 * 1024);
    Err(Problem::new(
        "no-space",
        format!("{} MiB are free, a deployment may need {}", mib(free), mib(needed)),
    )
    .detail(dir.display().to_string())
    .hint(format!("df -h {}", quoted(dir.display()))))
}

/// What the app needs answers.
pub(crate) fn requirements(config: &Config) -> Result<(), Problem> {
    config.app.requires.iter().try_for_each(|requirement| match requirement.split_once(':') {
        Some(("tcp", address)) => reachable(address),
        Some((_, line)) => Program::shell(line).limit(REQUIREMENT).succeed().map(drop).map_err(|problem| {
            Problem::new("requirement-missing", format!("the requirement '{line}' is not met"))
                .detail(problem.to_string())
                .hint(line.to_owned())
        }),
        None => Ok(()),
    })
}

fn reachable(address: &str) -> Result<(), Problem> {
    let missing = |why: String| {
        Problem::new("requirement-missing", format!("{address} does not answer"))
            .detail(why)
            .hint(format!("ss -ltn | grep -F -e {}", quoted(address)))
    };
    let mut addresses = address.to_socket_addrs().map_err(|error| missing(error.to_string()))?;
    let first = addresses.next().ok_or_else(|| missing("the name has no address".into()))?;
    TcpStream::connect_timeout(&first, CONNECT).map(drop).map_err(|error| missing(error.to_string()))
}

/// The configuration names the database that serves, or one that a person has put in its place.
pub(crate) fn database(
    config: &Config,
    place: &Place,
    serving: Option<&Deployment>,
    ledger: Option<&Ledger>,
) -> Result<(), Problem> {
    relocation::check(config, place, serving, ledger).map(drop)
}

/// The public address is ours or free.
pub(crate) fn public_address(site: &Site) -> Result<(), Problem> {
    gateway::check_address(&site.gateway, site.settings().listen)
}
