//! `--plan`: what would happen and which guarantee applies; nothing is changed, no lock is taken.

use std::time::Duration;

use common::cli::Run;
use common::config::{Config, Environment};
use common::database;
use common::exec::Sibling;
use common::gateway::{self, Gateway};
use common::layout::Place;
use common::ledger::{Deployment, Ledger};
use common::migrations::{self, Source as Files, Standing};
use common::report::{OrProblem, Problem, Release};
use common::supervisor::Supervisor;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::arguments::DeployOptions;
use crate::evidence::{self, Asked, Sought};
use crate::gates;
use crate::schema::Rehearsed;
use crate::source::Source;
use crate::standstill;

const REHEARSAL: Duration = Duration::from_secs(30 * 60);

/// What is planned, and on what.
struct Plan<'a> {
    config: &'a Config,
    settings: &'a Environment,
    place: Place,
    ledger: Option<Ledger>,
    serving: Option<Deployment>,
    source: &'a Source,
    options: &'a DeployOptions,
    /// The revision as it would be released, not built.
    tree: TempDir,
}

pub(crate) fn tell(
    run: &mut Run,
    config: &Config,
    environment: &str,
    source: &Source,
    options: &DeployOptions,
    asked: &Asked,
) -> Result<(), Problem> {
    run.begin(environment, None);
    let (branch, tree) = (Some(source.branch.clone()), Some(source.tree.clone()));
    run.report.release = Some(Release { revision: source.revision.clone(), branch, tree });
    let ledger = Ledger::open_read_only(config)?;
    let serving = ledger.as_ref().map(|ledger| ledger.serving(environment)).transpose()?.flatten();
    run.report.serving = serving.as_ref().map(|row| row.revision.clone());
    let tree =
        tempfile::tempdir().or_problem("checkout-failed", || "cannot make a temporary directory".into())?;
    source.repository.export(&source.revision, tree.path())?;
    let (settings, place) = (config.environment(environment)?, Place::new(config, environment));
    let plan = Plan { config, settings, place, ledger, serving, source, options, tree };
    let standing = plan.standing()?;
    run.detail("plan", plan.facts(&standing));
    plan.pass_gates(run, asked)?;
    run.step("gate.migrations", || standing.check(environment))?;
    let rehearsed = if standing.pending.is_empty() { Rehearsed::default() } else { plan.rehearse(run)? };
    plan.tell_standstill(run, &rehearsed);
    Ok(())
}

impl Plan<'_> {
    fn facts(&self, standing: &Standing) -> Value {
        let (settings, serving) = (self.settings, self.serving.as_ref());
        let pending: Vec<_> = standing.pending.iter().map(|migration| &migration.file).collect();
        let is_proved = |row: &Deployment| row.revision == self.source.revision && row.verified_ms.is_some();
        json!({
            "subject": self.source.repository.subject(&self.source.revision),
            "backup": self.place.database(settings).is_some_and(|path| path.exists())
                && (settings.promote_from.is_some() || !pending.is_empty()),
            "pending_migrations": pending,
            "first_deployment": serving.is_none(),
            "guarantee": guarantee(self.options),
            "watch_ms": u64::try_from(settings.watch.0.as_millis()).unwrap_or(u64::MAX),
            "nothing_to_do": serving.is_some_and(is_proved),
        })
    }

    fn pass_gates(&self, run: &mut Run, asked: &Asked) -> Result<(), Problem> {
        let Self { config, settings, place, source, .. } = self;
        run.step("gate.branch", || gates::branch(source))?;
        run.step("gate.clean-tree", || gates::clean(source))?;
        if source.has_remote {
            run.step("gate.in-sync", || gates::in_sync(source))?;
        }
        if settings.promote_from.is_some() {
            let (environment, ledger) = (place.environment(), self.ledger.as_ref());
            evidence::gate(run, asked, &Sought { config, environment, settings, ledger, source })?;
        }
        run.step("gate.disk-space", || gates::disk(config, place))?;
        run.step("gate.requirements", || gates::requirements(config))?;
        run.step("gate.database", || {
            gates::database(config, place, self.serving.as_ref(), self.ledger.as_ref())
        })?;
        run.step("gate.supervisor", || Supervisor::of(settings).check(place))?;
        let public = Gateway::of(place, settings);
        run.step("gate.public-address", || gateway::check_address(&public, settings.listen))
    }

    /// The revision's migrations against the database as it is.
    fn standing(&self) -> Result<Standing, Problem> {
        let path = self.place.database(self.settings).filter(|path| path.exists());
        let db = path.map(|path| database::open_read_only(&path)).transpose()?;
        let files = Files::read(self.tree.path(), db.as_ref())?;
        let applied = db.map(|db| files.applied(&db)).transpose()?.unwrap_or_default();
        Ok(migrations::compare(&files.migrations, &applied))
    }

    /// What is pending, tried on a copy of the database.
    fn rehearse(&self, run: &mut Run) -> Result<Rehearsed, Problem> {
        let tree = self.tree.path().display().to_string();
        let words = [self.place.environment(), "rehearse", "--release", &tree];
        let report = Sibling::find("migrate")?.run(&self.config.file, &words, None, REHEARSAL)?;
        run.adopt(report.clone());
        report.verdict()?;
        Rehearsed::of(&report)
    }

    fn tell_standstill(&self, run: &mut Run, rehearsed: &Rehearsed) {
        let reason = standstill::reason(self.settings, self.options, rehearsed);
        if let Some(reason) = reason.filter(|_| self.serving.is_some()) {
            run.detail("standstill", json!({"reason": reason}));
        }
    }
}

fn guarantee(options: &DeployOptions) -> &'static str {
    if options.no_verify {
        "no request is lost; only identity and health are proved, and the release is no rollback target"
    } else {
        "no request is lost; a release that fails a check is never left serving"
    }
}
