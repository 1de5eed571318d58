//! Stage 3: prove the new instance on its private address, move traffic, prove it again in public.

use common::handover;
use common::instance::Instance;
use common::interrupt;
use common::journal::Undo;
use common::ledger::State;
use common::report::Problem;

use crate::arguments::DeployOptions;
use crate::attempt::Attempt;
use crate::{standstill, watch};

/// What `--no-verify` still proves, and what is proved before a watch begins.
const MINIMUM: [&str; 2] = ["--only", "service,identity"];

pub(crate) fn run(attempt: &mut Attempt<'_>, options: &DeployOptions) -> Result<(), Problem> {
    let row = attempt.row()?;
    let instance = row.slot.and_then(|slot| Instance::read(&attempt.site.place, slot)).ok_or_else(|| {
        Problem::new("instance-lost", "the record of the new instance is gone")
            .hint(format!("status {}", row.environment))
    })?;
    let mut private = vec!["--slot", instance.slot.name()];
    if options.no_verify {
        private.extend(MINIMUM);
    }
    attempt.sibling("verify", &private)?;
    cut_over(attempt, &instance)?;
    if !attempt.site.settings().watch.0.is_zero() {
        // What records the release as verified, and as evidence, comes after the watch.
        attempt.sibling("verify", &MINIMUM)?;
        watch::run(attempt, &instance)?;
    }
    let public: &[&str] = if options.no_verify { &MINIMUM } else { &[] };
    attempt.sibling("verify", public)?;
    if !options.no_verify && attempt.row()?.state != State::Verified {
        return Err(Problem::unverified("the verification could not be recorded")
            .hint(format!("verify {}", attempt.site.environment)));
    }
    Ok(())
}

fn cut_over(attempt: &mut Attempt<'_>, instance: &Instance) -> Result<(), Problem> {
    upgrade_gateway(attempt);
    let id = attempt.id.clone();
    // In a standstill there is none to go back to or to wait for.
    let previous = attempt.previous.as_ref().filter(|_| attempt.standstill.is_none());
    let previous = previous.map(|row| row.id.clone());
    let undo = Undo::PointGateway { deployment: previous.clone() };
    attempt.change("cutover", &undo, |site| handover::cut_over(site, instance, &id))?;
    attempt.run.report.serving = Some(attempt.source.revision.clone());
    standstill::end(attempt)?;
    if let Some(previous) = previous {
        let drained = attempt.step("drain", |site, _| handover::drain(site, &previous))?;
        attempt.run.detail("drain", drained);
    }
    Ok(())
}

/// A gateway of another build hands its listener to one of ours; one that cannot serves on.
fn upgrade_gateway(attempt: &mut Attempt<'_>) {
    if !attempt.site.gateway.is_outdated() {
        return;
    }
    let renewed = attempt.step("gateway.upgrade", |site, _| interrupt::shielded(|| site.gateway.renew()));
    if let Err(problem) = renewed {
        attempt.run.warn(&format!("the gateway was not upgraded: {problem}"));
    }
}
