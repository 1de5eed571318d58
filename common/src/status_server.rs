//! `status serve`, kept beside the gateways of a state directory: started where deploy.toml has a
//! `[status]` table, and again when its program or its address is another; ended when the table is
//! gone. A unit keeps it where any environment has systemd, else a keeper.
//!
//! What it answers is the work of the tool `status`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::config::{Config, SupervisorKind};
use crate::exec::companion;
use crate::instance::base_environment;
use crate::layout::{Place, create_private_dir};
use crate::report::Problem;
use crate::supervisor::{KeeperRecord, keeper_lives, start_keeper, stop_keeper};
use crate::systemd::syntax::command_word;
use crate::systemd::unit::order;
use crate::systemd::{Manager, UnitFile};

/// The name of its socket in [`Place::of_status_server`].
pub const SOCKET: &str = "status.sock";
/// It has nothing to finish.
const GRACE: Duration = Duration::from_secs(5);
const FAILED: &str = "status-server-failed";

/// Starts it when it does not run as it should, ends it when it should not run; false when nothing
/// had to be done.
///
/// # Errors
/// `status-server-failed`, `state-unwritable`; for a unit also as the supervisor's check.
pub fn ensure(config: &Config) -> Result<bool, Problem> {
    let wanted = config.status.as_ref().is_some_and(|status| status.serve);
    let server = Server { config, place: Place::of_status_server(config) };
    match (wanted, server.manager()) {
        (false, _) => Ok(server.stop_keeper()? | server.stop_unit()?),
        (true, None) => Ok(server.stop_unit()? | server.keep()?),
        (true, Some(manager)) => Ok(server.stop_keeper()? | server.run_unit(manager)?),
    }
}

struct Server<'a> {
    config: &'a Config,
    place: Place,
}

impl Server<'_> {
    /// Who keeps it; none for a keeper.
    fn manager(&self) -> Option<Manager> {
        let has = |kind| self.config.environments.values().any(|environment| environment.supervisor == kind);
        match (has(SupervisorKind::Systemd), has(SupervisorKind::SystemdUser)) {
            (true, _) => Some(Manager::System),
            (false, true) => Some(Manager::User),
            (false, false) => None,
        }
    }

    fn words(&self) -> Result<Vec<OsString>, Problem> {
        let mut words: Vec<OsString> = vec![companion("status")?.into(), "serve".into(), "--quiet".into()];
        words.extend(["--config".into(), self.config.file.clone().into()]);
        if let Some(listen) = self.config.status.as_ref().and_then(|status| status.listen) {
            words.extend(["--listen".into(), listen.0.to_string().into()]);
        }
        Ok(words)
    }

    /// Whether a process runs the program of now with the words of now.
    fn is_current(&self, pid: u32) -> bool {
        let Ok(words) = self.words() else { return false };
        let told = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let said: Vec<&[u8]> = told.split(|byte| *byte == 0).skip(1).collect();
        let wanted: Vec<&[u8]> = words.iter().skip(1).map(|word| word.as_bytes()).chain([&[][..]]).collect();
        let file = |path: PathBuf| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let runs = file(format!("/proc/{pid}/exe").into());
        said == wanted && runs.is_some() && runs == file(PathBuf::from(&words[0]))
    }

    fn keep(&self) -> Result<bool, Problem> {
        let dir = self.place.root();
        if keeper_lives(&dir) {
            let child = KeeperRecord::read(&dir).and_then(|record| record.child);
            if child.is_some_and(|pid| self.is_current(pid)) {
                return Ok(false);
            }
            self.stop_keeper()?;
        }
        create_private_dir(&dir)?;
        let mut command = Command::new(companion("deploy-keeper")?);
        command.arg("--dir").arg(&dir).arg("--log").arg(dir.join("status.log"));
        command.args(["--stop-timeout-ms", &GRACE.as_millis().to_string(), "--"]).args(self.words()?);
        command.current_dir(&dir).env_clear().envs(base_environment());
        match start_keeper(&dir, command, Stdio::null()) {
            // Of two commands that start it at once one has done it.
            Err(_) if keeper_lives(&dir) => Ok(true),
            started => started.map(|_| true),
        }
    }

    fn stop_keeper(&self) -> Result<bool, Problem> {
        let dir = self.place.root();
        match KeeperRecord::read(&dir).filter(|_| keeper_lives(&dir)) {
            Some(record) => stop_keeper(&dir, &record, GRACE).map(|_| true),
            None => Ok(false),
        }
    }

    fn unit(&self, body: String) -> UnitFile {
        UnitFile::new(&self.place, format!("{}-status.service", self.place.app()), body)
    }

    fn run_unit(&self, manager: Manager) -> Result<bool, Problem> {
        manager.check()?;
        create_private_dir(&self.place.root())?;
        let unit = self.unit(self.unit_body(manager)?);
        unit.install(manager)?;
        unit.enable(manager, manager.boot_target(), &unit.name, true)?;
        let shown = manager.show(&[&unit.name], "NeedDaemonReload,ActiveState,MainPID");
        if shown.iter().any(|found| found.get("NeedDaemonReload") == "yes") {
            manager.reload()?;
        }
        let running = shown.first().filter(|found| found.get("ActiveState") == "active");
        let pid = running.and_then(|found| u32::try_from(found.number("MainPID")).ok());
        if pid.is_some_and(|pid| self.is_current(pid)) {
            return Ok(false);
        }
        order(manager, FAILED, &["restart", &unit.name]).map(|()| true)
    }

    fn stop_unit(&self) -> Result<bool, Problem> {
        let unit = self.unit(String::new());
        let found = [Manager::System, Manager::User].into_iter().find(|manager| unit.path(*manager).exists());
        let Some(manager) = found.filter(|manager| manager.check().is_ok()) else { return Ok(false) };
        order(manager, FAILED, &["stop", &unit.name])?;
        unit.enable(manager, manager.boot_target(), &unit.name, false)?;
        unit.remove(manager).map(|()| true)
    }

    /// It reads what only its owner may read, and writes no more than its socket.
    fn unit_body(&self, manager: Manager) -> Result<String, Problem> {
        let words = self.words()?;
        let line: Vec<String> = words.iter().map(|word| command_word(&PathBuf::from(word))).collect();
        Ok(format!(
            "[Unit]\nDescription=Status server of {}\nStartLimitIntervalSec=0\n\n[Service]\nType=exec\n\
             ExecStart={}\nRestart=always\nRestartSec=1s\nNoNewPrivileges=yes\nProtectSystem=full\n\
             SyslogIdentifier={}-status\n\n[Install]\nWantedBy={}\n",
            self.place.app(),
            line.join(" "),
            self.place.app(),
            manager.boot_target()
        ))
    }
}
