//! Merging in a chain: steps append, details stand by tool, `changed` is or-ed, the last writer
//! says what serves, and the graver outcome wins.

use super::{Outcome, Report, Step};

impl Report {
    /// Takes a sibling's steps, details and changes into this report; the outcome stays ours.
    pub fn adopt(&mut self, other: Self) {
        self.changed |= other.changed;
        self.steps.extend(other.steps);
        for (tool, facts) in other.details {
            merge_details(self.details.entry(tool).or_default(), facts);
        }
    }

    /// Continues `before` in the next tool of a chain: this run's identity, all that was said.
    pub fn follow(&mut self, before: Self) {
        self.environment.clone_from(&before.environment);
        self.deployment.clone_from(&before.deployment);
        self.serving.clone_from(&before.serving);
        self.previous.clone_from(&before.previous);
        self.release.clone_from(&before.release);
        self.log_file.clone_from(&before.log_file);
        self.problem.clone_from(&before.problem);
        self.conclude(before.outcome);
        self.adopt(before);
    }

    /// Lets a graver outcome replace the present one; a milder one changes nothing.
    pub fn worsen(&mut self, outcome: Outcome) {
        self.conclude(self.outcome.max(outcome));
    }

    /// Appends a step.
    pub fn push(&mut self, step: Step) {
        self.steps.push(step);
    }
}

/// Members of the later facts replace those of the earlier ones.
fn merge_details(earlier: &mut serde_json::Value, later: serde_json::Value) {
    match (earlier, later) {
        (serde_json::Value::Object(known), serde_json::Value::Object(more)) => known.extend(more),
        (slot, value) => *slot = value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graver_outcome_wins_whatever_the_order() {
        let order =
            [Outcome::Succeeded, Outcome::Unverified, Outcome::RolledBack, Outcome::Failed, Outcome::Broken];
        for (rank, &first) in order.iter().enumerate() {
            for (other, &second) in order.iter().enumerate() {
                let mut report = Report::new("verify");
                report.conclude(first);
                report.worsen(second);
                assert_eq!(report.outcome, order[rank.max(other)]);
            }
        }
    }
}
