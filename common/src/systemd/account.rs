//! As whom an app runs when root deploys it: an account of its own for each environment, made when
//! it is missing, or the one that the configuration names. Two environments of an app may not read
//! each other's processes either, so they do not share one.

use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::manager::OrKind;
use crate::exec::Program;
use crate::hex;
use crate::layout::Place;
use crate::lock::INHERITED;
use crate::report::{Problem, quoted};

/// In the comment of the accounts that we made.
const MARK: &str = "agent-deploy";
/// A longer name no host takes.
const LONGEST: usize = 31;

/// An account other than root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Whose account an instance gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The one who deploys.
    Own,
    Named(String),
    /// Of that name; ours to make.
    Made(String),
}

impl Choice {
    /// What the configuration says, `user` being its key.
    pub(crate) fn of(place: &Place, user: Option<&str>) -> Self {
        match user {
            Some("root") => Self::Own,
            Some(name) => Self::Named(name.to_owned()),
            None => Self::Made(account_name(place.app(), place.environment())),
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Own => None,
            Self::Named(name) | Self::Made(name) => Some(name),
        }
    }

    /// Refuses an account that is missing, or that is somebody else's.
    ///
    /// # Errors
    /// `account-missing`, `account-taken`.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.find().map(drop)
    }

    fn find(&self) -> Result<Option<Account>, Problem> {
        let Some(name) = self.name() else { return Ok(None) };
        match (look_up(name), self) {
            (None, Self::Named(_)) => {
                Err(Problem::new("account-missing", format!("there is no user '{name}'"))
                    .hint(format!("useradd --system --user-group {}", quoted(name))))
            }
            (Some((_, comment)), Self::Made(_)) if !comment.starts_with(MARK) => {
                Err(Problem::new("account-taken", format!("the user '{name}' is there and not ours"))
                    .detail(format!("to run the app as that user, say systemd = {{ user = \"{name}\" }}"))
                    .hint(format!("getent passwd {}", quoted(name))))
            }
            (found, _) => Ok(found.map(|(account, _)| account)),
        }
    }

    /// The account, made when it is ours to make; `None` for the one who deploys.
    ///
    /// # Errors
    /// As [`Choice::check`], and `account-missing` when it cannot be made.
    pub(crate) fn provide(&self) -> Result<Option<Account>, Problem> {
        let found = self.find()?;
        let Some(name) = self.name().filter(|_| found.is_none()) else { return Ok(found) };
        let line = format!("u {name} - \"{MARK} runs one environment of an app\"");
        Program::new("systemd-sysusers")
            .args(["--inline", &line])
            .succeed()
            .or_problem_kind("account-missing")?;
        self.find()?.map(Some).ok_or_else(|| {
            Problem::new("account-missing", format!("the user '{name}' could not be made"))
                .hint(format!("systemd-sysusers --inline {}", quoted(&line)))
        })
    }
}

/// `APP-ENV` as account names are written; one that would be too long ends in a hash.
fn account_name(app: &str, environment: &str) -> String {
    let name = format!("{app}-{environment}").to_lowercase();
    let name = if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name };
    if name.len() <= LONGEST {
        return name;
    }
    let hash = hex(&Sha256::digest(name.as_bytes()));
    format!("{}-{}", &name[..LONGEST - 9], &hash[..8])
}

/// The account of that name, and its comment.
fn look_up(name: &str) -> Option<(Account, String)> {
    let mut command = Command::new("getent");
    command.args(["passwd", name]).env_remove(INHERITED).stdin(Stdio::null()).stderr(Stdio::null());
    let text = String::from_utf8(command.output().ok()?.stdout).ok()?;
    let mut fields = text.trim_end().split(':');
    let name = fields.next()?.to_owned();
    let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((Account { name, uid, gid }, fields.next()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_names_are_such_that_hosts_take_them() {
        assert_eq!(account_name("viewer", "prod"), "viewer-prod");
        assert_eq!(account_name("9Lives", "Dev"), "_9lives-dev");
        let long = account_name(&"a".repeat(40), "prod");
        assert_eq!(long.len(), LONGEST);
        assert_ne!(long, account_name(&"a".repeat(40), "dev"));
    }

    #[test]
    fn accounts_are_looked_up_by_name() {
        let (root, _) = look_up("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(look_up("no-such-user-here").is_none());
        let missing = Choice::Named("no-such-user-here".into()).check().unwrap_err();
        assert_eq!(missing.kind, "account-missing");
        assert_eq!(Choice::Made("daemon".into()).check().unwrap_err().kind, "account-taken");
        Choice::Named("daemon".into()).check().unwrap();
    }
}
