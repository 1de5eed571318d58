//! When a change is told: not before it was seen in several looks in a row, and not too soon after the
//! change before. What flaps is told less and less often, and what is told is how it stands then.

use common::ledger::{Health, Watched};

/// So many looks in a row.
const CONFIRMED: u32 = 3;
/// After the first change that is told; doubled with each further one, up to the last.
const FIRST_PAUSE_MS: i64 = 60_000;
const LAST_PAUSE_MS: i64 = 3_600_000;
/// After so long without a change, the next one is told at once again.
const CALM_MS: i64 = 2 * LAST_PAUSE_MS;

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) health: Health,
    /// Why it is not up, as the end of a sentence about the environment.
    pub(crate) reason: Option<String>,
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) from: Health,
    /// How long it was so, in milliseconds.
    pub(crate) lasted_ms: i64,
}

/// Before the first look: up, until it is seen otherwise.
pub(crate) fn beginning(now_ms: i64) -> Watched {
    Watched {
        health: Health::Up,
        since_ms: now_ms,
        reason: None,
        seen: Health::Up,
        times: 0,
        seen_since_ms: now_ms,
        probed_ms: now_ms,
        told_ms: 0,
        changes: 0,
        counted: None,
    }
}

/// What is known after a look at `now_ms`, and what is to be told because of it.
pub(crate) fn advance(before: &Watched, found: &Finding, now_ms: i64) -> (Watched, Option<Change>) {
    let mut after = Watched { probed_ms: now_ms, ..before.clone() };
    if found.health == before.seen {
        after.times = before.times.saturating_add(1);
    } else {
        (after.seen, after.times, after.seen_since_ms) = (found.health, 1, now_ms);
    }
    // A clock that was set back knows nothing of pauses.
    let since_told = Some(now_ms - before.told_ms).filter(|passed| *passed >= 0);
    if since_told.is_none_or(|passed| passed >= CALM_MS) {
        after.changes = 0;
    }
    if found.health == before.health {
        after.reason.clone_from(&found.reason);
        return (after, None);
    }
    if after.times < CONFIRMED || since_told.is_some_and(|passed| passed < pause_ms(after.changes)) {
        return (after, None);
    }
    let change = Change { from: before.health, lasted_ms: (after.seen_since_ms - before.since_ms).max(0) };
    after.health = found.health;
    after.since_ms = after.seen_since_ms;
    after.reason.clone_from(&found.reason);
    after.told_ms = now_ms;
    after.changes = after.changes.saturating_add(1);
    (after, Some(change))
}

fn pause_ms(changes: u32) -> i64 {
    match changes {
        0 => 0,
        _ => FIRST_PAUSE_MS.saturating_mul(1 << (changes - 1).min(10)).min(LAST_PAUSE_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY_MS: i64 = 15_000;
    /// Of an ordinary clock.
    const BEGUN_MS: i64 = 1_700_000_000_000;

    /// Looks every 15 s, by one letter each; gives when what was told, in looks.
    fn told(looks: impl Iterator<Item = char>) -> Vec<(i64, Health)> {
        let mut watched = beginning(BEGUN_MS);
        let mut told = Vec::new();
        for (look, letter) in (0..).zip(looks) {
            let health = match letter {
                'u' => Health::Up,
                'g' => Health::Degraded,
                _ => Health::Down,
            };
            let found = Finding { health, reason: None };
            let (after, change) = advance(&watched, &found, BEGUN_MS + look * EVERY_MS);
            told.extend(change.map(|_| (look, after.health)));
            watched = after;
        }
        told
    }

    #[test]
    fn a_change_is_told_once_and_a_moment_never() {
        assert_eq!(told("uuuduudduuu".chars()), []);
        assert_eq!(told("uudddddddddddd".chars()), [(4, Health::Down)]);
        assert_eq!(told("dddduuuuuuuu".chars()), [(2, Health::Down), (6, Health::Up)]);
        assert_eq!(told("uuugggddd".chars()), [(5, Health::Degraded)]);
    }

    #[test]
    fn what_flaps_for_a_day_is_told_a_few_times_and_then_as_it_stands() {
        let day = 24 * 240;
        let flapping = (0..day).map(|look| if look / 5 % 2 == 0 { 'd' } else { 'u' });
        let heard = told(flapping.chain("u".repeat(300).chars()));
        assert!((8..40).contains(&heard.len()), "{}", heard.len());
        assert_eq!(heard.last().unwrap().1, Health::Up);
        let pauses: Vec<i64> = heard.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(pauses[0] < 20 && *pauses.last().unwrap() >= 240, "{pauses:?}");
    }

    #[test]
    fn after_a_calm_time_the_next_change_is_told_at_once() {
        let looks = "ddduuu".repeat(4) + &"u".repeat(600) + "ddd";
        let heard = told(looks.chars());
        assert_eq!(*heard.last().unwrap(), (626, Health::Down), "{heard:?}");
    }

    #[test]
    fn a_clock_that_was_set_back_silences_nothing() {
        let (before, _) = advance(
            &Watched { times: 2, seen: Health::Down, told_ms: BEGUN_MS, changes: 9, ..beginning(BEGUN_MS) },
            &Finding { health: Health::Down, reason: Some("is away".into()) },
            BEGUN_MS - 1,
        );
        assert_eq!((before.health, before.reason.as_deref()), (Health::Down, Some("is away")));
    }
}
