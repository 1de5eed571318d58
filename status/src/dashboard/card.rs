//! One environment at a glance.

use common::git::short;
use serde_json::Value;

use super::moment::{Moment, length, size};
use crate::serving::{Seen, View};
use crate::words::{restarts, span, standing};

/// What a card says.
pub(super) struct Card {
    pub(super) name: String,
    /// `healthy`, `unhealthy` or `empty`: also the class of its badge.
    pub(super) health: &'static str,
    /// What is wrong.
    pub(super) trouble: Option<String>,
    pub(super) revision: Option<String>,
    pub(super) subject: String,
    pub(super) deployment: Option<String>,
    pub(super) state: String,
    pub(super) since: Option<Moment>,
    pub(super) git: Option<String>,
    /// What is being done to it now.
    pub(super) working: Option<String>,
    /// What a person may have to do.
    pub(super) notes: Vec<String>,
    /// Name and value.
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) rate: Option<Rate>,
}

/// How many of the newest deployments went well.
pub(super) struct Rate {
    pub(super) succeeded: u32,
    pub(super) deployments: u32,
    pub(super) percent: u32,
}

impl Card {
    pub(super) fn of(seen: &Seen, view: View) -> Self {
        let facts = &seen.facts;
        let trouble = facts.trouble();
        let health = match (&facts.deployment, &trouble) {
            (None, _) => "empty",
            (_, None) => "healthy",
            _ => "unhealthy",
        };
        let is_full = view == View::Full;
        Self {
            name: facts.environment.clone(),
            health,
            // What it says may name processes and paths.
            trouble: trouble.filter(|_| is_full && health == "unhealthy"),
            revision: facts.revision.as_deref().map(|revision| short(revision).to_owned()),
            subject: facts.subject.clone().unwrap_or_default(),
            deployment: facts.deployment.clone(),
            state: facts.state.clone().unwrap_or_default(),
            since: facts.serving_since.as_deref().and_then(Moment::read),
            git: facts.git.clone(),
            working: facts.lock.as_ref().map(|lock| working(lock, is_full)),
            notes: if is_full { notes(seen) } else { Vec::new() },
            facts: rows(seen, is_full),
            rate: rate(seen),
        }
    }
}

fn working(lock: &Value, is_full: bool) -> String {
    let what = lock["what"].as_str().filter(|_| is_full).unwrap_or("a deployment");
    let since = lock["since"].as_str().and_then(Moment::read);
    format!("{what} is at work{}", since.map(|since| format!(", begun {}", since.words)).unwrap_or_default())
}

fn notes(seen: &Seen) -> Vec<String> {
    let facts = &seen.facts;
    let forced = facts.forced.iter().map(|forced| {
        format!("forced without evidence by {}: {}", text(&forced["who"]), text(&forced["reason"]))
    });
    let confirm = facts.confirm_by.iter();
    let confirm = confirm.map(|by| format!("goes back at {by} unless: deploy {} confirm", facts.environment));
    let chores = facts.chores.iter().map(|chore| {
        format!(
            "{} of {} is still to be done",
            text(&chore["chore"]).replace('_', " "),
            text(&chore["deployment"])
        )
    });
    forced.chain(confirm).chain(chores).collect()
}

fn rows(seen: &Seen, is_full: bool) -> Vec<(&'static str, String)> {
    let facts = &seen.facts;
    let mut rows = Vec::new();
    let mut add = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
    if is_full {
        add("Author", facts.author.clone());
    }
    add("Instance", facts.instance.as_ref().map(instance));
    add("Identity", facts.identity.clone().filter(|_| is_full));
    add("Database", facts.database.as_ref().map(|database| self::database(database, is_full)));
    add(
        "Verified",
        facts.last_verification.as_ref().map(|found| {
            let word = if found["passed"] == true { "passed" } else { "failed" };
            format!("{word} {}", ago(&found["at"]))
        }),
    );
    add(
        "Backup",
        facts.last_backup.as_ref().map(|found| {
            let word = if found["verified"] == true { "verified" } else { "not verified" };
            format!("{}, {word}", ago(&found["at"]))
        }),
    );
    let medians = &seen.figures;
    add("Deployment takes", taken(medians.deployment_ms));
    add("Verification takes", taken(medians.verification_ms));
    add("Rollback takes", taken(medians.rollback_ms));
    add("Warm", facts.warm.clone().filter(|_| is_full));
    add("Free disk", facts.free_bytes.filter(|_| is_full).map(size));
    rows
}

fn instance(instance: &Value) -> String {
    let uptime = instance["uptime_ms"].as_i64().map(|up| format!(" for {}", span(up / 1000)));
    format!(
        "{} in {}{}{}",
        text(&instance["condition"]),
        text(&instance["slot"]),
        uptime.unwrap_or_default(),
        restarts(instance)
    )
}

fn database(database: &Value, is_full: bool) -> String {
    match database["problem"].as_str() {
        Some(problem) if is_full => problem.to_owned(),
        Some(_) => "unreadable".to_owned(),
        None => standing(database),
    }
}

fn rate(seen: &Seen) -> Option<Rate> {
    let (succeeded, deployments) = (seen.figures.succeeded, seen.figures.deployments);
    (deployments > 0).then(|| Rate { succeeded, deployments, percent: succeeded * 100 / deployments })
}

fn taken(milliseconds: Option<i64>) -> Option<String> {
    milliseconds.map(|taken| length(taken.unsigned_abs()))
}

fn ago(time: &Value) -> String {
    Moment::read(text(time)).map(|moment| moment.words).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
