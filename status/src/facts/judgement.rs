//! What is wrong with an environment, in words, and the command that helps.

use serde_json::Value;

use super::Facts;

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
            return Some(format!("should serve {deployment}, and its gateway sends requests elsewhere"));
        }
        match (&self.health, self.identity.as_deref()) {
            (Some(Value::Number(status)), _) if status.as_u64().is_some_and(|status| status >= 400) => {
                Some(format!("answers its health path with {status}"))
            }
            (Some(Value::String(error)), _) => Some(format!("does not answer: {error}")),
            (_, Some(verdict @ ("old" | "mixed"))) => Some(format!("is served by {verdict} processes")),
            _ if self.gateway_orphaned => {
                Some("is served by a gateway whose keeper is gone: nobody would start it again".into())
            }
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
