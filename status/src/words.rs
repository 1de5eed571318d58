//! The same facts, said to people: a few lines an environment.

use common::git::short;
use common::ledger::{Deployment, Figures};
use common::report::{Status, now};
use jiff::Timestamp;
use serde_json::Value;

use crate::facts::{Facts, Shown, TimedStep};

/// A few lines about one environment.
pub(crate) fn of_environment(name: &str, facts: &Facts) -> Vec<String> {
    let Some(revision) = &facts.revision else {
        return vec![format!("{name}: nothing serves yet")];
    };
    let health = facts.trouble().unwrap_or_else(|| String::from("healthy"));
    let mut lines = vec![format!("{name}: {} {}, {health}", short(revision), text(facts.subject.as_deref()))];
    lines.extend(of_release(facts));
    lines.extend(facts.instance.as_ref().map(|instance| of_instance(instance, facts)));
    lines.extend(facts.database.as_ref().map(of_database));
    lines.extend(of_proofs(facts));
    lines.extend(of_attention(name, facts));
    lines.extend(facts.chores.iter().map(|chore| of_chore(name, chore)));
    lines
}

fn of_release(facts: &Facts) -> Vec<String> {
    let since = facts.serving_since.as_deref().and_then(age).unwrap_or_default();
    let git = facts.git.as_deref().map(|git| format!(", {git}")).unwrap_or_default();
    let mut lines = vec![format!("  {} for {since}{git}", text(facts.state.as_deref()))];
    lines.extend(facts.author.as_ref().map(|author| {
        let written = facts.written_at.as_deref().and_then(age).map(|age| format!(", {age} ago"));
        format!("  by {author}{}", written.unwrap_or_default())
    }));
    lines
}

fn of_instance(instance: &Value, facts: &Facts) -> String {
    let word = |key: &str| bare(&instance[key]);
    let uptime = instance["uptime_ms"].as_i64().map(|up| format!(", up {}", span(up / 1000)));
    format!(
        "  {} {} in {}, identity {}{}{}",
        word("condition"),
        word("address"),
        word("slot"),
        text(facts.identity.as_deref()),
        uptime.unwrap_or_default(),
        restarts(instance)
    )
}

/// How often an instance was started again, behind what else is said of it; nothing when never.
pub(crate) fn restarts(instance: &Value) -> String {
    let count = instance["restarts"].as_i64().filter(|count| *count > 0);
    count.map(|count| format!(", started again {count} times")).unwrap_or_default()
}

fn of_database(database: &Value) -> String {
    match database["problem"].as_str() {
        Some(problem) => format!("  database: {problem}"),
        None => format!("  database at {}", standing(database)),
    }
}

/// `migration 3, current, 1 pending`.
pub(crate) fn standing(database: &Value) -> String {
    let version =
        database["version"].as_i64().map_or_else(|| "none".to_owned(), |version| version.to_string());
    let pending = database["pending"].as_i64().filter(|count| *count > 0);
    format!(
        "migration {version}, {}{}",
        bare(&database["migrations"]),
        pending.map(|count| format!(", {count} pending")).unwrap_or_default()
    )
}

fn of_proofs(facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(facts.last_verification.as_ref().map(|found| {
        let word = if found["passed"] == true { "passed" } else { "failed" };
        format!("  last verification {word} {} ago", age(bare(&found["at"])).unwrap_or_default())
    }));
    lines.extend(facts.last_backup.as_ref().map(|found| {
        let proof = if found["verified"] == true { "verified" } else { "not verified" };
        format!("  last backup {} ago, {proof}", age(bare(&found["at"])).unwrap_or_default())
    }));
    lines.extend(facts.uptime.as_ref().map(|figures| format!("  {figures}")));
    lines
}

/// What a person may have to do something about.
fn of_attention(name: &str, facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(facts.forced.as_ref().map(|forced| {
        let (who, at, reason) = (bare(&forced["who"]), bare(&forced["at"]), bare(&forced["reason"]));
        format!("  forced without evidence by {who} at {at}: {reason}")
    }));
    let confirm = facts.confirm_by.as_ref();
    lines.extend(confirm.map(|by| format!("  goes back at {by} unless: deploy {name} confirm")));
    let warm = facts.warm.as_ref();
    lines.extend(warm.map(|warm| format!("  warm: {warm}, rollback {name} goes there at once")));
    let lock = facts.lock.as_ref();
    lines
        .extend(lock.map(|lock| format!("  locked: {} since {}", bare(&lock["what"]), bare(&lock["since"]))));
    lines.extend(facts.notifications.iter().map(|found| format!("  {found}")));
    lines
}

fn of_chore(name: &str, chore: &Value) -> String {
    let problem = bare(&chore["problem"]).lines().next().unwrap_or_default();
    format!(
        "  {} of {} is still to be done, deploy {name} tries again: {problem}",
        bare(&chore["chore"]).replace('_', " "),
        bare(&chore["deployment"])
    )
}

/// One line of the history.
pub(crate) fn of_event(row: &Deployment) -> String {
    let began = Timestamp::from_millisecond(row.started_ms).map(|at| at.to_string()).unwrap_or_default();
    let took =
        row.duration_ms().map_or_else(|| String::from("unfinished"), |duration| format!("{duration} ms"));
    let kind = row.kind.word();
    format!(
        "{began}  {:<4} {kind:<8} {} {:<11} {took:>9}  {}",
        row.environment,
        short(&row.revision),
        row.state.word(),
        row.id
    )
}

/// How deployments go, in a line.
pub(crate) fn of_figures(name: &str, figures: &Figures) -> Option<String> {
    let rate = figures.success_rate?;
    let median = |what: &str, found: Option<i64>| {
        found.map(|found| format!(", {what} {found} ms")).unwrap_or_default()
    };
    Some(format!(
        "{name}: {:.0} % of the last {} deployments succeeded; medians: deployment {} ms{}{}",
        rate * 100.0,
        figures.deployments,
        figures.deployment_ms.unwrap_or_default(),
        median("verification", figures.verification_ms),
        median("rollback", figures.rollback_ms)
    ))
}

/// A deployment, step by step.
pub(crate) fn of_shown(shown: &Shown) -> Vec<String> {
    let row = &shown.row;
    let mut lines = vec![
        of_event(row),
        format!(
            "  by {}{}",
            row.who,
            row.branch.as_ref().map(|name| format!(", branch {name}")).unwrap_or_default()
        ),
    ];
    lines.extend(row.forced_reason.as_ref().map(|reason| format!("  forced without evidence: {reason}")));
    lines.extend(shown.steps.iter().map(of_step));
    let log = shown.log.iter().flat_map(|log| log.lines());
    lines.extend(log.map(|line| format!("  | {line}")));
    lines.extend(row.log_file.as_ref().map(|path| format!("  log: {path}")));
    lines
}

fn of_step(timed: &TimedStep) -> String {
    let step = &timed.step;
    let (mark, why) = match (step.status, &step.problem) {
        (Status::Passed, _) => ("ok", String::new()),
        (Status::Failed, problem) => ("FAILED", because(problem.as_deref())),
        (Status::Skipped, problem) => ("skipped", because(problem.as_deref())),
    };
    format!(
        "  +{:>7} ms {mark:<8}{:>7} ms  {} {}{why}",
        timed.after_ms, step.duration_ms, step.tool, step.name
    )
}

fn because(problem: Option<&common::report::Problem>) -> String {
    problem.map(|problem| format!(": {}", problem.title)).unwrap_or_default()
}

fn text(value: Option<&str>) -> &str {
    value.unwrap_or_default()
}

fn bare(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// How long ago an RFC 3339 time was, in its largest unit; a clock that was set back cannot say.
pub(crate) fn age(time: &str) -> Option<String> {
    let seconds = now().as_second() - time.parse::<Timestamp>().ok()?.as_second();
    Some(match seconds {
        ..0 => format!("an unknown time (the clock was set back; it began at {time})"),
        seconds => span(seconds),
    })
}

/// Seconds in their largest unit.
pub(crate) fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
