//! `--sign`: a signed statement in the report, for a host that cannot look into this ledger. Says
//! only what the ledger has: a full run that passed, on the deployment that serves.

use std::path::Path;

use common::cli::Run;
use common::config::Config;
use common::evidence::Statement;
use common::ledger::{Deployment, Ledger};
use common::lock;
use common::report::{Outcome, Problem, VERSION, now, quoted};

use crate::subject::Subject;

/// Puts the signed statement into `details.verify.evidence`.
///
/// # Errors
/// `not-signed`: the run itself passed, so the outcome is `unverified`, and no chain undoes
/// anything for the lack of a key.
pub(crate) fn add(
    config: &Config,
    subject: &Subject,
    run: &mut Run,
    key: &Path,
    kept: Result<(), Problem>,
) -> Result<(), Problem> {
    let signed = run.step("sign", || {
        let unkept = |problem: Problem| {
            Problem::new("not-signed", "a verification that the ledger does not have is not signed")
                .detail(problem.to_string())
                .hint(format!("verify {} --sign {}", subject.place.environment(), quoted(key.display())))
        };
        kept.map_err(unkept)?;
        statement(config, subject)?.sign(key)
    })?;
    run.detail("evidence", signed);
    Ok(())
}

fn statement(config: &Config, subject: &Subject) -> Result<Statement, Problem> {
    let environment = subject.place.environment();
    let known = subject.deployment.as_ref().map(|row| row.id.as_str());
    // Read again: meanwhile it may have to be confirmed, or have been withdrawn.
    let row = match (Ledger::open_read_only(config)?, known) {
        (Some(ledger), Some(id)) => ledger.deployment(id)?,
        _ => None,
    };
    if row.as_ref().is_some_and(Deployment::awaits_confirmation) {
        return Err(Problem::new("not-signed", "the release that serves waits to be confirmed")
            .hint(format!("deploy {environment} confirm")));
    }
    let Some((row, tree)) = row.and_then(|row| row.tree.clone().map(|tree| (row, tree))) else {
        return Err(Problem::new("not-signed", "the ledger does not know the tree that serves")
            .hint(format!("deploy {environment} --again")));
    };
    Ok(Statement {
        version: VERSION,
        product: env!("CARGO_PKG_VERSION").into(),
        app: config.app.name.clone(),
        environment: environment.into(),
        deployment: row.id,
        revision: row.revision,
        tree,
        host: lock::host(),
        verified_at: now(),
        outcome: Outcome::Succeeded,
    })
}
