//! What the page of one environment shows besides the common look: the ledger is asked first, and
//! nobody waits for it while git and files are looked at.

use std::sync::Arc;

use common::backups::{self, Backup};
use common::config::Config;
use common::layout::Place;
use common::ledger::{Deployment, ErrorGroup, Ledger, Selection, State};
use common::report::Problem;
use serde_json::Value;

use super::promotion::{self, Gap, Promotion};
use super::proof::Proof;
use super::uptime::Uptime;
use crate::serving::{Server, Setting, View, aside};

const ROWS: u32 = 50;
const ERRORS: u32 = 15;

/// By the ledger.
#[derive(Default)]
pub(super) struct Told {
    pub(super) rows: Vec<Deployment>,
    pub(super) all: Vec<Deployment>,
    pub(super) uptime: Option<Uptime>,
    /// Each with its release.
    pub(super) errors: Vec<(String, ErrorGroup)>,
    gaps: Vec<Gap>,
    /// The serving deployment, and how it was verified.
    serving: Option<(String, Option<Value>)>,
}

/// By the ledger, git and the state directory.
pub(super) struct Known {
    pub(super) told: Told,
    pub(super) promotions: Vec<Promotion>,
    pub(super) proof: Option<Proof>,
    pub(super) kept: Vec<Backup>,
}

impl Told {
    /// What is waited for and found is for those who work on it.
    fn read(
        config: &Config,
        ledger: &Ledger,
        name: &str,
        wanted: Option<State>,
        view: View,
    ) -> Result<Self, Problem> {
        let selection = Selection { state: wanted, since_ms: None, limit: ROWS };
        let public = Self {
            rows: ledger.history(name, &selection)?,
            all: ledger.history(name, &Selection::newest(ROWS))?,
            uptime: Uptime::of(ledger, name)?,
            ..Self::default()
        };
        if view == View::Public {
            return Ok(public);
        }
        let verified = |row: Deployment| Ok((ledger.verification_report(&row.id)?, row.id));
        let serving = ledger.serving(name)?.map(verified).transpose()?;
        Ok(Self {
            errors: ledger.last_errors(name, ERRORS)?,
            gaps: promotion::gaps(config, ledger, &[name.to_owned()])?,
            serving: serving.map(|(report, id)| (id, report)),
            ..public
        })
    }
}

/// Looks all of it up.
///
/// # Errors
/// Those of the ledger, and of listing backups.
pub(super) async fn known(
    server: &Arc<Server>,
    setting: Arc<Setting>,
    name: String,
    wanted: Option<State>,
    view: View,
) -> Result<Known, Problem> {
    let place = Place::new(&setting.config, &name);
    let asked = Arc::clone(&setting);
    let told = server.ask(move |ledger| match ledger {
        Some(ledger) => Told::read(&asked.config, ledger, &name, wanted, view),
        None => Ok(Told::default()),
    });
    let mut told = told.await?;
    if view == View::Public {
        return Ok(Known { told, promotions: Vec::new(), proof: None, kept: Vec::new() });
    }
    let (gaps, serving) = (std::mem::take(&mut told.gaps), told.serving.take());
    aside(move || {
        let promotions = promotion::all(&setting.config, gaps);
        let proof = serving.and_then(|(id, report)| Proof::of(&place, &id, report.as_ref()));
        Ok(Known { told, promotions, proof, kept: backups::list(&place)?.backups })
    })
    .await?
}
