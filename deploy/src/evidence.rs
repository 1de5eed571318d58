//! The evidence gate: a promotion takes only a tree that was verified where it comes from. The
//! evidence lies in this host's ledger, or in a signed statement that another host sends.
//!
//! Of a report only the signed statement is believed, and it never says where to deploy to.

use std::path::PathBuf;

use common::cli::{self, Run};
use common::clock;
use common::config::{Config, Environment};
use common::evidence::{Signed, Statement, check_signers};
use common::git::short;
use common::ledger::{Ledger, Verification};
use common::report::{Outcome, Problem, Received, now, quoted};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::arguments::DeployOptions;
use crate::source::Source;

const GATE: &str = "gate.evidence";

/// What the command line says about evidence.
pub(crate) struct Asked {
    /// The report that `--evidence` named.
    report: Option<Received>,
    /// The reason for `--force-unverified`.
    forced: Option<String>,
}

/// What evidence is wanted for.
pub(crate) struct Sought<'a> {
    pub(crate) config: &'a Config,
    pub(crate) environment: &'a str,
    pub(crate) settings: &'a Environment,
    pub(crate) ledger: Option<&'a Ledger>,
    pub(crate) source: &'a Source,
}

/// What let the tree in, as `details.deploy.evidence` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Accepted {
    source: &'static str,
    environment: String,
    deployment: String,
    revision: String,
    host: String,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

fn moment(found: &Verification) -> Timestamp {
    Timestamp::from_millisecond(found.at_ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Asked {
    /// Reads the report before anything is locked: whoever writes it may take minutes.
    ///
    /// # Errors
    /// `usage`, `configuration`.
    pub(crate) fn read(config: &Config, environment: &str, options: &DeployOptions) -> Result<Self, Problem> {
        let settings = config.environment(environment)?;
        let speaks = options.evidence.is_some() || options.force_unverified;
        if speaks && settings.promote_from.is_none() {
            return Err(Problem::usage(format!(
                "'{environment}' has no promote_from and asks for no evidence"
            ))
            .hint(format!("deploy {environment}")));
        }
        let read = |file: &PathBuf| {
            check_signers(&signers(config, settings)?)?;
            cli::read_evidence(file, &example(settings, environment))
        };
        let report = options.evidence.as_ref().map(read).transpose()?;
        Ok(Self { report, forced: options.reason.clone() })
    }
}

/// Runs the gate as a step of `run`; gives the reason when only that let the tree in. The caller
/// shows it if it knows the secrets that may not stand in it.
///
/// # Errors
/// `no-evidence`, `signature-refused`, `ledger-unreadable`.
pub(crate) fn gate<'a>(
    run: &mut Run,
    asked: &'a Asked,
    sought: &Sought<'_>,
) -> Result<Option<&'a str>, Problem> {
    let Some(reason) = &asked.forced else {
        let accepted = run.step(GATE, || sought.find(asked.report.as_ref()))?;
        run.detail("evidence", accepted);
        return Ok(None);
    };
    match sought.find(None) {
        Err(problem) if problem.kind == "no-evidence" => {
            run.skip(GATE, &format!("forced although {}", problem.title));
            run.detail("forced", true);
            run.warn(&format!("'{}' gets what has no evidence: {}", sought.environment, problem.title));
            Ok(Some(reason))
        }
        found => {
            let accepted = run.step(GATE, || found)?;
            run.detail("evidence", accepted);
            run.detail("forced", false);
            run.warn("there is evidence; --force-unverified was not needed, and nothing is marked as forced");
            Ok(None)
        }
    }
}

impl Sought<'_> {
    fn find(&self, report: Option<&Received>) -> Result<Accepted, Problem> {
        match report {
            None => self.in_ledger(),
            Some(report) => self.in_report(report),
        }
    }

    /// The newest verification of the tree in this host's ledger.
    pub(crate) fn in_ledger(&self) -> Result<Accepted, Problem> {
        let found =
            self.counting()?.map_err(|why| Problem::new("no-evidence", why).hint(self.way_there()))?;
        Ok(Accepted {
            source: "ledger",
            at: moment(&found),
            environment: found.environment,
            deployment: found.deployment,
            revision: found.revision,
            host: found.host,
            signer: None,
            key: None,
        })
    }

    /// The verification that counts, or why none does.
    fn counting(&self) -> Result<Result<Verification, String>, Problem> {
        let (from, tree) = (self.from(), short(&self.source.tree));
        let Some((ledger, found)) = self.ledger.zip(self.verification()?) else {
            return Ok(Err(format!("tree {tree} was never verified in '{from}'")));
        };
        if !found.passed {
            return Ok(Err(format!("the last verification of tree {tree} in '{from}' failed")));
        }
        let row = ledger.deployment(&found.deployment)?.filter(|row| row.verified_ms.is_some());
        let Some(row) = row else {
            return Ok(Err(format!("the verification of tree {tree} in '{from}' was withdrawn")));
        };
        if row.awaits_confirmation() {
            return Ok(Err(format!("tree {tree} waits in '{from}' to be confirmed")));
        }
        if let Some(age) = too_old(self.settings, moment(&found)) {
            return Ok(Err(format!("the verification of tree {tree} in '{from}' is {age} old")));
        }
        Ok(match clock::age(found.at_ms) {
            Ok(_) => Ok(found),
            Err(ahead) => Err(format!(
                "the verification of tree {tree} in '{from}' is dated {} min ahead of this host's clock, and nobody knows its age",
                ahead.as_secs() / 60
            )),
        })
    }

    /// What makes evidence, and what uses it.
    fn way_there(&self) -> String {
        let from = self.from();
        let again = if self.source.promotes { " --promote" } else { "" };
        let branch = self.config.environments.get(from).and_then(Environment::default_branch);
        format!(
            "deploy {from} --branch {} && deploy {}{again}",
            quoted(branch.unwrap_or("BRANCH")),
            self.environment
        )
    }

    /// The signed statement in a report of another host.
    fn in_report(&self, received: &Received) -> Result<Accepted, Problem> {
        let hint = example(self.settings, self.environment);
        let signed = statement_of(received).map_err(|problem| problem.hint(hint.clone()))?;
        let witnessed = signed.check(&signers(self.config, self.settings)?)?;
        let statement = witnessed.statement;
        self.weigh(&statement)
            .and_then(|()| self.contradict(&statement))
            .map_err(|problem| problem.hint(hint))?;
        Ok(Accepted {
            source: "report",
            environment: statement.environment,
            deployment: statement.deployment,
            revision: statement.revision,
            host: statement.host,
            at: statement.verified_at,
            signer: Some(witnessed.signer),
            key: Some(witnessed.key),
        })
    }

    /// Whether what is signed is what is wanted here, now.
    fn weigh(&self, statement: &Statement) -> Result<(), Problem> {
        let from = self.from();
        let refuse = |title: String| Err(Problem::new("no-evidence", title));
        let Statement { app, environment, tree, host, .. } = statement;
        if statement.outcome != Outcome::Succeeded {
            return refuse(format!("the statement says that the verification {}", statement.outcome.word()));
        }
        if *app != self.config.app.name {
            return refuse(format!("the statement is about app '{app}', not '{}'", self.config.app.name));
        }
        if environment != from {
            return refuse(format!("the statement is about environment '{environment}', not '{from}'"));
        }
        if *tree != self.source.tree {
            let (signed, wanted) = (short(tree), short(&self.source.tree));
            return refuse(format!("the statement is about tree {signed}, and {wanted} is to be deployed"));
        }
        if let Some(age) = too_old(self.settings, statement.verified_at) {
            return refuse(format!("the verification on {host} is {age} old"));
        }
        if clock::age(statement.verified_at.as_millisecond()).is_err() {
            return Err(Problem::new("no-evidence", format!("the verification on {host} is in the future"))
                .detail(format!("it says {}, here it is {}", statement.verified_at, now())));
        }
        Ok(())
    }

    /// What this host saw itself, later than another one, counts for more.
    fn contradict(&self, statement: &Statement) -> Result<(), Problem> {
        let later = |at_ms: i64| at_ms > statement.verified_at.as_millisecond();
        match self.verification()?.filter(|own| !own.passed && later(own.at_ms)) {
            Some(_) => Err(Problem::new(
                "no-evidence",
                format!("a later verification in '{}' on this host failed", self.from()),
            )),
            None => Ok(()),
        }
    }

    /// What this host's ledger knows of the tree.
    fn verification(&self) -> Result<Option<Verification>, Problem> {
        let found = self.ledger.map(|ledger| ledger.evidence(self.from(), &self.source.tree));
        found.transpose().map(Option::flatten)
    }

    fn from(&self) -> &str {
        self.settings.promote_from.as_deref().unwrap_or_default()
    }
}

/// The statement, if the report is one that could carry it.
fn statement_of(received: &Received) -> Result<Signed, Problem> {
    let refuse = |title: String| Problem::new("no-evidence", title);
    let report = match received {
        Received::Whole(report) => report,
        Received::CutOff(report) => {
            return Err(refuse(format!("the report was cut off before {} could finish", report.tool)));
        }
    };
    if !report.success {
        let why = report.problem.as_ref().map(ToString::to_string).unwrap_or_default();
        let (tool, outcome) = (&report.tool, report.outcome.word());
        return Err(refuse(format!("the report of {tool} says '{outcome}'")).detail(why));
    }
    Signed::of(report).ok_or_else(|| refuse("the report carries no signed statement".into()))
}

/// The age in words, when it is more than the environment allows.
fn too_old(settings: &Environment, at: Timestamp) -> Option<String> {
    let age = now().duration_since(at);
    let limit = SignedDuration::try_from(settings.evidence.max_age.0).unwrap_or(SignedDuration::MAX);
    (age > limit).then(|| match age.as_hours() {
        ..1 => format!("{} s", age.as_secs()),
        hours @ 1..48 => format!("{hours} h"),
        hours => format!("{} days", hours / 24),
    })
}

/// Who may sign evidence for an environment.
fn signers(config: &Config, settings: &Environment) -> Result<PathBuf, Problem> {
    config.allowed_signers(settings).ok_or_else(|| {
        Problem::configuration("evidence from a report needs evidence.allowed_signers")
            .detail(format!(
                "a file of lines such as: NAME namespaces=\"{}\" ssh-ed25519 AAAA…",
                common::evidence::NAMESPACE
            ))
            .hint(format!(
                "grep -n promote_from {}   # add beside it: evidence = {{ allowed_signers = \"FILE\" }}",
                quoted(config.file.display())
            ))
    })
}

fn example(settings: &Environment, environment: &str) -> String {
    let from = settings.promote_from.as_deref().unwrap_or_default();
    format!("ssh HOST verify {from} --sign KEY | deploy {environment} --evidence -")
}
