//! The other tools that a deployment runs, and how their reports become ours.

use std::time::Duration;

use common::exec::Sibling;
use common::report::{Outcome, Problem, Report};

use crate::attempt::Attempt;

const MIGRATE_LIMIT: Duration = Duration::from_secs(30 * 60);
const BACKUP_LIMIT: Duration = Duration::from_secs(30 * 60);

/// `backup`, `migrate` and `verify`, found and checked before anything begins.
pub(crate) struct Siblings {
    backup: Sibling,
    migrate: Sibling,
    verify: Sibling,
}

impl Siblings {
    pub(crate) fn find() -> Result<Self, Problem> {
        Ok(Self {
            backup: Sibling::find("backup")?,
            migrate: Sibling::find("migrate")?,
            verify: Sibling::find("verify")?,
        })
    }
}

impl Attempt<'_> {
    /// Runs `backup ENV ARGS…`.
    pub(crate) fn backup(&mut self, args: &[&str]) -> Result<Report, Problem> {
        self.sibling(self.siblings.backup.clone(), args, BACKUP_LIMIT)
    }

    /// Runs `migrate ENV ARGS…`.
    pub(crate) fn migrate(&mut self, args: &[&str]) -> Result<Report, Problem> {
        self.sibling(self.siblings.migrate.clone(), args, MIGRATE_LIMIT)
    }

    /// Runs `verify ENV ARGS…`.
    pub(crate) fn verify(&mut self, args: &[&str]) -> Result<Report, Problem> {
        let limit = self.site.settings().deadlines.verify.0;
        self.sibling(self.siblings.verify.clone(), args, limit)
    }

    /// Its steps and facts become part of our report; its problem becomes ours.
    fn sibling(&mut self, sibling: Sibling, args: &[&str], limit: Duration) -> Result<Report, Problem> {
        let environment = self.site.environment.clone();
        let words: Vec<&str> = [environment.as_str()].into_iter().chain(args.iter().copied()).collect();
        let report = sibling.run(&self.site.config.file, &words, Some(&self.site.lock), limit)?;
        self.adopt(report.clone());
        if report.success {
            return Ok(report);
        }
        let failed = || Problem::new("sibling-failed", format!("{} {} failed", report.tool, words.join(" ")));
        let problem = report.problem.clone().unwrap_or_else(failed);
        match report.outcome {
            Outcome::Unverified => Err(Problem { kind: "unverified".into(), ..problem }),
            _ => Err(problem),
        }
    }
}
