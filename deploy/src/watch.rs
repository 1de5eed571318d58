//! The watch: after cutover the new instance is looked at for a while, and what a check of one moment
//! cannot see sends it back. Owns what counts as trouble; undoing is the attempt's business.

use std::time::{Duration, Instant};

use common::errors::{Survey, tells_error};
use common::gateway::GatewayStatus;
use common::instance::Instance;
use common::interrupt;
use common::report::Problem;
use common::site::Site;
use common::supervisor::{Condition, Follower, Log};
use serde::Serialize;

use crate::attempt::Attempt;

const PAUSE: Duration = Duration::from_millis(100);
/// Fewer errors may be one visitor's doing.
const FEW_ERRORS: u64 = 5;
/// Of all answers, the share of errors at which the release goes back: one in so many.
const ONE_IN: u64 = 20;
/// Between two looks at which kinds of errors there are.
const SURVEY: Duration = Duration::from_secs(1);

/// What was seen, as `details.deploy.watch` shows it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Seen {
    watched_ms: u64,
    restarts: u64,
    requests: u64,
    server_errors: u64,
    error_lines: u64,
}

impl Seen {
    /// Why the release goes back, as a fragment that follows "the new release ".
    fn trouble(&self) -> Option<String> {
        let Self { restarts, requests, server_errors, error_lines, .. } = *self;
        if restarts > 0 {
            return Some("crashed".into());
        }
        if server_errors >= FEW_ERRORS && server_errors * ONE_IN >= requests {
            return Some(format!("answered {server_errors} of {requests} requests with an error of its own"));
        }
        (error_lines >= FEW_ERRORS).then(|| format!("wrote {error_lines} errors into its log"))
    }
}

/// Watches the instance for as long as the environment says.
///
/// # Errors
/// `watch-failed`, `interrupted`.
pub(crate) fn run(attempt: &mut Attempt<'_>, instance: &Instance) -> Result<(), Problem> {
    let time = attempt.site.settings().watch.0;
    // From here on, before anybody hears of the watch: what is printed then counts.
    let mut errors = ErrorLines::of(&attempt.site.supervisor.log(&attempt.site.place, instance.slot));
    attempt.run.note(&format!("serving; watched for {} s", time.as_secs_f32()));
    let mut seen = Seen::default();
    let result = attempt.step("watch", |site, _| {
        site.gateway.count(true)?;
        let seen = look_until(site, instance, time, &mut seen, &mut errors);
        site.gateway.count(false).and(seen)
    });
    attempt.run.detail("watch", seen);
    result
}

fn look_until(
    site: &Site,
    instance: &Instance,
    time: Duration,
    seen: &mut Seen,
    errors: &mut ErrorLines,
) -> Result<(), Problem> {
    let begun = Instant::now();
    let (mut answers, mut surveyed) = (Answers::begin(site.gateway.status()), begun);
    loop {
        interrupt::check()?;
        let is_last = begun.elapsed() >= time;
        answers.look(site.gateway.status());
        seen.restarts = restarts(&site.supervisor.condition(&site.place, instance.slot));
        (seen.requests, seen.server_errors) = (answers.requests, answers.errors);
        seen.error_lines += errors.look();
        seen.watched_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if site.settings().watch_errors && (is_last || surveyed.elapsed() >= SURVEY) {
            surveyed = Instant::now();
            refuse_new_errors(site, instance, is_last)?;
        }
        if let Some(trouble) = seen.trouble() {
            let title = format!("the new release {trouble} while it was watched");
            return Err(Problem::new("watch-failed", title)
                .detail(errors.last.clone().unwrap_or_default())
                .hint(errors.hint.clone()));
        }
        if is_last {
            return Ok(());
        }
        std::thread::sleep(PAUSE.min(time.saturating_sub(begun.elapsed())));
    }
}

/// Also one of before the cutover, which no check has looked for. In the last look one that is being
/// written is waited for.
fn refuse_new_errors(site: &Site, instance: &Instance, is_last: bool) -> Result<(), Problem> {
    let (ledger, place, supervisor) = (Some(&site.ledger), &site.place, &site.supervisor);
    let survey = if is_last {
        Survey::settled(ledger, place, supervisor, &instance.release)?
    } else {
        Survey::of(ledger, place, supervisor)?
    };
    let Some(error) = survey.new_in(&instance.release).into_iter().next() else { return Ok(()) };
    let title = format!("the new release had an error that no other release had: {}", error.title);
    Err(Problem::new("watch-failed", title)
        .detail(error.excerpt.clone())
        .hint(format!("status {} errors", site.environment)))
}

/// One that outlived its keeper serves on: no fault of the release.
fn restarts(condition: &Condition) -> u64 {
    match condition {
        Condition::Running { starts, .. } => starts.saturating_sub(1),
        Condition::Orphaned { .. } => 0,
        Condition::Exited { .. } | Condition::Stopped => 1,
    }
}

/// What the gateway counted since the watch began, also when it was replaced meanwhile.
#[derive(Debug, Default)]
struct Answers {
    requests: u64,
    errors: u64,
    last: Option<GatewayStatus>,
}

impl Answers {
    fn begin(status: Option<GatewayStatus>) -> Self {
        Self { last: status, ..Self::default() }
    }

    fn look(&mut self, status: Option<GatewayStatus>) {
        let Some(now) = status else { return };
        let errors = |status: &GatewayStatus| Some(status.failed.unwrap_or(0) + status.server_errors?);
        let of = |status: &GatewayStatus| {
            (status.requests.unwrap_or_default(), errors(status).unwrap_or_default())
        };
        let same = self.last.as_ref().filter(|last| last.pid == now.pid);
        let (requests, errors) = same.map(of).unwrap_or_default();
        let (all, failed) = of(&now);
        self.requests += all.saturating_sub(requests);
        self.errors += failed.saturating_sub(errors);
        self.last = Some(now);
    }
}

/// The errors in the instance's log since the watch began.
#[derive(Debug)]
struct ErrorLines {
    log: Follower,
    last: Option<String>,
    /// The command that shows more of them.
    hint: String,
}

impl ErrorLines {
    fn of(log: &Log) -> Self {
        Self { log: log.follow(), last: None, hint: log.hint() }
    }

    /// How many more lines tell of an error.
    fn look(&mut self) -> u64 {
        let text = self.log.look();
        let errors: Vec<&str> = text.lines().filter(|line| tells_error(line)).collect();
        if let Some(last) = errors.last() {
            self.last = Some((*last).to_owned());
        }
        u64::try_from(errors.len()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(requests: u64, server_errors: u64, error_lines: u64) -> bool {
        Seen { requests, server_errors, error_lines, ..Seen::default() }.trouble().is_some()
    }

    fn status(pid: u32, requests: u64, failed: u64, server_errors: u64) -> GatewayStatus {
        serde_json::from_value(serde_json::json!({
            "pid": pid, "version": "0", "listen": "", "active": null, "in_flight": 0,
            "requests": requests, "failed": failed, "server_errors": server_errors, "requests_cut": 0,
        }))
        .unwrap()
    }

    #[test]
    fn a_few_errors_among_many_answers_are_no_trouble() {
        assert!(!trouble(4, 4, 0));
        assert!(trouble(5, 5, 0));
        assert!(trouble(100, 5, 0));
        assert!(!trouble(101, 5, 0));
        assert!(!trouble(0, 0, 4));
        assert!(trouble(0, 0, 5));
    }

    #[test]
    fn any_restart_is_trouble_and_a_lost_keeper_is_none() {
        let running = |starts| Condition::Running { pid: 1, starts, since_ms: 0 };
        assert_eq!((restarts(&running(1)), restarts(&running(3))), (0, 2));
        assert_eq!(restarts(&Condition::Orphaned { pid: 1 }), 0);
        assert_eq!(restarts(&Condition::Stopped), 1);
        assert!(Seen { restarts: 1, ..Seen::default() }.trouble().is_some());
    }

    #[test]
    fn answers_are_counted_since_the_beginning_and_over_a_new_gateway() {
        let mut answers = Answers::begin(Some(status(1, 100, 7, 8)));
        answers.look(Some(status(1, 110, 8, 9)));
        assert_eq!((answers.requests, answers.errors), (10, 2));
        answers.look(None);
        answers.look(Some(status(2, 3, 1, 0)));
        assert_eq!((answers.requests, answers.errors), (13, 3));
    }

    #[test]
    fn lines_that_tell_of_an_error_count_and_the_last_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        std::fs::write(&path, "").unwrap();
        let mut lines = ErrorLines::of(&Log::File(path.clone()));
        std::fs::write(&path, "INFO fine\nERROR one\nCRITICAL two\nINFO fine\n").unwrap();
        assert_eq!((lines.look(), lines.look()), (2, 0));
        assert_eq!(lines.last.as_deref(), Some("CRITICAL two"));
    }
}
