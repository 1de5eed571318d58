//! The same facts, said to people: a few lines an environment.

use common::git::short;
use common::ledger::Deployment;
use common::report::now;
use jiff::Timestamp;
use serde_json::Value;

use crate::facts::Facts;

/// A few lines about one environment.
pub(crate) fn of_environment(name: &str, facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(revision) = &facts.revision else {
        lines.push(format!("{name}: nothing serves yet"));
        return lines;
    };
    let health = match facts.trouble() {
        None => String::from("healthy"),
        Some(trouble) => trouble,
    };
    lines.push(format!("{name}: {} {}, {health}", short(revision), text(facts.subject.as_deref())));
    let since = facts.serving_since.as_deref().and_then(age).unwrap_or_default();
    let git = facts.git.as_deref().map(|git| format!(", {git}")).unwrap_or_default();
    lines.push(format!("  {} for {since}{git}", text(facts.state.as_deref())));
    if let Some(Value::Object(instance)) = &facts.instance {
        let word =
            |key: &str| instance.get(key).map(|value| value.to_string().replace('"', "")).unwrap_or_default();
        let identity = text(facts.identity.as_deref());
        lines.push(format!(
            "  {} {} in {}, identity {identity}",
            word("condition"),
            word("address"),
            word("slot")
        ));
    }
    lines.extend(facts.forced.as_ref().map(|forced| {
        let (who, at, reason) = (bare(&forced["who"]), bare(&forced["at"]), bare(&forced["reason"]));
        format!("  forced without evidence by {who} at {at}: {reason}")
    }));
    lines.extend(
        facts.confirm_by.as_ref().map(|by| format!("  goes back at {by} unless: deploy {name} confirm")),
    );
    lines.extend(
        facts.warm.as_ref().map(|warm| format!("  warm: {warm}, rollback {name} goes there at once")),
    );
    lines.extend(
        facts
            .lock
            .as_ref()
            .map(|lock| format!("  locked: {} since {}", bare(&lock["what"]), bare(&lock["since"]))),
    );
    for chore in &facts.chores {
        let problem = bare(&chore["problem"]).lines().next().unwrap_or_default();
        lines.push(format!(
            "  {} of {} is still to be done, deploy {name} tries again: {problem}",
            bare(&chore["chore"]).replace('_', " "),
            bare(&chore["deployment"])
        ));
    }
    lines.extend(facts.uptime.as_ref().map(|figures| format!("  {figures}")));
    lines.extend(facts.notifications.iter().map(|found| format!("  {found}")));
    lines
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

fn text(value: Option<&str>) -> &str {
    value.unwrap_or_default()
}

fn bare(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// How long ago an RFC 3339 time was, in its largest unit; a clock that was set back cannot say.
fn age(time: &str) -> Option<String> {
    let seconds = now().as_second() - time.parse::<Timestamp>().ok()?.as_second();
    Some(match seconds {
        ..0 => format!("an unknown time (the clock was set back; it began at {time})"),
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    })
}
