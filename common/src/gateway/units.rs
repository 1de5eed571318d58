//! The builtin gateway as units of systemd. A socket unit holds the public address, also while no
//! gateway runs; two instances of one service get it, so that a newer one starts beside the older,
//! takes the control socket over, and the older one ends.

use std::path::{Path, PathBuf};

use crate::config::{Environment, Listen, SupervisorKind, SystemdOptions};
use crate::exec::companion;
use crate::fault;
use crate::layout::{Place, create_private_dir};
use crate::report::{Problem, quoted};
use crate::systemd::manager::journal;
use crate::systemd::sandbox::{self, Views};
use crate::systemd::syntax::{command_word, word};
use crate::systemd::unit::order;
use crate::systemd::{Manager, UnitFile};

const FAILED: &str = "gateway-failed";
/// Beyond what the options of an app say: our own program needs no more.
const STRICT: [&str; 4] = [
    "MemoryDenyWriteExecute=yes",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "CapabilityBoundingSet=",
];

/// The units of one environment's gateway.
#[derive(Debug, Clone)]
pub(super) struct Units {
    manager: Manager,
    place: Place,
    listen: Listen,
}

/// How one of the two services is doing.
struct Service {
    name: String,
    active: bool,
    pid: u32,
}

impl Units {
    /// Those that the configuration asks for.
    pub(super) fn of(place: &Place, settings: &Environment) -> Option<Self> {
        let manager = match settings.supervisor {
            SupervisorKind::Process => return None,
            SupervisorKind::Systemd => Manager::System,
            SupervisorKind::SystemdUser => Manager::User,
        };
        Some(Self { manager, place: place.clone(), listen: settings.listen })
    }

    /// Those that are there, whatever the configuration says now.
    pub(super) fn left_behind(place: &Place, listen: Listen) -> Option<Self> {
        let found = [Manager::System, Manager::User].into_iter();
        found.map(|manager| Self { manager, place: place.clone(), listen }).find(|units| {
            let socket = units.file("socket", String::new());
            socket.path(units.manager).exists()
                && socket.check(units.manager).is_ok()
                && units.manager.check().is_ok()
        })
    }

    /// Whether they could be written and started.
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.manager.check()?;
        self.file("socket", String::new()).check(self.manager)?;
        self.service_file(String::new()).check(self.manager)
    }

    /// Whether the process `pid` is kept by one of the units, and by the only one that is active.
    pub(super) fn keeps(&self, pid: u32) -> bool {
        let services = self.services();
        let active: Vec<&Service> = services.iter().filter(|service| service.active).collect();
        active.len() == 1 && active[0].pid == pid
    }

    /// Writes the units and starts the socket and one of the services.
    pub(super) fn start(&self) -> Result<(), Problem> {
        self.install()?;
        let socket = format!("{}.socket", self.stem());
        order(self.manager, FAILED, &["start", &socket]).map_err(|problem| self.explain(problem))?;
        let services = self.services();
        if let Some(running) = services.iter().find(|service| service.active) {
            return self.settle(&running.name);
        }
        self.start_service(&services[0].name)?;
        self.settle(&services[0].name)
    }

    /// Whether one of the services is the process `pid`.
    pub(super) fn runs(&self, pid: u32) -> bool {
        self.services().iter().any(|service| service.pid == pid)
    }

    /// Starts the other service beside the one that runs as `pid`; false when it runs already, after
    /// a renewal that was cut off: `pid` is the newer one then.
    pub(super) fn start_successor(&self, pid: u32) -> Result<bool, Problem> {
        self.install()?;
        let other = self.services().into_iter().find(|service| service.pid != pid && !service.active);
        let Some(other) = other else { return Ok(false) };
        self.start_service(&other.name)?;
        fault::point("gateway.successor-started");
        Ok(true)
    }

    /// Lets a boot start the service that runs as `pid`, and ends the other one, which may take its
    /// time to answer what it was asked.
    pub(super) fn settle_on(&self, pid: u32) -> Result<(), Problem> {
        let services = self.services();
        let Some(current) = services.iter().find(|service| service.pid == pid) else { return Ok(()) };
        self.settle(&current.name)?;
        match services.iter().find(|service| service.pid != pid && service.active) {
            Some(other) => order(self.manager, FAILED, &["stop", "--no-block", &other.name]),
            None => Ok(()),
        }
    }

    /// Stops everything and lets no boot start it.
    pub(super) fn stop(&self) -> Result<(), Problem> {
        let services = self.services();
        let socket = format!("{}.socket", self.stem());
        self.file("socket", String::new()).enable(self.manager, "sockets.target", &socket, false)?;
        for service in &services {
            self.service_file(String::new()).enable(
                self.manager,
                self.manager.boot_target(),
                &service.name,
                false,
            )?;
        }
        let names = services.iter().map(|service| service.name.as_str());
        let words: Vec<&str> = ["stop", socket.as_str()].into_iter().chain(names).collect();
        order(self.manager, "not-stopped", &words)
    }

    /// The last lines and the command that shows more.
    pub(super) fn hint(&self) -> String {
        format!("journalctl {} {} -n 50", self.manager.journal_option(), quoted(format!("{}@*", self.stem())))
    }

    fn explain(&self, problem: Problem) -> Problem {
        let pattern = format!("{}*", self.stem());
        let log = journal(&["-o", "cat", "-n", "10", self.manager.journal_option(), &pattern]);
        problem.detail(log.trim_end()).hint(self.hint())
    }

    fn start_service(&self, name: &str) -> Result<(), Problem> {
        order(self.manager, FAILED, &["start", name]).map_err(|problem| self.explain(problem))
    }

    /// A boot starts the socket and this service.
    fn settle(&self, current: &str) -> Result<(), Problem> {
        let socket = format!("{}.socket", self.stem());
        self.file("socket", String::new()).enable(self.manager, "sockets.target", &socket, true)?;
        let service = self.service_file(String::new());
        self.service_names().iter().try_for_each(|name| {
            service.enable(self.manager, self.manager.boot_target(), name, name == current)
        })
    }

    fn install(&self) -> Result<(), Problem> {
        self.manager.check()?;
        // What is not there when a service starts, it does not see later either.
        create_private_dir(&self.place.status_server())?;
        self.file("socket", self.socket_body()).install(self.manager)?;
        self.service_file(self.service_body()?).install(self.manager)?;
        let [first, _] = self.service_names();
        let socket = format!("{}.socket", self.stem());
        let shown = self.manager.show(&[&socket, &first], "NeedDaemonReload");
        if shown.iter().any(|unit| unit.get("NeedDaemonReload") == "yes") {
            self.manager.reload()?;
        }
        Ok(())
    }

    fn services(&self) -> Vec<Service> {
        let names = self.service_names();
        let shown = self.manager.show(&[&names[0], &names[1]], "ActiveState,MainPID");
        names
            .into_iter()
            .zip(shown)
            .map(|(name, found)| Service {
                name,
                active: matches!(found.get("ActiveState"), "active" | "activating" | "reloading"),
                pid: u32::try_from(found.number("MainPID")).unwrap_or(0),
            })
            .collect()
    }

    fn stem(&self) -> String {
        format!("{}-{}-gateway", self.place.app(), self.place.environment())
    }

    fn service_names(&self) -> [String; 2] {
        ["a", "b"].map(|letter| format!("{}@{letter}.service", self.stem()))
    }

    fn file(&self, kind: &str, body: String) -> UnitFile {
        UnitFile::new(&self.place, format!("{}.{kind}", self.stem()), body)
    }

    fn service_file(&self, body: String) -> UnitFile {
        UnitFile::new(&self.place, format!("{}@.service", self.stem()), body)
    }

    /// Which of the two services is named there matters only when none runs.
    fn socket_body(&self) -> String {
        let [first, _] = self.service_names();
        let (app, environment) = (self.place.app(), self.place.environment());
        format!(
            "[Unit]\nDescription=Public address of {app} in {environment}\n\n\
             [Socket]\nListenStream={}\nBacklog=4096\nFreeBind=yes\nService={first}\n\
             TriggerLimitIntervalSec=0\n\n[Install]\nWantedBy=sockets.target\n",
            self.listen.0
        )
    }

    fn service_body(&self) -> Result<String, Problem> {
        let (app, environment) = (self.place.app(), self.place.environment());
        let (program, dir): (PathBuf, PathBuf) = (companion("deploy-gateway")?, self.place.gateway());
        let mut lines = vec![
            format!(
                "[Unit]\nDescription=Gateway of {app} in {environment}\nStartLimitIntervalSec=0\n\n[Service]\nType=exec"
            ),
            format!("ExecStart={} --dir {}", command_word(&program), command_word(&dir)),
            // The socket is one for both services: one that starts must not make the other one block.
            format!(
                "Sockets={}.socket\nNonBlocking=yes\nRestart=always\nRestartSec=100ms\nTimeoutStopSec=35s",
                self.stem()
            ),
            format!("SyslogIdentifier={}", self.stem()),
        ];
        let readable = vec![word(&program), word(&self.place.status_server())];
        let views = Views { readable, writable: vec![word(&dir)] };
        let state: &Path = self.place.state();
        lines.extend(sandbox::lines(self.manager, &SystemdOptions::default(), state, &views));
        if self.manager == Manager::System {
            lines.extend(STRICT.map(str::to_owned));
        }
        lines.push(format!("\n[Install]\nWantedBy={}\n", self.manager.boot_target()));
        Ok(lines.join("\n"))
    }
}
