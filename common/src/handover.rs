//! Handing traffic from one instance to another: start in the idle slot, cut over, drain, retire.
//!
//! `deploy`, `rollback` and recovery all move traffic with these functions and no others.

use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde::Serialize;

use crate::errors;
use crate::fault;
use crate::gateway::{Drained, Target};
use crate::identity;
use crate::instance::Instance;
use crate::layout::Slot;
use crate::ledger::Deployment;
use crate::process::{await_end, to_pid};
use crate::readiness;
use crate::relocation;
use crate::report::Problem;
use crate::site::Site;
use crate::supervisor::{Condition, Start};

/// How long an instance may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
const KILLED: Duration = Duration::from_secs(5);

/// What had to be done to be rid of an instance.
#[derive(Debug, Default, Serialize)]
pub struct Retired {
    /// It refused to end and was killed.
    pub killed: bool,
    /// Processes that kept its port afterwards, named; they were killed.
    pub kept_port: Vec<String>,
    /// Requests behind nginx that it had not answered when it was told to end.
    pub requests_cut: usize,
}

impl Retired {
    /// What another one needed besides.
    pub(crate) fn add(&mut self, other: Self) {
        self.killed |= other.killed;
        self.kept_port.extend(other.kept_port);
        self.requests_cut += other.requests_cut;
    }

    /// It ended by itself when it was asked to.
    pub fn is_clean(&self) -> bool {
        !self.killed && self.kept_port.is_empty() && self.requests_cut == 0
    }
}

/// The slot that traffic does not go to.
pub fn idle_slot(site: &Site) -> Result<Slot, Problem> {
    let serving = site.ledger.serving(&site.environment)?;
    Ok(serving.and_then(|deployment| deployment.slot).map_or(Slot::Blue, Slot::other))
}

/// Whether traffic really goes to a running instance of this deployment.
pub fn serves(site: &Site, deployment: &Deployment) -> bool {
    let Some(target) = site.gateway.status().and_then(|status| status.active) else { return false };
    let condition = site.supervisor.condition(&site.place, target.slot);
    target.deployment == deployment.id && matches!(condition, Condition::Running { .. })
}

/// Starts a release in `slot`; it may not be ready when this returns.
pub fn start(site: &Site, instance: &Instance) -> Result<(), Problem> {
    let serving = site.ledger.serving(&site.environment)?;
    relocation::check(&site.config, &site.place, serving.as_ref(), Some(&site.ledger))?;
    // The log of what ran here begins anew; that its errors are known is worth no failure.
    let (ledger, place, ended) = (&site.ledger, &site.place, Some(instance.slot));
    drop(errors::keep(ledger, place, &site.supervisor, ended, || Ok(site.secrets.clone())));
    instance.write(place)?;
    site.gateway.make_room(&instance.address)?;
    fault::point("instance.before-start");
    let started = site.supervisor.start(
        &site.place,
        Start {
            slot: instance.slot,
            address: &instance.address,
            run: &site.config.app.run,
            dir: site.place.release(&instance.release),
            shared: &site.config.app.shared,
            database: site.place.database(site.settings()),
            environment: instance.environment(&site.config, &site.place, &site.secrets),
            grace: GRACE,
        },
    );
    if started.is_ok() {
        drop(ledger.forget_log(&site.environment, &instance.release));
    }
    started
}

/// Sends traffic to `instance` and records it.
pub fn cut_over(site: &Site, instance: &Instance, deployment: &str) -> Result<(), Problem> {
    site.gateway.ensure()?;
    let instance = Instance { deployment: deployment.to_owned(), ..instance.clone() };
    instance.write(&site.place)?;
    site.ledger.set_reached(deployment)?;
    enable_both(site)?;
    fault::point("cutover.before-switch");
    site.gateway.switch(Some(&Target::from(&instance)))?;
    fault::point("cutover.after-switch");
    site.ledger.set_serving(&site.environment, deployment)?;
    enable_serving(site)
}

/// Lets a reboot bring back what serves, where the supervisor can do that.
pub fn enable_serving(site: &Site) -> Result<(), Problem> {
    let serving = site.ledger.serving(&site.environment)?;
    let slot = serving.and_then(|deployment| deployment.slot);
    site.supervisor.enable(&site.place, slot.as_slice())
}

/// Before traffic moves: whichever way a power cut leaves the gateway, what it points to comes back.
pub fn enable_both(site: &Site) -> Result<(), Problem> {
    site.supervisor.enable(&site.place, &Slot::BOTH)
}

/// Waits until the instance of `deployment` has answered all it was asked.
pub fn drain(site: &Site, deployment: &str) -> Result<Drained, Problem> {
    site.gateway.drain(deployment, site.settings().drain.0)
}

/// Ends whatever runs in a slot, and whoever of it still keeps its port.
pub fn retire(site: &Site, slot: Slot) -> Result<Retired, Problem> {
    let instance = Instance::read(&site.place, slot);
    let requests_cut =
        instance.as_ref().map_or(Ok(0), |instance| site.gateway.unfinished(&instance.address))?;
    let stopped = site.supervisor.stop(&site.place, slot)?;
    let mut retired = Retired { killed: stopped.killed, kept_port: Vec::new(), requests_cut };
    let Some(instance) = instance else { return Ok(retired) };
    for owner in identity::owners(&instance.address)?.visible {
        if owner.belongs_to(&instance.release, &site.place.release(&instance.release)) {
            retired.kept_port.push(format!("pid {} ({})", owner.pid, owner.command));
            if let Some(pid) = to_pid(owner.pid) {
                let _ = kill_process(pid, Signal::KILL);
                await_end(pid, KILLED);
            }
        }
    }
    Ok(retired)
}

/// Makes sure that the instance of a deployment runs and is ready, starting it again if it must;
/// its record then names that deployment.
///
/// # Errors
/// `release-missing`, or why it did not start.
pub fn revive(site: &Site, deployment: &Deployment) -> Result<Instance, Problem> {
    let (Some(release), Some(slot)) = (&deployment.release, deployment.slot) else {
        return Err(release_missing(deployment));
    };
    let known = Instance::read(&site.place, slot).filter(|instance| &instance.release == release);
    if let Some(instance) = known.filter(|known| is_alive(site, known)) {
        let instance = Instance { deployment: deployment.id.clone(), ..instance };
        instance.write(&site.place)?;
        return Ok(instance);
    }
    if !site.place.release(release).is_dir() {
        return Err(release_missing(deployment));
    }
    retire(site, slot)?;
    let instance = site.instance(slot, &deployment.id, release, &deployment.revision)?;
    start(site, &instance)?;
    readiness::await_ready(site, &instance)?;
    Ok(instance)
}

/// Somebody keeps it, or it outlived its keeper, and it answers: one that was just started again
/// gets its time. Since a reboot another program may have its port, and answer too.
fn is_alive(site: &Site, instance: &Instance) -> bool {
    let release = site.place.release(&instance.release);
    let is_its = |owner: &identity::Owner| owner.belongs_to(&instance.release, &release);
    site.supervisor.condition(&site.place, instance.slot) != Condition::Stopped
        && readiness::answers(site, instance)
        && identity::owners(&instance.address).is_ok_and(|owners| owners.visible.iter().any(is_its))
}

fn release_missing(deployment: &Deployment) -> Problem {
    let environment = &deployment.environment;
    Problem::new("release-missing", format!("the release of deployment {} is gone", deployment.id))
        .hint(format!("deploy {environment} --revision {}", deployment.revision))
}
