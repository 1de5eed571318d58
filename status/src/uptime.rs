//! `status ENV uptime`: how much of the time an environment was up, and how fast it answered, from
//! what `status watch` has kept.

use std::fmt;
use std::time::Duration;

use common::cli::Run;
use common::ledger::{Ledger, Uptime};
use common::report::Problem;
use serde::Serialize;

const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
const WINDOWS: [Duration; 4] =
    [HOUR, DAY, Duration::from_secs(7 * 24 * 3600), Duration::from_secs(90 * 24 * 3600)];

/// All looks in a stretch of time that ends now.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    hours: u64,
    /// Of that time, how much was watched.
    watched_percent: f64,
    probes: u64,
    /// Of the looks, how many found that it answers, and how many of those that something is wrong.
    up_percent: f64,
    degraded_percent: f64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    /// What the gateway answered, and what of that failed.
    requests: u64,
    errors: u64,
    error_percent: Option<f64>,
}

impl Figures {
    fn of(uptime: &Uptime, window: Duration) -> Self {
        let quantile =
            |percent| uptime.latency.percentile(percent).map(|time| round(time.as_secs_f64() * 1000.0));
        let has_requests = uptime.requests > 0;
        Self {
            hours: window.as_secs() / 3600,
            watched_percent: percent(uptime.minutes.min(window.as_secs() / 60), window.as_secs() / 60),
            probes: uptime.probes,
            up_percent: percent(uptime.up + uptime.degraded, uptime.probes),
            degraded_percent: percent(uptime.degraded, uptime.probes),
            p50_ms: quantile(50),
            p95_ms: quantile(95),
            p99_ms: quantile(99),
            requests: uptime.requests,
            errors: uptime.errors,
            error_percent: has_requests.then(|| percent(uptime.errors, uptime.requests)),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "up {} % of the last {} h", self.up_percent, self.hours)?;
        if let Some(p95) = self.p95_ms {
            write!(f, ", p95 {p95} ms")?;
        }
        if self.requests > 0 {
            write!(f, ", {} of {} requests failed", self.errors, self.requests)?;
        }
        if self.watched_percent < 99.0 {
            write!(f, " (watched for {} % of that time)", self.watched_percent)?;
        }
        Ok(())
    }
}

/// Of the last `window`; `None` when nobody has looked.
///
/// # Errors
/// `ledger-unreadable`.
pub(crate) fn figures(ledger: &Ledger, name: &str, window: Duration) -> Result<Option<Figures>, Problem> {
    Ok(ledger.uptime(name, window)?.map(|uptime| Figures::of(&uptime, window)))
}

/// All windows of all these environments.
///
/// # Errors
/// `ledger-unreadable`.
pub(crate) fn tell(run: &mut Run, ledger: Option<&Ledger>, names: &[String]) -> Result<(), Problem> {
    for name in names {
        let mut known = Vec::new();
        for window in WINDOWS {
            known.extend(ledger.map(|ledger| figures(ledger, name, window)).transpose()?.flatten());
        }
        if known.is_empty() {
            run.tell(format!("{name}: nobody has watched it; status watch does"));
        }
        for figures in &known {
            run.tell(format!("{name}: {figures}"));
        }
        run.detail(name, known);
    }
    Ok(())
}

/// Cut, not rounded, to two digits: 100 means all.
fn percent(part: u64, whole: u64) -> f64 {
    let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    f64::from(u32::try_from(hundredths).unwrap_or(u32::MAX)) / 100.0
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
