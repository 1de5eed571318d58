//! `--plan`: what would happen and which guarantee applies; nothing is changed, no lock is taken.

use common::cli::Run;
use common::config::Config;
use common::database;
use common::gateway::{self, Gateway};
use common::layout::Place;
use common::ledger::Ledger;
use common::migrations::{self, Standing};
use common::report::{OrProblem, Problem, Release};
use common::supervisor::Supervisor;
use serde_json::json;

use crate::arguments::DeployOptions;
use crate::evidence::{self, Asked, Sought};
use crate::gates;
use crate::source::Source;

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
    let place = Place::new(config, environment);
    let settings = config.environment(environment)?;
    let serving = match &ledger {
        Some(ledger) => ledger.serving(environment)?,
        None => None,
    };
    run.report.serving = serving.as_ref().map(|row| row.revision.clone());
    let standing = standing(config, &place, source)?;
    run.detail("plan", json!({
        "subject": source.repository.subject(&source.revision),
        "pending_migrations": standing.pending.iter().map(|migration| &migration.file).collect::<Vec<_>>(),
        "backup": place.database(settings).is_some_and(|path| path.exists())
            && (settings.promote_from.is_some() || !standing.pending.is_empty()),
        "first_deployment": serving.is_none(),
        "guarantee": guarantee(options),
        "watch_ms": u64::try_from(settings.watch.0.as_millis()).unwrap_or(u64::MAX),
        "nothing_to_do": serving.as_ref().is_some_and(|row| row.revision == source.revision && row.verified_ms.is_some()),
    }));
    run.step("gate.branch", || gates::branch(source))?;
    run.step("gate.clean-tree", || gates::clean(source))?;
    if source.has_remote {
        run.step("gate.in-sync", || gates::in_sync(source))?;
    }
    if settings.promote_from.is_some() {
        let ledger = ledger.as_ref();
        evidence::gate(run, asked, &Sought { config, environment, settings, ledger, source })?;
    }
    run.step("gate.disk-space", || gates::disk(config, &place))?;
    run.step("gate.requirements", || gates::requirements(config))?;
    run.step("gate.database", || gates::database(config, &place, serving.as_ref()))?;
    run.step("gate.supervisor", || Supervisor::of(settings).check(&place))?;
    let public = Gateway::of(&place, settings);
    run.step("gate.public-address", || gateway::check_address(&public, settings.listen))?;
    run.step("gate.migrations", || standing.check(environment))
}

fn guarantee(options: &DeployOptions) -> &'static str {
    if options.no_verify {
        "no request is lost; only identity and health are proved, and the release is no rollback target"
    } else {
        "no request is lost; a release that fails a check is never left serving"
    }
}

/// The revision's migrations against the database as it is.
fn standing(config: &Config, place: &Place, source: &Source) -> Result<Standing, Problem> {
    let scratch =
        tempfile::tempdir().or_problem("checkout-failed", || "cannot make a temporary directory".into())?;
    source.repository.export(&source.revision, scratch.path())?;
    let files = migrations::read(&scratch.path().join("migrations"))?;
    let database = place.database(config.environment(place.environment())?).filter(|path| path.exists());
    let applied = match database {
        Some(path) => migrations::read_applied(&database::open_read_only(&path)?)?,
        None => Vec::new(),
    };
    Ok(migrations::compare(&files, &applied))
}
