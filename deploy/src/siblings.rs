//! The other tools that a deployment runs: found and checked before anything begins.

use std::time::Duration;

use common::exec::Sibling;
use common::report::{Problem, Report};
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
    /// When it could not run to its end; a failed report is no error here, see [`Report::verdict`].
    pub(crate) fn run(&self, site: &Site, tool: &str, args: &[&str]) -> Result<Report, Problem> {
        let found = self.0.iter().find(|sibling| sibling.tool() == tool);
        let sibling = found.ok_or_else(|| Problem::configuration(format!("{tool} was not looked for")))?;
        let limit = if tool == "verify" { site.settings().deadlines.verify.0 } else { DATA_LIMIT };
        site.run_sibling(sibling, args, limit)
    }
}
