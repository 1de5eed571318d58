//! What is wrong with an environment, in words, and the command that helps.

use serde_json::Value;

use super::Facts;

/// Ends of sentences about an environment, as `status` and the watch say them.
pub(crate) mod troubles {
    use std::fmt::Display;

    pub(crate) const ORPHANED: &str =
        "is served by a gateway whose keeper is gone: nobody would start it again";

    pub(crate) fn elsewhere(deployment: &str) -> String {
        format!("should serve {deployment}, and its gateway sends requests elsewhere")
    }

    pub(crate) fn failing(status: impl Display) -> String {
        format!("answers its health path with {status}")
    }

    pub(crate) fn silent(error: &str) -> String {
        format!("does not answer: {error}")
    }

    /// Nothing for the right processes, and for those that cannot be seen.
    pub(crate) fn strangers(verdict: &str) -> Option<String> {
        matches!(verdict, "old" | "mixed").then(|| format!("is served by {verdict} processes"))
    }
}

impl Facts {
    /// Whether anything was ever deployed here.
    pub(crate) fn is_untouched(&self) -> bool {
        self.deployment.is_none() && self.last.is_empty()
    }

    /// What is wrong, as the end of a sentence about the environment.
    pub(crate) fn trouble(&self) -> Option<String> {
        let Some(deployment) = &self.deployment else {
            return Some("serves nothing yet".into());
        };
        let Some(gateway) = &self.gateway else { return Some("has no running gateway".into()) };
        if gateway.active.as_ref().is_none_or(|target| &target.deployment != deployment) {
            return Some(troubles::elsewhere(deployment));
        }
        let strangers = self.identity.as_deref().and_then(troubles::strangers);
        match &self.health {
            Some(Value::Number(status)) if status.as_u64().is_some_and(|status| status >= 400) => {
                Some(troubles::failing(status))
            }
            Some(Value::String(error)) => Some(troubles::silent(error)),
            _ if strangers.is_some() => strangers,
            _ if self.gateway_orphaned => Some(troubles::ORPHANED.into()),
            _ if self.ledger_lost.is_some() => {
                Some(format!("serves, but the ledger {}", self.ledger_lost.as_deref().unwrap_or_default()))
            }
            _ if self.unfinished.is_empty() || self.lock.is_some() || self.confirm_by.is_some() => None,
            _ => Some(format!("has unfinished work: {}", self.unfinished.join(", "))),
        }
    }

    /// The command that helps.
    pub(crate) fn advice(&self) -> String {
        let place = &self.environment;
        match self.deployment {
            Some(_) if self.ledger_lost.is_some() => {
                format!("verify {place}   # any command that changes something makes the ledger again")
            }
            None => format!("deploy {place}"),
            Some(_) => {
                format!("verify {place}   # any deploy or rollback of '{place}' recovers what a crash left")
            }
        }
    }
}
