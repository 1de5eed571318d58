//! The `systemd` supervisor: a template unit for each environment, whose instances are the slots.
//! The unit's text stays the same from release to release; what a slot runs stands in two files of
//! the slot, its variables and the line of shell that it is started with.

use std::time::Duration;

use super::journal::Journal;
use super::slot_files::{self, Slots};
use super::{Condition, Start, Stopped};
use crate::address::Address;
use crate::clock;
use crate::config::{ServiceType, SystemdOptions};
use crate::identity::Owner;
use crate::layout::{Place, Slot};
use crate::report::{Problem, quoted};
use crate::systemd::account::Choice;
use crate::systemd::manager::Properties;
use crate::systemd::sandbox;
use crate::systemd::unit::order;
use crate::systemd::{Account, Manager, UnitFile, access};

pub(super) const ASKED: &str = "ActiveState,SubState,MainPID,NRestarts,ExecMainCode,ExecMainStatus,Result";
/// A restarted instance counts as running once it has lived for so long.
const SETTLED: Duration = Duration::from_secs(2);

/// Units of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Systemd {
    manager: Manager,
    options: SystemdOptions,
}

impl Systemd {
    pub(super) fn new(manager: Manager, options: SystemdOptions) -> Self {
        Self { manager, options }
    }

    /// The one whose unit an environment has, whatever its configuration says now.
    pub(super) fn left_behind(place: &Place) -> Option<Self> {
        let found = [Manager::System, Manager::User]
            .into_iter()
            .map(|manager| Self { manager, options: SystemdOptions::default() });
        found.into_iter().find(|driver| {
            let unit = driver.unit(place, String::new());
            unit.path(driver.manager).exists()
                && unit.check(driver.manager).is_ok()
                && driver.manager.check().is_ok()
        })
    }

    /// Whether a start could work.
    pub(super) fn check(&self, place: &Place) -> Result<(), Problem> {
        self.manager.check()?;
        slot_files::check_state(place)?;
        self.unit(place, String::new()).check(self.manager)?;
        self.choice(place).check()
    }

    pub(super) fn check_boot(&self) -> Result<(), Problem> {
        self.manager.check_boot()
    }

    pub(super) fn start(&self, place: &Place, start: Start<'_>) -> Result<(), Problem> {
        self.check(place)?;
        let account = self.choice(place).provide()?;
        if let Some(account) = &account {
            access::open_release(place, &start.dir)?;
            access::give_shared(place, account, start.shared, start.database.as_deref())?;
            if let Address::Unix(socket) = start.address {
                access::give_socket_dir(socket.parent().unwrap_or(socket), account)?;
            }
        }
        let (slot, name) = (start.slot, self.name(place, start.slot));
        let body = self.body(place, &start, account.as_ref());
        slot_files::write(place, start, account.is_some())?;
        self.unit(place, body).install(self.manager)?;
        if self.manager.show(&[&name], "NeedDaemonReload")[0].get("NeedDaemonReload") == "yes" {
            self.manager.reload()?;
        }
        launch("start", &self.log(place, slot), self.options.kind == ServiceType::Notify)
    }

    pub(super) fn stop(&self, place: &Place, slot: Slot) -> Result<Stopped, Problem> {
        if !self.unit(place, String::new()).path(self.manager).exists() {
            return Ok(Stopped::default());
        }
        let name = self.name(place, slot);
        order(self.manager, "not-stopped", &["stop", &name])
            .map_err(|problem| problem.hint(format!("systemctl status {}", quoted(&name))))?;
        let after = &self.manager.show(&[&name], ASKED)[0];
        if after.get("ActiveState") == "failed" {
            self.manager.control(&["reset-failed", &name])?;
        }
        Ok(Stopped { killed: after.get("Result") == "timeout" })
    }

    pub(super) fn condition(&self, place: &Place, slot: Slot) -> Condition {
        if !self.unit(place, String::new()).path(self.manager).exists() {
            return Condition::Stopped;
        }
        condition_of(&self.manager.show(&[&self.name(place, slot)], ASKED)[0])
    }

    pub(super) fn log(&self, place: &Place, slot: Slot) -> Journal {
        let started = slot_files::variables(place, slot);
        Journal { manager: self.manager, unit: self.name(place, slot), started }
    }

    /// Lets a boot start these slots and no other; one that never ran has nothing to start.
    pub(super) fn enable(&self, place: &Place, slots: &[Slot]) -> Result<(), Problem> {
        let unit = self.unit(place, String::new());
        Slot::BOTH.into_iter().try_for_each(|slot| {
            let name = self.name(place, slot);
            let wanted = slots.contains(&slot) && slot_files::variables(place, slot).exists();
            unit.enable(self.manager, self.manager.boot_target(), &name, wanted)
        })
    }

    fn name(&self, place: &Place, slot: Slot) -> String {
        let _ = self;
        format!("{}-{}@{slot}.service", place.app(), place.environment())
    }

    fn unit(&self, place: &Place, body: String) -> UnitFile {
        let _ = self;
        UnitFile::new(place, format!("{}-{}@.service", place.app(), place.environment()), body)
    }

    fn choice(&self, place: &Place) -> Choice {
        match self.manager {
            Manager::System => Choice::of(place, self.options.user.as_deref()),
            Manager::User => Choice::Own,
        }
    }

    fn body(&self, place: &Place, start: &Start<'_>, account: Option<&Account>) -> String {
        let (app, environment, slots) = (place.app(), place.environment(), Slots::of(place));
        let kind = match self.options.kind {
            ServiceType::Exec => "Type=exec",
            // The shell that `run` stands in may stay between systemd and the app.
            ServiceType::Notify => "Type=notify\nNotifyAccess=all",
        };
        let views = slots.views(place, "%i", start);
        let mut lines = vec![
            format!("[Unit]\nDescription={app} in {environment}, slot %i\nAfter=network.target"),
            // However often it fails: nobody else would start it again.
            format!("StartLimitIntervalSec=0\n\n[Service]\n{kind}"),
            format!("ExecStart=/bin/sh {}", slots.run("%i").replace('$', "$$")),
            format!("EnvironmentFile={}", slots.environment("%i")),
            format!(
                "Restart=always\nRestartSec=200ms\nTimeoutStartSec=infinity\nTimeoutStopSec={}ms",
                start.grace.as_millis()
            ),
            format!("KillMode=control-group\nSyslogIdentifier={app}-{environment}"),
        ];
        // A socket of the time before a reboot would be in the app's way.
        let sockets = slot_files::sockets(start.address, "%i");
        lines.extend(sockets.map(|dir| format!("ExecStartPre=-/bin/rm -f {dir}/app.sock")));
        if let Some(account) = account {
            lines.push(format!("User={}\nCapabilityBoundingSet=", account.name));
        }
        lines.extend(sandbox::lines(self.manager, &self.options, place.state(), &views));
        lines.push(format!("\n[Install]\nWantedBy={}\n", self.manager.boot_target()));
        lines.join("\n")
    }
}

/// Starts the unit of `log`, whose end stands in the problem. An app that says when it is ready may
/// take its time: whoever waits asks it over HTTP.
pub(super) fn launch(verb: &str, log: &Journal, notifies: bool) -> Result<(), Problem> {
    let block: &[&str] = if notifies { &["--no-block"] } else { &[] };
    let words: Vec<&str> = [verb].iter().chain(block).copied().chain([log.unit.as_str()]).collect();
    order(log.manager, "not-started", &words).map_err(|problem| problem.detail(log.tail()).hint(log.hint()))
}

pub(super) fn condition_of(found: &Properties) -> Condition {
    let pid = u32::try_from(found.number("MainPID")).unwrap_or(0);
    match (found.get("ActiveState"), found.get("SubState")) {
        ("active" | "activating" | "reloading", sub) if pid != 0 && sub != "auto-restart" => {
            let (starts, owner) = (found.number("NRestarts") + 1, Owner::read(pid));
            let since_ms = owner.map_or(0, |owner| owner.started_at.as_millisecond());
            if starts > 1 && clock::age(since_ms).is_ok_and(|age| age < SETTLED) {
                return Condition::Exited { ending: format!("a crash, the last of {}", starts - 1) };
            }
            Condition::Running { pid, starts, since_ms }
        }
        ("activating", "auto-restart") | ("failed" | "deactivating", _) => {
            Condition::Exited { ending: ending(found) }
        }
        _ => Condition::Stopped,
    }
}

/// The codes are those of the kernel's `siginfo`.
fn ending(found: &Properties) -> String {
    let status = found.number("ExecMainStatus");
    match found.number("ExecMainCode") {
        1 => format!("exit status {status}"),
        2 | 3 => format!("signal {status}"),
        _ => format!("the result '{}'", found.get("Result")),
    }
}
