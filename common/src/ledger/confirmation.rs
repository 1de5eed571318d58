//! Confirmations: a proved deployment that somebody has to confirm in time, or it goes back. Each
//! question and its answer are one transaction, so that confirming and giving up cannot both win.

use rusqlite::params;

use super::{Deployment, Ledger};
use crate::report::{Problem, now};

/// In the place of a time: asked for, and not yet proved.
const DEMANDED: i64 = -1;

impl Deployment {
    /// Somebody has to confirm it, and nobody has.
    pub fn awaits_confirmation(&self) -> bool {
        self.confirm_by_ms.is_some() && self.confirmed_ms.is_none()
    }

    /// It was proved, and its time to be confirmed began.
    pub fn was_proved_unconfirmed(&self) -> bool {
        self.awaits_confirmation() && self.confirm_by_ms != Some(DEMANDED)
    }

    /// It still can be confirmed in time.
    pub fn is_confirmable(&self) -> bool {
        self.awaits_confirmation() && self.confirm_by_ms > Some(now().as_millisecond())
    }
}

impl Ledger {
    /// Records, before traffic moves, that a deployment has to be confirmed once it is proved: a run
    /// that dies in between must not pass for one that nobody had to confirm.
    pub fn demand_confirmation(&self, id: &str) -> Result<(), Problem> {
        self.durably(|db| {
            db.execute("UPDATE deployments SET confirm_by_ms = ?2 WHERE id = ?1", params![id, DEMANDED])
                .map(drop)
        })
    }

    /// Records that a deployment has to be confirmed before `by_ms` (milliseconds since 1970).
    pub fn await_confirmation(&self, id: &str, by_ms: i64) -> Result<(), Problem> {
        self.durably_told("awaits", id, |db| {
            db.execute("UPDATE deployments SET confirm_by_ms = ?2 WHERE id = ?1", params![id, by_ms])
                .map(drop)
        })
    }

    /// Confirms a deployment; false when it is too late.
    pub fn confirm(&self, id: &str) -> Result<bool, Problem> {
        self.durably_told("confirmed", id, |db| {
            db.execute(
                "UPDATE deployments SET confirmed_ms = ?2 WHERE id = ?1 AND confirmed_ms IS NULL AND confirm_by_ms > ?2 AND ended_ms IS NULL",
                params![id, now().as_millisecond()],
            )
            .map(|changed| changed == 1)
        })
    }

    /// Gives up waiting, whatever the clock says; false when somebody has confirmed.
    pub fn give_up_waiting(&self, id: &str) -> Result<bool, Problem> {
        self.durably_told("unconfirmed", id, |db| {
            db.execute(
                "UPDATE deployments SET confirm_by_ms = 0 WHERE id = ?1 AND confirm_by_ms IS NOT NULL AND confirmed_ms IS NULL",
                [id],
            )
            .map(|changed| changed == 1)
        })
    }

    /// The deployment of an environment that waits to be confirmed.
    pub fn awaiting(&self, environment: &str) -> Result<Option<Deployment>, Problem> {
        Ok(self
            .unfinished(environment)?
            .into_iter()
            .find(|row| row.was_proved_unconfirmed() && row.ended_ms.is_none()))
    }
}

#[cfg(test)]
mod tests {
    use crate::ledger::{Beginning, Kind, Ledger};
    use crate::report::now;

    fn ledger(dir: &std::path::Path) -> Ledger {
        let file = dir.join("deploy.toml");
        let text = "[app]\nname = \"x\"\nrun = \"true\"\n[environments.dev]\nbranches = [\"dev\"]\nlisten = \"127.0.0.1:8001\"\n";
        std::fs::write(&file, text).unwrap();
        let ledger = Ledger::open(&crate::config::load(Some(&file)).unwrap()).unwrap();
        let beginning = Beginning {
            id: "a",
            environment: "dev",
            kind: Kind::Deploy,
            revision: "r",
            branch: None,
            tree: None,
            replaced: None,
            restores: None,
            log_file: None,
        };
        ledger.begin(&beginning).unwrap();
        ledger
    }

    #[test]
    fn whoever_comes_first_wins() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path());
        assert!(!ledger.confirm("a").unwrap(), "nothing waits yet");
        assert!(!ledger.give_up_waiting("a").unwrap(), "nothing waits yet");
        ledger.demand_confirmation("a").unwrap();
        assert!(!ledger.confirm("a").unwrap(), "not yet proved");
        assert!(ledger.awaiting("dev").unwrap().is_none());
        assert!(!ledger.deployment("a").unwrap().unwrap().is_settled());
        ledger.await_confirmation("a", now().as_millisecond() + 60_000).unwrap();
        assert_eq!(ledger.awaiting("dev").unwrap().unwrap().id, "a");
        assert!(ledger.confirm("a").unwrap());
        assert!(!ledger.confirm("a").unwrap(), "once");
        assert!(!ledger.give_up_waiting("a").unwrap(), "confirmed");
        assert!(ledger.awaiting("dev").unwrap().is_none());
    }

    #[test]
    fn too_late_is_too_late() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path());
        ledger.await_confirmation("a", now().as_millisecond() - 1).unwrap();
        assert!(!ledger.confirm("a").unwrap());
        ledger.await_confirmation("a", now().as_millisecond() + 60_000).unwrap();
        assert!(ledger.give_up_waiting("a").unwrap());
        assert!(!ledger.confirm("a").unwrap());
    }
}
