//! How an environment was found over the last week, hour by hour: a strip for whether it was up, and a
//! line for how fast it answered.

use std::time::Duration;

use common::ledger::{Ledger, Uptime as Looks};
use common::report::{Problem, now};

use super::moment::{Moment, length};

const HOUR_MS: i64 = 3_600_000;
const HOURS: i64 = 7 * 24;
/// The picture's units: one hour is so wide.
const STEP: i64 = 4;
const HEIGHT: u64 = 80;

/// A week in a picture.
pub(super) struct Uptime {
    pub(super) width: i64,
    pub(super) height: u64,
    pub(super) hours: Vec<Hour>,
    /// `x,y` pairs of the line; empty when nothing answered.
    pub(super) line: String,
    /// Of all looks, in percent.
    pub(super) percent: String,
    pub(super) looks: u64,
    pub(super) slowest: Option<String>,
}

/// One hour.
pub(super) struct Hour {
    pub(super) x: i64,
    /// `up`, `partly` or `down`: also its class.
    pub(super) state: &'static str,
    pub(super) title: String,
}

impl Uptime {
    /// Nothing where nobody has watched.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(super) fn of(ledger: &Ledger, environment: &str) -> Result<Option<Self>, Problem> {
        let begin = now().as_millisecond() / HOUR_MS * HOUR_MS - (HOURS - 1) * HOUR_MS;
        let rows = ledger.uptime_by_hour(environment, begin - 1)?;
        Ok(Self::draw(&rows, begin))
    }

    fn draw(rows: &[(i64, Looks)], begin: i64) -> Option<Self> {
        let looks: u64 = rows.iter().map(|(_, row)| row.probes).sum();
        if looks == 0 {
            return None;
        }
        let answered: u64 = rows.iter().map(|(_, row)| row.up + row.degraded).sum();
        let time = |(at, row): &(i64, Looks)| Some((place(*at, begin), row.latency.percentile(95)?));
        let times: Vec<(i64, Duration)> = rows.iter().filter_map(time).collect();
        let slowest = times.iter().map(|(_, time)| *time).max();
        let point = |(x, time): &(i64, Duration)| {
            let scale = slowest.unwrap_or_default().as_micros().max(1);
            let part = u64::try_from(time.as_micros() * u128::from(HEIGHT - 4) / scale).unwrap_or(HEIGHT);
            format!("{},{}", x + STEP / 2, HEIGHT - part)
        };
        let hundredths = answered * 10_000 / looks;
        let looked = rows.iter().filter(|(_, row)| row.probes > 0);
        Some(Self {
            width: HOURS * STEP,
            height: HEIGHT,
            hours: looked.map(|(at, row)| hour(*at, row, begin)).collect(),
            line: times.iter().map(point).collect::<Vec<_>>().join(" "),
            percent: format!("{}.{:02}", hundredths / 100, hundredths % 100),
            looks,
            slowest: slowest.map(|time| length(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))),
        })
    }
}

fn hour(at_ms: i64, row: &Looks, begin: i64) -> Hour {
    let answered = row.up + row.degraded;
    let state = match answered {
        answered if answered == row.probes && row.degraded == 0 => "up",
        0 => "down",
        _ => "partly",
    };
    let at = Moment::of_ms(at_ms).map(|at| at.exact).unwrap_or_default();
    Hour {
        x: place(at_ms, begin),
        state,
        title: format!("{at}: {answered} of {} looks answered", row.probes),
    }
}

fn place(at_ms: i64, begin: i64) -> i64 {
    (at_ms - begin) / HOUR_MS * STEP
}

#[cfg(test)]
mod tests {
    use common::histogram::Histogram;

    use super::*;

    #[test]
    fn hours_are_told_apart_and_an_hour_without_looks_is_left_out() {
        let row = |hour: i64, probes, up, degraded, latency: &str| {
            let latency = Histogram::read(latency);
            (hour * HOUR_MS, Looks { probes, up, degraded, latency, ..Looks::default() })
        };
        let rows = [
            row(0, 10, 10, 0, "104:9 120:1"),
            row(1, 10, 0, 0, ""),
            row(3, 10, 5, 5, "104:10"),
            row(4, 0, 0, 0, ""),
        ];
        let drawn = Uptime::draw(&rows, 0).unwrap();
        let states: Vec<_> = drawn.hours.iter().map(|hour| (hour.x, hour.state)).collect();
        assert_eq!(states, [(0, "up"), (STEP, "down"), (3 * STEP, "partly")]);
        assert_eq!((drawn.percent.as_str(), drawn.looks), ("66.66", 30));
        assert_eq!(drawn.line.split(' ').count(), 2);
        assert!(Uptime::draw(&rows[3..], 0).is_none());
    }
}
