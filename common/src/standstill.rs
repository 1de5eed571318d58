//! A standstill: two releases never run at once. Requests wait at the gateway while the instance
//! that serves answers what it was asked and ends; then the change is made, and the next one starts.
//!
//! For apps that own one port, and for changes of the schema that the serving release could not live
//! with. `deploy` and `rollback` begin one; the journal ends it the way it came.

use crate::fault;
use crate::gateway::{Drained, Target};
use crate::handover::{self, Retired};
use crate::layout::Slot;
use crate::ledger::Deployment;
use crate::report::Problem;
use crate::site::Site;

/// How the instance that served ended.
#[derive(Debug)]
pub struct Halted {
    pub drained: Drained,
    pub retired: Retired,
}

/// Keeps new requests waiting, and ends the instance of `previous` when it has answered all it was
/// asked, and one that is warm with it. Requests that have waited for the hold limit are answered 503.
///
/// # Errors
/// `gateway-failed`, `not-stopped`.
pub fn begin(site: &Site, previous: &Deployment) -> Result<Halted, Problem> {
    let settings = site.settings();
    let limit = settings.hold_limit.0;
    // Longer than the drain: were it over before, requests would go where they are not waited for.
    site.gateway.hold(limit * 2)?;
    fault::point("standstill.after-hold");
    let drained = site.gateway.drain(&previous.id, settings.drain.0.min(limit))?;
    site.gateway.switch(None)?;
    site.gateway.hold(limit)?;
    fault::point("standstill.after-switch");
    let mut retired = Retired::default();
    for slot in Slot::BOTH {
        retired.add(handover::retire(site, slot)?);
    }
    Ok(Halted { drained, retired })
}

/// Brings `deployment` back to service, alone, and lets waiting requests go on. May be repeated.
///
/// # Errors
/// Why it did not start; `gateway-failed`.
pub fn resume(site: &Site, deployment: &Deployment) -> Result<(), Problem> {
    if let Some(slot) = deployment.slot {
        handover::retire(site, slot.other())?;
    }
    let instance = handover::revive(site, deployment)?;
    site.gateway.ensure()?;
    site.gateway.switch(Some(&Target::from(&instance)))?;
    site.gateway.release()
}
