//! What the clients of a load saw, and the two judgements on it: was anything lost, was anything stale.
//! It opens no connection.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::Kind;

const SHOWN: usize = 10;

/// A request that did not get its whole answer, or got one other than 2xx.
#[derive(Clone, Debug)]
pub struct Loss {
    pub kind: Kind,
    /// When the client knew.
    pub at: Instant,
    pub what: String,
    /// A reused connection was closed or reset before a byte of the answer.
    pub is_race: bool,
}

/// A good answer that named the release behind it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub kind: Kind,
    /// When connecting began.
    pub opened_at: Instant,
    pub asked_at: Instant,
    /// When its last byte was there.
    pub answered_at: Instant,
    /// The header `X-Revision`; without it the trimmed body.
    pub marker: String,
}

/// The end of a command that made the release of this marker serve.
#[derive(Clone, Debug)]
pub struct Cutover {
    pub marker: String,
    pub ended_at: Instant,
}

impl Cutover {
    /// To be called when the command has returned.
    pub fn now(marker: impl Into<String>) -> Self {
        Self { marker: marker.into(), ended_at: Instant::now() }
    }
}

/// An answer of a release that should not have answered any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    pub kind: Kind,
    pub marker: String,
    /// The marker that was due.
    pub due: String,
    /// From the moment on which it was due to the opening of the connection.
    pub late: Duration,
}

/// Everything that one load saw.
#[derive(Clone, Debug)]
pub struct Tally {
    pub started_at: Instant,
    /// Requests that got their whole 2xx answer, for each kind that had clients.
    pub ok: BTreeMap<Kind, usize>,
    /// By time.
    pub lost: Vec<Loss>,
    /// By the time of the answer. Uploads and writes are here only if the answer carried `X-Revision`.
    pub answers: Vec<Answer>,
    /// The numbers of the writes that were answered with 2xx.
    pub acknowledged: BTreeSet<i64>,
}

impl Tally {
    pub(super) fn new(started_at: Instant) -> Self {
        let (ok, acknowledged) = (BTreeMap::new(), BTreeSet::new());
        Self { started_at, ok, lost: Vec::new(), answers: Vec::new(), acknowledged }
    }

    pub(super) fn add(
        &mut self,
        kind: Kind,
        ok: usize,
        lost: Vec<Loss>,
        answers: Vec<Answer>,
        written: Vec<i64>,
    ) {
        *self.ok.entry(kind).or_default() += ok;
        self.lost.extend(lost);
        self.lost.sort_by_key(|loss| loss.at);
        self.answers.extend(answers);
        self.answers.sort_by_key(|answer| answer.answered_at);
        self.acknowledged.extend(written);
    }

    /// Panics unless every request of every client got its answer, and every kind got at least one.
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        assert!(self.lost.is_empty(), "{}", self.describe_losses());
        for (kind, ok) in &self.ok {
            assert!(*ok > 0, "no {kind:?} request ended, so nothing is known about them");
        }
    }

    /// The same, apart from races for a reused connection; gives their number.
    ///
    /// # Panics
    /// When anything else was lost.
    #[track_caller]
    pub fn assert_only_races_lost(&self) -> usize {
        let lost = self.lost.iter().filter(|loss| !loss.is_race).count();
        assert_eq!(lost, 0, "{}", self.describe_losses());
        self.lost.len()
    }

    fn describe_losses(&self) -> String {
        let all = self.lost.len() + self.ok.values().sum::<usize>();
        let mut text = format!("{} of {all} requests were lost; answered: {:?}", self.lost.len(), self.ok);
        for loss in self.lost.iter().take(SHOWN) {
            let at = loss.at.saturating_duration_since(self.started_at).as_millis();
            let _ = write!(text, "\n  {:?} at {at} ms: {}", loss.kind, loss.what);
        }
        if let Some(more) = self.lost.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            let _ = write!(text, "\n  and {more} more");
        }
        text
    }

    /// The markers in the order of their first answers.
    pub fn markers(&self) -> Vec<&str> {
        let mut markers = Vec::new();
        for answer in &self.answers {
            if !markers.contains(&answer.marker.as_str()) {
                markers.push(&answer.marker);
            }
        }
        markers
    }

    /// Answers of an older marker on connections opened after the first answer of a newer one. The markers
    /// rank by their first answers, so this is for loads during which no release came back.
    pub fn stale_answers(&self) -> Vec<Stale> {
        let markers = self.markers();
        let first = |marker: &str| self.answers.iter().find(|answer| answer.marker == marker);
        let firsts: Vec<&Answer> = markers.iter().copied().filter_map(first).collect();
        let judge = |answer: &Answer| {
            let newer = firsts.iter().skip_while(|first| first.marker != answer.marker).skip(1);
            let due = newer.filter(|first| first.answered_at < answer.opened_at).last()?;
            Some(Stale::new(answer, &due.marker, due.answered_at))
        };
        self.answers.iter().filter_map(judge).collect()
    }

    /// Answers of any marker but the one that was due, where `cutovers` lists the commands of this load in order,
    /// also those that brought an old release back. From the end of one command on, new connections get its
    /// marker, or, once the next command may be at work, the marker of that one.
    pub fn stale_answers_among(&self, cutovers: &[Cutover]) -> Vec<Stale> {
        let ended_by = |at: Instant| cutovers.iter().take_while(|cutover| cutover.ended_at < at).count();
        let judge = |answer: &Answer| {
            let due = cutovers.get(ended_by(answer.opened_at).checked_sub(1)?)?;
            let allowed = ended_by(answer.opened_at) - 1..=ended_by(answer.answered_at);
            let mut allowed = cutovers.iter().take(allowed.end() + 1).skip(*allowed.start());
            let is_due = allowed.any(|cutover| cutover.marker == answer.marker);
            (!is_due).then(|| Stale::new(answer, &due.marker, due.ended_at))
        };
        self.answers.iter().filter_map(judge).collect()
    }
}

impl Stale {
    fn new(answer: &Answer, due: &str, since: Instant) -> Self {
        let late = answer.opened_at.saturating_duration_since(since);
        Self { kind: answer.kind, marker: answer.marker.clone(), due: due.to_owned(), late }
    }
}
