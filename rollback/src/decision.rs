//! Whether a report asks for a rollback. The report names a deployment; the ledger decides.

use common::clock;
use common::config::Config;
use common::ledger::{Deployment, Kind, State, Verification};
use common::report::{Outcome, Problem, Received, Report};
use common::site::Site;

/// What to do with a report.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Nothing was changed, or all is well.
    Pass { reason: &'static str },
    /// Recovery, or the deployment itself, went back already.
    AlreadyUndone { outcome: Outcome },
    /// This operation migrated a schema, and nothing was deployed since.
    UndoMigrations { operation: String },
    /// This deployment failed and still is the newest.
    Undo { deployment: String, environment: Option<String>, since: Since },
}

/// Where among the ledger's verifications the run stands that found the failure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Since {
    /// It was after this one.
    After(i64),
    /// It was cut off before it could say; when it began, in milliseconds.
    Began(i64),
}

impl Since {
    fn of(report: &Report) -> Self {
        match report.details.get("verify").and_then(|facts| facts["after"].as_i64()) {
            Some(number) => Self::After(number),
            None => Self::Began(report.started_at.as_millisecond()),
        }
    }

    /// A verification of the future proves only that a clock was wrong, so it is not believed.
    fn is_before(self, found: &Verification) -> bool {
        match self {
            Self::After(number) => found.number > number,
            Self::Began(at_ms) => found.at_ms > at_ms && clock::age(found.at_ms).is_ok(),
        }
    }
}

impl Decision {
    /// The part that the report alone decides.
    pub(crate) fn from_report(received: &Received) -> Self {
        match received {
            Received::CutOff(report) => Self::undo(report),
            Received::Whole(report) if report.outcome == Outcome::Failed && report.changed => {
                Self::undo(report)
            }
            Received::Whole(_) => Self::Pass { reason: "the report asks for no rollback" },
        }
    }

    fn undo(report: &Report) -> Self {
        match &report.deployment {
            Some(deployment) => Self::Undo {
                deployment: deployment.clone(),
                environment: report.environment.clone(),
                since: Since::of(report),
            },
            None => Self::Pass { reason: "the report names no deployment: nothing had begun" },
        }
    }

    pub(crate) fn is_pass(&self) -> bool {
        matches!(self, Self::Pass { .. })
    }

    /// The report's environment, which must be one of ours.
    pub(crate) fn environment(&self, config: &Config) -> Result<String, Problem> {
        let Self::Undo { environment: Some(name), .. } = self else {
            return Err(
                Problem::usage("the report names no environment").hint("deploy dev | verify | rollback")
            );
        };
        config.environment(name).map(|_| name.clone())
    }

    /// The part that only the ledger knows, asked under the lock and after recovery.
    pub(crate) fn ask_ledger(&mut self, site: &Site) -> Result<(), Problem> {
        let Self::Undo { deployment, since, .. } = &*self else { return Ok(()) };
        let verified = site
            .ledger
            .last_verification(&site.environment)?
            .is_some_and(|found| found.passed && found.deployment == *deployment && since.is_before(&found));
        let row = site.ledger.deployment(deployment)?.filter(|row| row.environment == site.environment);
        let newest = site.ledger.newest(&site.environment)?;
        if let Some(decided) = decide(row.as_ref(), newest.as_ref(), verified) {
            *self = decided;
        }
        Ok(())
    }
}

/// `None` when the rollback should happen.
fn decide(row: Option<&Deployment>, newest: Option<&Deployment>, verified_since: bool) -> Option<Decision> {
    let Some(row) = row else {
        return Some(Decision::Pass {
            reason: "the ledger does not know this deployment: nothing had begun",
        });
    };
    match row.state {
        State::Failed if matches!(row.kind, Kind::Migrate | Kind::Restore) => {
            return Some(Decision::Pass {
                reason: "of this operation there is nothing that could be undone here",
            });
        }
        State::RolledBack => return Some(Decision::AlreadyUndone { outcome: Outcome::RolledBack }),
        State::Failed => return Some(Decision::AlreadyUndone { outcome: Outcome::Failed }),
        State::Broken => return Some(Decision::AlreadyUndone { outcome: Outcome::Broken }),
        State::Superseded => return Some(Decision::Pass { reason: "a newer deployment has taken over" }),
        State::Running | State::Serving | State::Verified => {}
    }
    if verified_since {
        return Some(Decision::Pass { reason: "the deployment was verified since" });
    }
    if row.kind == Kind::Migrate && newest.is_none_or(|newest| newest.number < row.number) {
        return Some(Decision::UndoMigrations { operation: row.id.clone() });
    }
    let is_newest = newest.is_some_and(|newest| newest.id == row.id);
    (!is_newest).then_some(Decision::Pass { reason: "a newer deployment has taken over" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome, changed: bool) -> Received {
        let mut report = Report::new("verify");
        report.deployment = Some("20261123T093012Z-3f2a9c1".into());
        report.environment = Some("dev".into());
        report.conclude(outcome);
        report.changed = changed;
        Received::Whole(Box::new(report))
    }

    #[test]
    fn only_a_failed_and_changed_report_asks_for_a_rollback() {
        assert!(!Decision::from_report(&report(Outcome::Failed, true)).is_pass());
        for (outcome, changed) in [
            (Outcome::Failed, false),
            (Outcome::Succeeded, true),
            (Outcome::Unverified, true),
            (Outcome::RolledBack, true),
            (Outcome::Broken, true),
        ] {
            assert!(Decision::from_report(&report(outcome, changed)).is_pass(), "{outcome:?} {changed}");
        }
    }

    #[test]
    fn a_cut_off_report_is_taken_to_the_ledger() {
        let cut = Received::CutOff(Box::new(report(Outcome::Failed, false).report()));
        assert!(!Decision::from_report(&cut).is_pass());
    }

    #[test]
    fn what_was_verified_since_is_known_by_number_whatever_the_clock_said() {
        let found = |number, at_ms| Verification {
            number,
            environment: "dev".into(),
            deployment: "d".into(),
            revision: "r".into(),
            tree: None,
            passed: true,
            at_ms,
            duration_ms: 1,
            host: "h".into(),
        };
        assert!(Since::After(4).is_before(&found(5, 0)));
        assert!(!Since::After(5).is_before(&found(5, i64::MAX)));
        let now = clock::now().as_millisecond();
        assert!(Since::Began(now - 10).is_before(&found(1, now)));
        assert!(!Since::Began(now - 10).is_before(&found(1, now + 86_400_000)));
    }

    #[test]
    fn a_deployment_that_the_ledger_does_not_know_is_never_undone() {
        assert!(matches!(decide(None, None, false), Some(Decision::Pass { .. })));
    }
}
