//! How long to wait before a child is started again.
//! Pure: it is told how long the child ran and answers with a delay.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// A child that ran this long gets its first restart without delay.
const HONEST_RUN: Duration = Duration::from_secs(2);
/// A child that ran this long is forgiven everything before.
const HEALTHY_RUN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    restarted: bool,
    next: Option<Duration>,
}

impl Backoff {
    /// The delay before the next start of a child that has just ended after `ran`.
    pub(crate) fn delay_after(&mut self, ran: Duration) -> Duration {
        if ran >= HEALTHY_RUN {
            *self = Self::default();
        }
        let first_restart = !std::mem::replace(&mut self.restarted, true);
        if first_restart && ran >= HONEST_RUN {
            return Duration::ZERO;
        }
        let delay = self.next.unwrap_or(FIRST);
        self.next = Some((delay * 2).min(LONGEST));
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(runs_ms: &[u64]) -> Vec<u128> {
        let mut backoff = Backoff::default();
        runs_ms.iter().map(|&ran| backoff.delay_after(Duration::from_millis(ran)).as_millis()).collect()
    }

    #[test]
    fn a_child_that_dies_at_once_waits_longer_each_time() {
        assert_eq!(delays(&[0; 8]), [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn the_first_restart_after_an_honest_run_is_immediate() {
        assert_eq!(delays(&[2000, 2000, 2000]), [0, 100, 200]);
    }

    #[test]
    fn a_healthy_run_forgives() {
        assert_eq!(delays(&[0, 0, 10_000, 0]), [100, 200, 0, 100]);
    }
}
