//! What is verified: an environment's serving instance, or the instance of one slot before its
//! cutover. Read from the ledger and the slot's record; nothing is asked here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::address::Address;
use common::config::Config;
use common::gateway::Gateway;
use common::instance::Instance;
use common::layout::{Place, Slot};
use common::ledger::{Deployment, Ledger};
use common::report::{Problem, Release};
use common::secrets::Secrets;
use common::supervisor::Supervisor;

use crate::checks::Checks;
use crate::past::{KEPT, Past};
use crate::regressions::Structure;

/// A page that had so much time and did not answer is at fault; with less, when the whole run ends,
/// nothing is said of it.
pub(crate) const FAIR: Duration = Duration::from_secs(2);
/// Of the deadline; the rest is for the report, before a caller with the same deadline kills us.
const OWN_SHARE: f32 = 0.9;

/// One instance and everything that is known of it beforehand.
pub(crate) struct Subject {
    pub(crate) config: Config,
    pub(crate) place: Place,
    pub(crate) instance: Instance,
    /// The ledger's row of the instance's deployment.
    pub(crate) deployment: Option<Deployment>,
    /// Number of the environment's newest verification in the ledger; 0 when there is none.
    pub(crate) last_verification: i64,
    /// What the release before answered when it was verified.
    pub(crate) earlier: Option<Structure>,
    /// What was seen when this environment was last verified.
    pub(crate) last: Option<Structure>,
    /// Revision that the public address serves.
    pub(crate) serving: Option<String>,
    /// Set when the instance is verified on its private address alone.
    pub(crate) slot: Option<Slot>,
    pub(crate) release: PathBuf,
    pub(crate) database: Option<PathBuf>,
    pub(crate) gateway: Gateway,
    pub(crate) supervisor: Supervisor,
    /// The address that checks ask: the public one, or the slot's own.
    pub(crate) address: Address,
    /// The public address.
    pub(crate) listen: SocketAddr,
    /// Public addresses of the app's other environments.
    pub(crate) elsewhere: Vec<Address>,
    pub(crate) health: String,
    pub(crate) secrets: Secrets,
    /// What the instance's processes have; secrets are among it.
    pub(crate) environment: BTreeMap<OsString, OsString>,
    /// Where a log of what the programs print is made.
    pub(crate) log_directory: PathBuf,
    pub(crate) checks: Checks,
    /// Whether requests and answers are kept to be shown.
    pub(crate) explains: bool,
    /// When the whole run must be over.
    pub(crate) until: Instant,
}

impl Subject {
    /// Finds the instance that serves `environment`, or the one in `slot`.
    ///
    /// # Errors
    /// `nothing-serves`, `no-instance`, `configuration`, `ledger-unreadable`.
    pub(crate) fn find(config: &Config, environment: &str, slot: Option<Slot>) -> Result<Self, Problem> {
        let settings = config.environment(environment)?;
        let place = Place::new(config, environment);
        let Recorded { instance, deployment, serving, last_verification, earlier } =
            Recorded::read(config, &place, slot)?;
        let secrets = Secrets::of(config, settings)
            .map_err(|problem| Problem { kind: "configuration".into(), ..problem })?;
        let release = place.release(&instance.release);
        Ok(Self {
            last: last_of(&place, deployment.as_ref()).or_else(|| earlier.clone()),
            earlier,
            explains: false,
            config: config.clone(),
            database: place.database(settings),
            gateway: Gateway::of(&place, settings),
            supervisor: Supervisor::of(settings),
            address: match slot {
                Some(_) => instance.address.clone(),
                None => settings.listen.reachable().into(),
            },
            listen: settings.listen.reachable(),
            elsewhere: others(config, environment),
            health: config.app.health.clone(),
            environment: instance.environment(config, &place, &secrets),
            log_directory: config.log_directory(),
            checks: Checks::load(&release, &config.app.health, &secrets)?,
            until: Instant::now() + settings.deadlines.verify.0.mul_f32(OWN_SHARE),
            last_verification,
            serving: serving.map(|row| row.revision),
            place,
            instance,
            deployment,
            slot,
            release,
            secrets,
        })
    }

    /// The revision as reports show it.
    pub(crate) fn revision(&self) -> Release {
        let row = self.deployment.as_ref();
        Release {
            revision: self.instance.revision.clone(),
            branch: row.and_then(|row| row.branch.clone()),
            tree: row.and_then(|row| row.tree.clone()),
        }
    }

    /// What approvals are for: the tree, or the revision where none is known.
    pub(crate) fn tree(&self) -> &str {
        let tree = self.deployment.as_ref().and_then(|row| row.tree.as_deref());
        tree.unwrap_or(&self.instance.revision)
    }

    /// Refuses to speak for another deployment than the one that a report names.
    ///
    /// # Errors
    /// `superseded`, `unknown-deployment`.
    pub(crate) fn expect(&self, config: &Config, named: Option<&str>) -> Result<(), Problem> {
        let Some(id) = named.filter(|id| *id != self.instance.deployment) else { return Ok(()) };
        match Ledger::open_read_only(config)? {
            Some(ledger) => ledger.named_by_report(self.place.environment(), id).map(drop),
            None => Ok(()),
        }
    }

    /// What is left of the run's time, at most `limit`.
    pub(crate) fn remaining(&self, limit: Duration) -> Duration {
        limit.min(self.until.saturating_duration_since(Instant::now()))
    }
}

/// What is on record of the instance, in the ledger and in its slot.
struct Recorded {
    instance: Instance,
    deployment: Option<Deployment>,
    serving: Option<Deployment>,
    last_verification: i64,
    earlier: Option<Structure>,
}

impl Recorded {
    fn read(config: &Config, place: &Place, slot: Option<Slot>) -> Result<Self, Problem> {
        let environment = place.environment();
        let ledger = Ledger::open_read_only(config)?;
        let ledger = ledger.as_ref();
        let serving = ledger.map(|ledger| ledger.serving(environment)).transpose()?.flatten();
        let last = ledger.map(|ledger| ledger.last_verification(environment)).transpose()?.flatten();
        let instance = match slot {
            Some(slot) => in_slot(place, slot)?,
            None => behind(place, serving.as_ref())?,
        };
        let deployment = if slot.is_some() { row_of(ledger, &instance)? } else { serving.clone() };
        let earlier = earlier(place, ledger, deployment.as_ref())?;
        Ok(Self {
            instance,
            deployment,
            serving,
            last_verification: last.map_or(0, |found| found.number),
            earlier,
        })
    }
}

fn row_of(ledger: Option<&Ledger>, instance: &Instance) -> Result<Option<Deployment>, Problem> {
    ledger.map_or(Ok(None), |ledger| ledger.deployment(&instance.deployment))
}

fn last_of(place: &Place, row: Option<&Deployment>) -> Option<Structure> {
    Past::of(place).structure(&row?.id)
}

/// The structure of the newest verified release before that of `row`.
fn earlier(
    place: &Place,
    ledger: Option<&Ledger>,
    row: Option<&Deployment>,
) -> Result<Option<Structure>, Problem> {
    let Some((ledger, row)) = ledger.zip(row) else { return Ok(None) };
    let number = ledger.origin(row.clone())?.map_or(row.number, |origin| origin.number);
    let past = Past::of(place);
    let verified = ledger.verified(place.environment(), KEPT)?;
    let mut before = verified.iter().filter(|known| known.number < number);
    Ok(before.find_map(|known| past.structure(&known.id)))
}

fn others(config: &Config, environment: &str) -> Vec<Address> {
    let others = config.environments.iter().filter(|(name, _)| *name != environment);
    others.map(|(_, settings)| settings.listen.reachable().into()).collect()
}

fn in_slot(place: &Place, slot: Slot) -> Result<Instance, Problem> {
    Instance::read(place, slot).ok_or_else(|| {
        let environment = place.environment();
        Problem::new("no-instance", format!("slot {slot} of '{environment}' has never been used"))
            .hint(format!("status {environment}"))
    })
}

fn behind(place: &Place, serving: Option<&Deployment>) -> Result<Instance, Problem> {
    let environment = place.environment();
    let row = serving.ok_or_else(|| {
        Problem::new("nothing-serves", format!("nothing serves '{environment}'"))
            .hint(format!("deploy {environment}"))
    })?;
    let same_release = |instance: &Instance| row.release.as_ref() == Some(&instance.release);
    let by_slot = || row.slot.and_then(|slot| Instance::read(place, slot)).filter(same_release);
    Instance::of(place, &row.id).or_else(by_slot).ok_or_else(|| {
        Problem::new("no-instance", format!("no instance of deployment {} is on record", row.id))
            .hint(format!("status {environment}"))
    })
}
