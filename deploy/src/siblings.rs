//! The other tools that a deployment runs: found and checked before anything begins.

use std::time::Duration;

use common::exec::Sibling;
use common::report::{Outcome, Problem, Report};
use common::site::Site;

/// How long `backup` and `migrate` may take.
const DATA_LIMIT: Duration = Duration::from_secs(30 * 60);

/// `verify`, and where there is a database `backup` and `migrate`.
pub(crate) struct Siblings(Vec<Sibling>);

impl Siblings {
    pub(crate) fn find(site: &Site) -> Result<Self, Problem> {
        let data: &[_] = if site.settings().database.is_some() { &["backup", "migrate"] } else { &[] };
        ["verify"].iter().chain(data).map(|tool| Sibling::find(tool)).collect::<Result<_, _>>().map(Self)
    }

    /// Runs `TOOL ENV ARGS…` under our lock.
    ///
    /// # Errors
    /// When it could not run to its end; a failed report is no error here, see [`judge`].
    pub(crate) fn run(&self, site: &Site, tool: &str, args: &[&str]) -> Result<Report, Problem> {
        let found = self.0.iter().find(|sibling| sibling.tool() == tool);
        let sibling = found.ok_or_else(|| Problem::configuration(format!("{tool} was not looked for")))?;
        let limit = if tool == "verify" { site.settings().deadlines.verify.0 } else { DATA_LIMIT };
        let words: Vec<&str> = [site.environment.as_str()].into_iter().chain(args.iter().copied()).collect();
        sibling.run(&site.config.file, &words, Some(&site.lock), limit)
    }
}

/// What a sibling's report means for the deployment: its problem becomes ours.
pub(crate) fn judge(report: &Report) -> Result<(), Problem> {
    if report.success {
        return Ok(());
    }
    let unsaid = || Problem::new("sibling-failed", format!("{} failed", report.tool));
    let problem = report.problem.clone().unwrap_or_else(unsaid);
    match report.outcome {
        Outcome::Unverified => Err(Problem { kind: "unverified".into(), ..problem }),
        _ => Err(problem),
    }
}
