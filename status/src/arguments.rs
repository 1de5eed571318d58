//! The command line of `status`.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};
use common::cli::{Grammar, Shared};
use common::config::Span;
use common::ledger::{Selection, State};
use common::report::now;
use jiff::Timestamp;

use crate::errors::Errors;
use crate::watching::Watch;

/// Say what serves, since when, and whether it is healthy
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// An environment, or `all` (the default)
    #[arg(value_name = "ENV")]
    pub(crate) environment: Option<String>,
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

impl Grammar for Arguments {
    fn shared(&self) -> &Shared {
        &self.shared
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List past deployments, newest first
    History(History),
    /// Tell one deployment: its steps, the end of its log, its report
    Show(Show),
    /// Say how much of the time it was up, and how fast it answered
    Uptime,
    /// List the errors in the logs of the instances, new ones first
    Errors(Errors),
    /// Look again and again, keep what is seen, and tell changes
    Watch(Watch),
    /// Send the notifications that could not be delivered yet
    Deliver(Deliver),
    /// Answer over HTTP how all environments stand, until a signal comes
    Serve(Serve),
}

#[derive(Debug, Args)]
pub(crate) struct Deliver {
    /// Only those whose time to be tried again has come
    #[arg(long, hide = true)]
    pub(crate) due: bool,
}

impl Verb {
    /// The deployment that is asked for.
    pub(crate) fn deployment(&self) -> Option<&str> {
        match self {
            Self::Show(wanted) => Some(&wanted.id),
            _ => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// How many to list
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Only those that stand so: running, serving, verified, superseded, failed, `rolled_back`, broken
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<State>,
    /// Only those that began since then: a length of time such as 7d, a day or a moment in UTC
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<i64>,
}

impl History {
    pub(crate) fn selection(&self) -> Selection {
        Selection { state: self.state, since_ms: self.since, limit: self.limit }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Its id, as the history lists it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// A loopback address, in place of `[status] listen`; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}

/// The state of that word.
///
/// # Errors
/// A sentence that lists the words.
pub(crate) fn state(word: &str) -> Result<State, String> {
    State::from_word(word)
        .ok_or_else(|| format!("no state is called so; there are {}", State::ALL.map(State::word).join(", ")))
}

/// A moment, in milliseconds since 1970: how long ago, a day, or a moment.
///
/// # Errors
/// A sentence that says what can be read.
pub(crate) fn since(text: &str) -> Result<i64, String> {
    let ago = Span::parse(text).and_then(|span| i64::try_from(span.0.as_millis()).ok());
    let day = || format!("{text}T00:00:00Z").parse::<Timestamp>().ok();
    let moment = || text.parse::<Timestamp>().ok().or_else(day).map(Timestamp::as_millisecond);
    ago.map(|ago| now().as_millisecond().saturating_sub(ago))
        .or_else(moment)
        .ok_or_else(|| "no moment; write 7d, 2026-01-31 or 2026-01-31T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_how_long_ago_a_day_or_a_time() {
        assert_eq!(since("2026-01-31").unwrap(), since("2026-01-31T00:00:00Z").unwrap());
        let then = since("7d").unwrap();
        let week = now().as_millisecond() - then;
        assert!((604_800_000..604_810_000).contains(&week), "{week}");
        for bad in ["", "yesterday", "2026-13-01", "7w"] {
            since(bad).unwrap_err();
        }
        assert!(state("lost").unwrap_err().contains("rolled_back"));
    }
}
