//! Evidence that travels to another host: a statement about one verification, signed with ssh.
//!
//! Owns the statement and its one form in bytes; `signature` makes and checks what stands under
//! it. Whether a statement is enough for a promotion is for `deploy` to say.

mod signature;

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use signature::{NAMESPACE, check_key, check_signers};

use crate::report::{Outcome, Problem, Report, VERSION};

/// What is signed: everything that a promotion asks about, and who says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Contract version of the tools that verified.
    pub version: u32,
    /// Their product version, for people.
    pub product: String,
    pub app: String,
    pub environment: String,
    pub deployment: String,
    /// Full git commit id.
    pub revision: String,
    /// Full git tree id: what promotion compares.
    pub tree: String,
    /// Name of the host that verified.
    pub host: String,
    /// By the clock of that host.
    pub verified_at: Timestamp,
    pub outcome: Outcome,
}

/// A statement and its signature, as `details.verify.evidence` carries them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The very text that was signed.
    statement: String,
    /// In the armour of `ssh-keygen -Y sign`.
    signature: String,
}

/// A statement whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    pub statement: Statement,
    /// As the allowed signers name them.
    pub signer: String,
    /// Fingerprint of the key.
    pub key: String,
}

impl Statement {
    /// Signs it with a private key's file, or with a public key whose other half an agent has.
    ///
    /// # Errors
    /// `not-signed`.
    pub fn sign(&self, key: &Path) -> Result<Signed, Problem> {
        let statement = self.text();
        let signature = signature::make(&statement, key)?;
        Ok(Signed { statement, signature })
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the one form that `text` has; what says the same in other bytes is refused.
    fn read(text: &str) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let refuse = |title: String| Problem::new("no-evidence", title).hint("verify --version --json");
        let Version { version } = serde_json::from_str(text)
            .map_err(|error| refuse("the statement is none of ours".into()).detail(error.to_string()))?;
        if version != VERSION {
            return Err(refuse(format!(
                "the statement has contract version {version}, this tool speaks {VERSION}"
            )));
        }
        let statement: Self = serde_json::from_str(text)
            .map_err(|error| refuse("the statement is none of ours".into()).detail(error.to_string()))?;
        if statement.text() == text {
            return Ok(statement);
        }
        Err(refuse("the statement is not in the form in which we write it".into()))
    }
}

impl Signed {
    /// What a report carries, believed or not.
    pub fn of(report: &Report) -> Option<Self> {
        Self::deserialize(report.details.get("verify")?.get("evidence")?).ok()
    }

    /// Whether it holds a statement of ours and no other text.
    pub(crate) fn is_well_formed(&self) -> bool {
        Statement::read(&self.statement).is_ok()
    }

    /// Puts it back where [`Signed::of`] found it, byte for byte.
    pub(crate) fn restore_in(self, report: &mut Report) {
        if let Some(member) = report.details.get_mut("verify").and_then(|facts| facts.get_mut("evidence")) {
            *member = serde_json::to_value(self).unwrap_or_default();
        }
    }

    /// Believes the statement if one of `signers` signed it for this purpose, with a key that is
    /// valid now.
    ///
    /// # Errors
    /// `signature-refused`, `not-started`, `no-evidence`.
    pub fn check(&self, signers: &Path) -> Result<Witnessed, Problem> {
        let (signer, key) = signature::check(&self.statement, &self.signature, signers)?;
        Ok(Witnessed { statement: Statement::read(&self.statement)?, signer, key })
    }
}

#[cfg(test)]
mod tests;
