//! The wall clock. It may be set back or forward at any moment, and another host has another one:
//! order and identity never come from it, only ages that people agreed on.
//!
//! In test builds `DEPLOY_CLOCK_MS` moves it by so many milliseconds.

use std::time::Duration;

use jiff::Timestamp;

/// Clocks of two hosts, or one clock before and after it was corrected, may differ by so much.
const TOLERANCE: Duration = Duration::from_secs(300);

/// The present time in whole milliseconds, as reports show it.
pub fn now() -> Timestamp {
    let at = Timestamp::now().as_millisecond().saturating_add(shift_ms());
    Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// How long ago `at_ms` (Unix milliseconds) was; a little ahead counts as just now. `Err` says how
/// far ahead of the clock it is: then one of the two was wrong, and the age is unknown.
pub fn age(at_ms: i64) -> Result<Duration, Duration> {
    let passed = now().as_millisecond().saturating_sub(at_ms);
    let span = Duration::from_millis(passed.unsigned_abs());
    match passed {
        0.. => Ok(span),
        _ if span <= TOLERANCE => Ok(Duration::ZERO),
        _ => Err(span),
    }
}

#[cfg(debug_assertions)]
fn shift_ms() -> i64 {
    std::env::var("DEPLOY_CLOCK_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(not(debug_assertions))]
fn shift_ms() -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_ahead_has_no_age() {
        let now = now().as_millisecond();
        assert!(age(now - 60_000).is_ok_and(|age| age >= Duration::from_secs(60)));
        assert_eq!(age(now + 60_000), Ok(Duration::ZERO));
        assert!(age(now + 3_600_000).is_err_and(|ahead| ahead > Duration::from_secs(3590)));
        assert!(age(i64::MIN).is_ok() && age(i64::MAX).is_err());
    }
}
