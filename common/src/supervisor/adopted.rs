//! A unit that an operator wrote, taken over: `systemd = { unit = "…" }`. Account, limits, order and
//! hardening stay what the unit says. A drop-in of ours names the slot whose release it runs, so that
//! both slots are this one unit, and only one of them can run.
//!
//! Until a release of ours serves, what the unit ran before is given back by [`Adopted::give_back`].

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::journal::Journal;
use super::slot_files::{self, Slots};
use super::systemd::{ASKED, condition_of, launch};
use super::{Condition, Start, Stopped};
use crate::config::SystemdOptions;
use crate::durable;
use crate::fault;
use crate::layout::{Place, Slot};
use crate::report::{OrProblem, Problem, quoted};
use crate::systemd::account::Choice;
use crate::systemd::manager::Properties;
use crate::systemd::sandbox;
use crate::systemd::unit::order;
use crate::systemd::{Account, Manager, UnitFile, access};

const FACTS: &str = "LoadState,LoadError,Type,User,DynamicUser,UnitFileState";
/// Processes of these are no instance that can be watched and asked.
const UNSUITED: [&str; 4] = ["forking", "oneshot", "dbus", "idle"];

/// One unit of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    manager: Manager,
    unit: String,
    options: SystemdOptions,
}

/// What has to be known to give the unit back, as `adopted.json` says it.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    manager: Manager,
    unit: String,
    /// It ran when it was taken over.
    ran: bool,
}

impl Adopted {
    pub(super) fn new(manager: Manager, unit: &str, options: &SystemdOptions) -> Self {
        Self { manager, unit: unit.to_owned(), options: options.clone() }
    }

    /// The unit that an environment has taken over, whatever its configuration says now.
    pub(super) fn left_behind(place: &Place) -> Option<Self> {
        let before = before(place)?;
        before.manager.check().ok()?;
        Some(Self::new(before.manager, &before.unit, &SystemdOptions::default()))
    }

    pub(super) fn is_same_unit(&self, other: &Self) -> bool {
        (self.manager, &self.unit) == (other.manager, &other.unit)
    }

    /// Whether a start could work.
    pub(super) fn check(&self, place: &Place) -> Result<(), Problem> {
        self.manager.check()?;
        slot_files::check_state(place)?;
        self.drop_in(place, String::new()).check(self.manager)?;
        let facts = self.facts();
        let look = format!("systemctl {} cat {}", self.manager.option(), quoted(&self.unit));
        if facts.get("LoadState") != "loaded" {
            let why = [facts.get("LoadState"), facts.get("LoadError")].join(" ");
            return Err(Problem::new("unit-missing", format!("there is no unit {} to take over", self.unit))
                .detail(why.trim().to_owned())
                .hint(look));
        }
        let kind = facts.get("Type");
        if UNSUITED.contains(&kind) || facts.get("DynamicUser") == "yes" {
            let what =
                if UNSUITED.contains(&kind) { format!("Type={kind}") } else { "DynamicUser=yes".into() };
            return Err(Problem::new("unit-unsuited", format!("{} has {what}", self.unit))
                .detail("Type=simple, exec or notify, with a fixed user, can be taken over")
                .hint(look));
        }
        choice(&facts).check()
    }

    /// Whether a boot starts it, which is the operator's to say.
    pub(super) fn check_boot(&self) -> Result<(), Problem> {
        self.manager.check_boot()?;
        if self.facts().get("UnitFileState").starts_with("enabled") {
            return Ok(());
        }
        Err(Problem::new("unit-disabled", format!("a reboot does not start {}", self.unit)).hint(format!(
            "systemctl {} enable {}",
            self.manager.option(),
            quoted(&self.unit)
        )))
    }

    pub(super) fn start(&self, place: &Place, start: Start<'_>) -> Result<(), Problem> {
        self.check(place)?;
        let facts = self.facts();
        let account = choice(&facts).provide()?;
        if let Some(account) = &account {
            access::open_release(place, &start.dir)?;
            access::give_shared(place, account, start.shared, start.database.as_deref())?;
        }
        let notifies = facts.get("Type") == "notify";
        let body = self.body(place, &start, account.as_ref(), notifies);
        let log = self.log(place, start.slot);
        slot_files::write(place, start, account.is_some())?;
        self.remember(place)?;
        fault::point("adopted.before-drop-in");
        self.drop_in(place, body).install(self.manager)?;
        fault::point("adopted.after-drop-in");
        self.manager.reload()?;
        // It may have failed so often that systemd refuses.
        let _ = self.manager.control(&["reset-failed", &self.unit]);
        launch("restart", &log, notifies)
    }

    pub(super) fn stop(&self, place: &Place, slot: Slot) -> Result<Stopped, Problem> {
        if self.slot(place) != Some(slot) {
            return Ok(Stopped::default());
        }
        order(self.manager, "not-stopped", &["stop", &self.unit]).map_err(|problem| {
            problem.hint(format!("systemctl {} status {}", self.manager.option(), quoted(&self.unit)))
        })?;
        let after = &self.manager.show(&[&self.unit], ASKED)[0];
        Ok(Stopped { killed: after.get("Result") == "timeout" })
    }

    pub(super) fn condition(&self, place: &Place, slot: Slot) -> Condition {
        if self.slot(place) != Some(slot) {
            return Condition::Stopped;
        }
        condition_of(&self.manager.show(&[&self.unit], ASKED)[0])
    }

    pub(super) fn log(&self, place: &Place, slot: Slot) -> Journal {
        Journal {
            manager: self.manager,
            unit: self.unit.clone(),
            started: slot_files::variables(place, slot),
        }
    }

    /// Lets the unit be what it was before it was taken over; nothing where it never was. With
    /// `runs` it is started if it ran then. May be repeated.
    ///
    /// # Errors
    /// `not-stopped`, `not-started`, `state-unwritable`.
    pub(super) fn give_back(&self, place: &Place, runs: bool) -> Result<(), Problem> {
        let Some(before) = before(place) else { return Ok(()) };
        if self.slot(place).is_some() {
            order(self.manager, "not-stopped", &["stop", &self.unit])?;
            self.drop_in(place, String::new()).remove(self.manager)?;
        }
        fault::point("adopted.given-back");
        self.manager.reload()?;
        let _ = self.manager.control(&["reset-failed", &self.unit]);
        if runs && before.ran {
            order(self.manager, "not-started", &["start", &self.unit])?;
        }
        let path = record(place);
        durable::remove(&path).or_problem("state-unwritable", || format!("cannot remove {}", path.display()))
    }

    /// The slot that our drop-in names, also when somebody edited the rest of it.
    pub(super) fn slot(&self, place: &Place) -> Option<Slot> {
        let text = fs::read_to_string(self.drop_in(place, String::new()).path(self.manager)).ok()?;
        Slot::BOTH.into_iter().find(|slot| text.lines().any(|line| line == mark(*slot)))
    }

    fn facts(&self) -> Properties {
        self.manager.show(&[&self.unit], FACTS).swap_remove(0)
    }

    fn drop_in(&self, place: &Place, body: String) -> UnitFile {
        UnitFile::drop_in(place, &self.unit, body)
    }

    /// Keeps how the unit was found; what it did when a release of ours ran is no news.
    fn remember(&self, place: &Place) -> Result<(), Problem> {
        if before(place).is_some() {
            return Ok(());
        }
        let ran = self.manager.show(&[&self.unit], "ActiveState")[0].get("ActiveState") == "active";
        let before = Before { manager: self.manager, unit: self.unit.clone(), ran };
        let path = record(place);
        durable::write(&path, &serde_json::to_vec(&before).unwrap_or_default())
            .or_problem("state-unwritable", || format!("cannot write {}", path.display()))
    }

    fn body(&self, place: &Place, start: &Start<'_>, account: Option<&Account>, notifies: bool) -> String {
        let slots = Slots::of(place);
        let name = start.slot.to_string();
        let mut lines = vec![
            mark(start.slot),
            "[Service]".to_owned(),
            format!("ExecStart=\nExecStart=/bin/sh {}", slots.run(&name).replace('$', "$$")),
            "WorkingDirectory=".to_owned(),
            format!("EnvironmentFile={}", slots.environment(&name)),
        ];
        if notifies {
            // The shell that `run` stands in may stay between systemd and the app.
            lines.push("NotifyAccess=all".to_owned());
        }
        if account.is_some() {
            let views = slots.views(place, &name, start);
            lines.extend(sandbox::lines(self.manager, &self.options.views_only(), place.state(), &views));
        }
        lines.join("\n") + "\n"
    }
}

/// As whom the unit runs.
fn choice(facts: &Properties) -> Choice {
    match facts.get("User") {
        "" | "root" => Choice::Own,
        name => Choice::Named(name.to_owned()),
    }
}

fn mark(slot: Slot) -> String {
    format!("# slot {slot}")
}

fn record(place: &Place) -> PathBuf {
    place.root().join("adopted.json")
}

fn before(place: &Place) -> Option<Before> {
    serde_json::from_slice(&fs::read(record(place)).ok()?).ok()
}
