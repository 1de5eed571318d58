//! Where a rollback goes: a verified deployment from the ledger, never a directory by its date.

use std::collections::BTreeMap;

use common::config::nearest_first;
use common::git::short;
use common::ledger::Deployment;
use common::report::{Problem, quoted};
use common::site::Site;
use common::{handover, version};

use crate::arguments::Arguments;

/// How many versions are offered when an unknown one was asked for.
const SHOWN: usize = 5;

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Wish {
    Last,
    Commit(String),
    Version(String),
}

impl Wish {
    pub(crate) fn of(arguments: &Arguments) -> Self {
        match (&arguments.to_commit, &arguments.to_version) {
            (Some(commit), _) => Self::Commit(commit.clone()),
            (_, Some(tag)) => Self::Version(tag.clone()),
            _ => Self::Last,
        }
    }
}

/// The deployment that a wish means.
///
/// # Errors
/// `nothing-serves`, `no-target`, `unknown-revision`, `not-verified`.
pub(crate) fn find(site: &Site, wish: &Wish) -> Result<Deployment, Problem> {
    match wish {
        Wish::Last => last(site),
        Wish::Commit(commit) => revision(site, commit),
        Wish::Version(name) => version(site, name),
    }
}

/// The serving deployment, when it runs the target's very release undisturbed.
pub(crate) fn serving(site: &Site, target: &Deployment) -> Result<Option<Deployment>, Problem> {
    let serving = site.ledger.serving(&site.environment)?;
    Ok(serving.filter(|serving| serving.release == target.release && handover::serves(site, serving)))
}

/// What served before a failed deployment, if it was verified, else the newest verified older one.
///
/// # Errors
/// `no-target`: nothing served before.
pub(crate) fn before(site: &Site, failed: &str) -> Result<Deployment, Problem> {
    let Some(row) = site.ledger.deployment(failed)? else { return older(site, i64::MAX) };
    let replaced = match &row.replaced {
        Some(id) => site.ledger.deployment(id)?,
        None => None,
    };
    let origin = match replaced {
        Some(row) => site.ledger.origin(row)?,
        None => None,
    };
    match origin.filter(|row| row.verified_ms.is_some()) {
        Some(origin) => Ok(origin),
        None => older(site, row.number),
    }
}

/// Repeated, it walks back: a rollback stands where the deployment stands that it went back to.
fn last(site: &Site) -> Result<Deployment, Problem> {
    let environment = &site.environment;
    let serving = site.ledger.serving(environment)?.ok_or_else(|| {
        Problem::new("nothing-serves", format!("nothing serves in '{environment}'"))
            .hint(format!("deploy {environment}"))
    })?;
    let number = serving.number;
    older(site, site.ledger.origin(serving)?.map_or(number, |row| row.number))
}

fn older(site: &Site, number: i64) -> Result<Deployment, Problem> {
    site.ledger.verified_before(&site.environment, number)?.ok_or_else(|| {
        Problem::new("no-target", "no older verified deployment is known here")
            .hint(format!("deploy {} --revision REVISION", site.environment))
    })
}

fn revision(site: &Site, name: &str) -> Result<Deployment, Problem> {
    let commit = site.repository()?.commit(name).ok_or_else(|| {
        Problem::new("unknown-revision", format!("there is no revision '{name}'"))
            .hint(format!("status {} history", site.environment))
    })?;
    verified(site, &commit)
}

/// A tag is looked up by its whole name: nothing in it is ever read as an expression of git.
fn version(site: &Site, name: &str) -> Result<Deployment, Problem> {
    let tags = site.repository()?.tags()?;
    match version::tags_meant(name).iter().find_map(|tag| tags.get(tag)) {
        Some(commit) => verified(site, commit),
        None => Err(unknown_version(site, name, &tags)?),
    }
}

fn verified(site: &Site, commit: &str) -> Result<Deployment, Problem> {
    site.ledger.verified_revision(&site.environment, commit)?.ok_or_else(|| {
        Problem::new(
            "not-verified",
            format!("{} was never verified in '{}'", short(commit), site.environment),
        )
        .hint(format!("deploy {} --revision {}", site.environment, short(commit)))
    })
}

/// Names the versions that could have been meant: those verified here, the most alike first, then the
/// newest.
fn unknown_version(site: &Site, name: &str, tags: &BTreeMap<String, String>) -> Result<Problem, Problem> {
    let mut known: Vec<&str> = Vec::new();
    for deployment in site.ledger.verified(&site.environment, u32::MAX)? {
        let here = tags.iter().filter(|(_, commit)| **commit == deployment.revision);
        let new =
            here.map(|(tag, _)| tag.as_str()).filter(|tag| version::is_tag(tag) && !known.contains(tag));
        known.extend(new.collect::<Vec<_>>());
    }
    let near = nearest_first(name, known);
    let (environment, problem) =
        (&site.environment, Problem::new("unknown-revision", format!("there is no version '{name}'")));
    Ok(match near.first() {
        Some(first) => problem
            .detail(format!("verified in '{environment}': {}", near[..near.len().min(SHOWN)].join(", ")))
            .hint(format!("rollback {environment} --to-version {}", quoted(first))),
        None => problem
            .detail(format!("no version tag is known that was verified in '{environment}'"))
            .hint(format!("status {environment} history")),
    })
}
