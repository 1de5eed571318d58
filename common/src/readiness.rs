//! When a started instance is ready, and why it is not.

use std::time::{Duration, Instant};

use crate::http::{self, Answer};
use crate::instance::Instance;
use crate::interrupt;
use crate::report::Problem;
use crate::site::Site;
use crate::supervisor::Condition;

const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks: short, since a deployment waits for it.
const PAUSE: Duration = Duration::from_millis(3);

/// Waits until the health path of an instance answers below 400.
///
/// # Errors
/// `instance-exited`, `instance-unhealthy` (it answers, with an error), `instance-not-ready` (no
/// answer in time), each with the last lines of its log.
pub fn await_ready(site: &Site, instance: &Instance) -> Result<(), Problem> {
    let (begun, limit) = (Instant::now(), site.settings().ready_timeout.0);
    let health = &site.config.app.health;
    let (mut last, mut looked) = (None, None::<Instant>);
    while begun.elapsed() < limit {
        interrupt::check()?;
        let is_due = looked.is_none_or(|at| at.elapsed() >= site.supervisor.pause());
        looked = looked.filter(|_| !is_due).or_else(|| Some(Instant::now()));
        if is_due && let Condition::Exited { ending } = site.supervisor.condition(&site.place, instance.slot)
        {
            let title = format!("the new instance ended at once with {ending}");
            return Err(explain(site, instance, Problem::new("instance-exited", title)));
        }
        match probe(instance, health, limit) {
            Ok(answer) if answer.status < 400 => return Ok(()),
            answer => last = Some(answer),
        }
        std::thread::sleep(PAUSE);
    }
    Err(explain(site, instance, not_ready(&instance.address.curl_hint(health), limit, last)))
}

/// Whether a started instance answers its health path soon.
pub fn answers(site: &Site, instance: &Instance) -> bool {
    let (begun, limit) = (Instant::now(), site.settings().ready_timeout.0.min(PROBE_LIMIT));
    while begun.elapsed() < limit {
        if probe(instance, &site.config.app.health, limit).is_ok_and(|answer| answer.status < 400) {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}

/// Connecting first is cheap as long as nobody listens.
fn probe(instance: &Instance, health: &str, limit: Duration) -> Result<Answer, String> {
    instance.address.connect(PROBE_LIMIT).map_err(|error| error.to_string())?;
    http::get(&instance.address, health, PROBE_LIMIT.min(limit))
}

/// Adds the end of the instance's log, and where to read more.
fn explain(site: &Site, instance: &Instance, problem: Problem) -> Problem {
    let log = site.supervisor.log(&site.place, instance.slot);
    let lines = [problem.detail.clone().unwrap_or_default(), log.tail()];
    let detail = lines.iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join("\n");
    let problem = problem.hint(log.hint());
    if detail.is_empty() { problem } else { problem.detail(detail) }
}

fn not_ready(asked: &str, limit: Duration, last: Option<Result<Answer, String>>) -> Problem {
    let seconds = limit.as_secs_f32();
    match last {
        Some(Ok(answer)) => Problem::new(
            "instance-unhealthy",
            format!("the new instance still answers {} after {seconds:.0} s", answer.status),
        )
        .detail(asked),
        Some(Err(error)) => Problem::new(
            "instance-not-ready",
            format!("the new instance did not answer within {seconds:.0} s"),
        )
        .detail(format!("{asked}: {error}")),
        None => Problem::new("instance-not-ready", "the new instance had no time to answer"),
    }
}
