//! `status watch`: looks at the environments again and again, keeps what it sees in the ledger, and
//! tells changes. `probe` looks, `damping` decides what is told, `unit` lets systemd start it.

mod damping;
mod probe;
mod unit;

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use common::cli::{Run, Shared};
use common::config::{Config, Span};
use common::errors;
use common::interrupt;
use common::layout::Place;
use common::ledger::{Counted, Health, Ledger, Message, MessageRow, Probe, Watched};
use common::lock::{self, Lock};
use common::notify;
use common::report::{Problem, now};
use common::secrets::Secrets;
use common::supervisor::Supervisor;
use damping::Change;
use probe::Look;
use serde_json::{Map, json};

const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Time between two looks
    #[arg(long, value_name = "TIME", value_parser = parse_interval, default_value = "15s")]
    interval: Duration,
    /// Look once and end, for a timer
    #[arg(long)]
    once: bool,
    /// Print a unit that lets systemd run the watch, and do nothing else
    #[arg(long, conflicts_with_all = ["once"])]
    unit: bool,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let fits = |time: &Duration| (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(time);
    let time = Span::parse(text).map(|span| span.0).filter(fits);
    time.ok_or_else(|| String::from("expected a length of time from 1s to 1h"))
}

/// Watches until a signal comes, which is a good end.
///
/// # Errors
/// `locked` when another watch runs here; what keeps the first look from being kept.
pub(crate) fn run(
    run: &mut Run,
    shared: &Shared,
    environment: Option<&str>,
    options: &Watch,
) -> Result<(), Problem> {
    let mut config = shared.load()?;
    if options.unit {
        return unit::print(run, &config, environment, options.interval);
    }
    let mut told = BTreeSet::new();
    let mut lock = None;
    loop {
        let begun = Instant::now();
        if lock.is_none() && config.state_dir().is_dir() {
            let path = config.state_dir().join("watch.lock");
            lock = Some(Lock::take_file(&path, "the watch", "status watch", Duration::ZERO)?);
        }
        let looked = look_around(run, &config, environment, options.once);
        if options.once {
            return looked;
        }
        // What goes wrong for a while, such as a full disk, is no reason to look away.
        say_new(run, &mut told, looked.err());
        if !wait(begun, options.interval) {
            return Ok(());
        }
        match shared.load() {
            Ok(changed) => config = changed,
            Err(problem) => say_new(run, &mut told, Some(problem)),
        }
    }
}

/// Waits until the next look; `false` when a signal came, also when there is no time to wait.
fn wait(begun: Instant, interval: Duration) -> bool {
    while interrupt::check().is_ok() {
        let left = interval.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return true;
        }
        sleep(PAUSE.min(left));
    }
    false
}

/// Each trouble once, until a round goes well.
fn say_new(run: &Run, told: &mut BTreeSet<String>, problem: Option<Problem>) {
    match problem {
        None => told.clear(),
        Some(problem) if told.len() < 100 && told.insert(problem.to_string()) => {
            run.warn(&problem.to_string());
        }
        Some(_) => {}
    }
}

fn look_around(run: &mut Run, config: &Config, environment: Option<&str>, once: bool) -> Result<(), Problem> {
    if Ledger::open_read_only(config)?.is_none() {
        return Ok(());
    }
    let ledger = Ledger::open(config)?;
    let mut looked = Ok(());
    for name in crate::environments(config, environment)? {
        if interrupt::check().is_err() {
            break;
        }
        // What is wrong with one is no reason not to look at the others.
        looked = looked.and(look_at(run, config, &ledger, &name));
    }
    let is_due = ledger.undelivered()?.iter().any(MessageRow::is_due);
    // What is not delivered, `status` says. The service of a timer takes a sender along when it ends.
    if !once {
        drop(notify::send_soon(config, &ledger));
    } else if is_due {
        drop(notify::deliver(config, false));
    }
    looked
}

fn look_at(run: &mut Run, config: &Config, ledger: &Ledger, name: &str) -> Result<(), Problem> {
    let Some(look) = probe::look(config, ledger, name)? else { return Ok(()) };
    let watched = keep(run, ledger, name, &look)?;
    run.detail(name, watched);
    keep_errors(config, ledger, name)
}

fn keep_errors(config: &Config, ledger: &Ledger, name: &str) -> Result<(), Problem> {
    let settings = config.environment(name)?;
    let (place, supervisor) = (Place::new(config, name), Supervisor::of(settings));
    // It may be starting another release in a slot, and reads the log to its end before that.
    if lock::holder(&place).is_some() {
        return Ok(());
    }
    errors::keep(ledger, &place, &supervisor, None, || Secrets::of(config, settings))
}

/// Into the ledger, with what is told because of it.
fn keep(run: &Run, ledger: &Ledger, name: &str, look: &Look) -> Result<Watched, Problem> {
    let now_ms = now().as_millisecond();
    let before = ledger.watched(name)?.unwrap_or_else(|| damping::beginning(now_ms));
    let (mut after, change) = damping::advance(&before, &look.finding, now_ms);
    let (requests, errors) = counted_since(before.counted, look.counted);
    after.counted = look.counted.or(before.counted);
    let probe = Probe { health: look.finding.health, latency: look.latency, requests, errors };
    let message = change.map(|change| message(name, &after, &change));
    ledger.record_probe(name, &probe, &after, message.as_ref())?;
    if let Some(message) = message {
        run.note(&format!("{name} {}", message.text));
    }
    Ok(after)
}

/// A gateway that was started anew counts from the beginning.
fn counted_since(before: Option<Counted>, counted: Option<Counted>) -> (u64, u64) {
    let Some(now) = counted else { return (0, 0) };
    match before {
        Some(before) if before.pid == now.pid => {
            (now.requests.saturating_sub(before.requests), now.errors.saturating_sub(before.errors))
        }
        // What an unknown one counted before the first look is nobody's minute.
        None => (0, 0),
        Some(_) => (now.requests, now.errors),
    }
}

fn message(name: &str, watched: &Watched, change: &Change) -> Message {
    let reason = watched.reason.as_deref().map(|reason| format!(": it {reason}")).unwrap_or_default();
    let seconds = change.lasted_ms / 1000;
    let text = match watched.health {
        Health::Up => format!("is up again, after {seconds} s"),
        health => format!("is {}{reason}", health.word()),
    };
    let mut members = Map::new();
    members.insert("reason".into(), json!(watched.reason));
    members.insert("from".into(), json!(change.from));
    members.insert("since_ms".into(), json!(watched.since_ms));
    let event = watched.health.word();
    let id = format!("{name}/{event}/{}", watched.told_ms);
    Message { environment: name.to_owned(), event, id, text, members }
}
