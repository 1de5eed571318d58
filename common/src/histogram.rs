//! How long things took, counted in steps of an eighth of a power of two: percentiles of any number of
//! them, also merged, are right to within an eighth, in a few hundred bytes.

use std::collections::BTreeMap;
use std::time::Duration;

/// Shorter times, in microseconds, count as this.
const SHORTEST: u64 = 8;

/// Counts of lengths of time.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: BTreeMap<u32, u64>,
}

impl Histogram {
    pub fn add(&mut self, time: Duration) {
        *self.counts.entry(step(time)).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (step, count) in &other.counts {
            *self.counts.entry(*step).or_default() += count;
        }
    }

    /// So many percent were not longer than this; `None` when nothing was counted.
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        let total: u64 = self.counts.values().sum();
        let rank = total.saturating_mul(percent.min(100)).div_ceil(100).max(1);
        let mut passed = 0;
        self.counts.iter().find_map(|(step, count)| {
            passed += count;
            (passed >= rank).then(|| longest(*step))
        })
    }

    /// `STEP:COUNT`, separated by blanks.
    pub fn written(&self) -> String {
        let pairs = self.counts.iter().map(|(step, count)| format!("{step}:{count}"));
        pairs.collect::<Vec<_>>().join(" ")
    }

    /// Reads what [`Histogram::written`] gave; anything else counts for nothing.
    pub fn read(text: &str) -> Self {
        let pair = |word: &str| {
            let (step, count) = word.split_once(':')?;
            Some((step.parse().ok().filter(|step| *step < 64 * 8)?, count.parse().ok()?))
        };
        Self { counts: text.split(' ').filter_map(pair).collect() }
    }
}

fn step(time: Duration) -> u32 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(SHORTEST);
    let octave = micros.ilog2();
    let eighth = u32::try_from(micros >> (octave - 3) & 7).unwrap_or(0);
    octave * 8 + eighth
}

/// The longest time of a step.
fn longest(step: u32) -> Duration {
    let (octave, eighth) = ((step / 8).max(3), u128::from(step % 8));
    let end = (9 + eighth) << (octave - 3);
    Duration::from_micros(u64::try_from(end - 1).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_percentile_is_never_too_short_and_an_eighth_too_long_at_most(mut times in prop::collection::vec(8_u64..10_000_000_000, 1..200), percent in 0_u64..=100) {
            let mut histogram = Histogram::default();
            for time in &times {
                histogram.add(Duration::from_micros(*time));
            }
            times.sort_unstable();
            let rank = (times.len() as u64 * percent).div_ceil(100).max(1);
            let exact = times[usize::try_from(rank).unwrap() - 1];
            let told = u64::try_from(histogram.percentile(percent).unwrap().as_micros()).unwrap();
            prop_assert!(exact <= told && told <= exact + exact / 8, "{exact} {told}");
            prop_assert_eq!(Histogram::read(&histogram.written()), histogram);
        }
    }

    #[test]
    fn extremes_and_foreign_texts_do_no_harm() {
        let mut histogram = Histogram::read("x 1:y 99999:1 :: 24:2");
        histogram.add(Duration::ZERO);
        histogram.add(Duration::MAX);
        assert!(histogram.percentile(100).unwrap() > Duration::from_secs(1 << 40));
        assert_eq!(histogram.percentile(1), Some(Duration::from_micros(8)));
        assert_eq!(Histogram::default().percentile(50), None);
    }
}
