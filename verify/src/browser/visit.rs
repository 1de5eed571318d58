//! The visit of one page in a tab: how far it is, and until when. Whatever it is at, it lasts no
//! longer than the whole run.

use std::time::{Duration, Instant};

use reqwest::Url;

/// From a clean start to the picture of a page.
pub(super) struct Visit {
    /// Number of the page.
    pub(super) page: usize,
    pub(super) url: Url,
    pub(super) phase: Phase,
    /// Commands that are not answered yet.
    pub(super) sent: Vec<u64>,
    /// The command that sets the page's cookies in a new window.
    pub(super) cookies: Option<u64>,
    /// The first phase, and the navigation once there is one.
    pub(super) begun: Instant,
    /// Of the phase, and of all of them from the navigation on.
    pub(super) until: Instant,
    /// Of the browser before the page is asked for, and of the page from then on.
    limit: Duration,
    /// Of the whole run.
    end: Instant,
}

/// How far a visit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The page before is stopped and left, and what it has kept is taken away.
    Stopping,
    Leaving,
    Cleaning,
    /// Or a context is made, a window in it, a session for that, and its settings.
    Isolating,
    Creating,
    Attaching,
    Setting,
    Opening,
    Loading,
    /// Loaded, and watched until then.
    Settling(Instant),
    Picturing,
}

impl Visit {
    /// Of the page of that number; it may take `limit` once it is asked for, and nothing goes on
    /// after `end`.
    pub(super) fn new((page, url): (usize, &Url), limit: Duration, end: Instant) -> Self {
        let begun = Instant::now();
        let (phase, sent) = (Phase::Stopping, Vec::new());
        Self { page, url: url.clone(), phase, sent, cookies: None, begun, until: end, limit, end }
    }

    /// Goes on to a phase that may take `limit`, or as long as any other.
    pub(super) fn enter(&mut self, phase: Phase, limit: Option<Duration>) {
        self.phase = phase;
        self.until = self.end.min(Instant::now() + limit.unwrap_or(self.limit));
    }

    /// Goes on to the page itself.
    pub(super) fn navigate(&mut self) {
        self.begun = Instant::now();
        self.enter(Phase::Opening, None);
    }

    pub(super) fn is_before_page(&self) -> bool {
        !matches!(self.phase, Phase::Opening | Phase::Loading | Phase::Settling(_) | Phase::Picturing)
    }

    /// The run is over before the page was asked for.
    pub(super) fn is_too_late(&self) -> bool {
        self.is_before_page() && Instant::now() >= self.end
    }

    /// How long the page itself may take; zero when it was not asked for.
    pub(super) fn granted(&self) -> Duration {
        if self.is_before_page() { Duration::ZERO } else { self.until.saturating_duration_since(self.begun) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn visit(left: Duration) -> Visit {
        let url = "http://127.0.0.1/".parse().unwrap();
        Visit::new((0, &url), LIMIT, Instant::now() + left)
    }

    #[test]
    fn no_phase_lasts_longer_than_the_run() {
        for phase in [Phase::Stopping, Phase::Cleaning, Phase::Isolating] {
            let mut visit = visit(LIMIT / 2);
            visit.enter(phase, None);
            assert_eq!(visit.until, visit.end);
            visit.enter(phase, Some(LIMIT / 10));
            assert!(visit.until < visit.end);
            assert_eq!(visit.granted(), Duration::ZERO);
            visit.navigate();
            assert_eq!(visit.until, visit.end);
            assert!(visit.granted() <= LIMIT / 2 && !visit.is_too_late());
        }
    }

    #[test]
    fn a_page_has_its_whole_limit_whatever_was_before_it() {
        let mut visit = visit(LIMIT * 2);
        visit.enter(Phase::Leaving, Some(LIMIT / 10));
        visit.navigate();
        assert!(visit.granted() >= LIMIT && visit.until < visit.end);
    }

    #[test]
    fn only_a_page_that_was_not_asked_for_is_too_late() {
        let mut visit = visit(Duration::ZERO);
        visit.enter(Phase::Isolating, None);
        assert!(visit.is_too_late());
        visit.navigate();
        assert!(!visit.is_too_late());
    }
}
